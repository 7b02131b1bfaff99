import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunelane_components.train.base_model import fetch_base_model, licence_of
from tunelane_serving.errors import InputError


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Title\n", "apache-2.0"),
        ("---\r\nlanguage: en\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlanguage: en\n---\n", "unknown"),
        ("# Title\n---\nlicense: of-the-text-below-a-rule\n---\n", "unknown"),
        ("---\n: [broken\n---\n", "unknown"),
        ("---\njust a line\n---\n", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_read_from_the_readmes_front_matter(readme: str | None, licence: str, tmp_path: Path) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_bytes(readme.encode())
    assert licence_of(tmp_path) == licence


def test_a_base_model_may_be_a_directory_or_a_file_uri(tiny_encoder: Path, tmp_path: Path) -> None:
    assert fetch_base_model(str(tiny_encoder), tmp_path) == tiny_encoder
    assert fetch_base_model(f"file://{tiny_encoder}", tmp_path) == tiny_encoder
    assert not list(tmp_path.iterdir())


def test_a_base_model_at_a_remote_uri_is_downloaded(tiny_encoder: Path, tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    for path in tiny_encoder.iterdir():
        files.pipe_file(f"/models/tiny/{path.name}", path.read_bytes())
    found = fetch_base_model("memory://models/tiny", tmp_path / "scratch")
    assert {path.name for path in found.iterdir()} == {path.name for path in tiny_encoder.iterdir()}
    assert licence_of(found) == "apache-2.0"


def test_a_base_model_may_be_a_hub_id(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    model = tmp_path / "models--somebody--tiny"
    shutil.copytree(tiny_encoder, model / "snapshots" / "0123abcd")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abcd")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_base_model("somebody/tiny", tmp_path) == model / "snapshots" / "0123abcd"


@pytest.mark.parametrize("uri", ["no-such-owner/no-such-model", "no such model!", "a/b/c"])
def test_a_base_model_that_nobody_has_is_refused(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=rf"^Cannot get base model '{uri}'.*Pass a directory, a gs:// URI or a hub id\.$"
    ) as refused:
        fetch_base_model(uri, tmp_path)
    assert "\n" not in str(refused.value)


def test_a_hub_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tunelane_components.train.base_model import fetch_base_model\n"
        "from tunelane_serving.errors import InputError\n"
        "try: fetch_base_model('owner/model', Path(sys.argv[1]))\n"
        "except InputError as error: print(error)\n"
    )
    # Its address is read when the hub's client is imported.
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("Cannot get base model 'owner/model': no such directory, and the Hugging Face hub did")


@pytest.mark.parametrize("uri", ["", "./missing", "/missing", "~/missing-model"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_a_hub(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^No .*Pass --set base_model="):
        fetch_base_model(uri, tmp_path)


def test_a_file_is_no_base_model(tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is a file\. Pass the directory"):
        fetch_base_model(str(tiny_encoder / "config.json"), tmp_path)
