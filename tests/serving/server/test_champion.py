from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tunelane_serving.deployment import ACTIVE, ActiveRevision, revision_path, write_active
from tunelane_serving.errors import ContractError, DigestMismatch
from tunelane_serving.package import describe_files, read_manifest, seal
from tunelane_serving.server import champion as module
from tunelane_serving.server.champion import DeployedChampion, FixedChampion

Build = Callable[..., Path]
Deploy = Callable[..., str]


@pytest.fixture
def first(tiny_package: Build, tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "first")


@pytest.fixture
def second(tiny_package: Build, tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "second", bias=(1.0, 0.0))


def _serves(champion: DeployedChampion) -> tuple[str, str]:
    assert champion.current is not None
    return champion.current.version, champion.current.model.digest


def test_nothing_serves_before_the_first_revision_and_that_is_no_error(tmp_path: Path) -> None:
    champion = DeployedChampion(tmp_path)
    champion.poll()
    assert champion.current is None
    assert champion.reload_error == ""


def test_a_new_revision_takes_over(first: Path, second: Path, deploy: Deploy, tmp_path: Path) -> None:
    champion = DeployedChampion(tmp_path)
    digest = deploy(tmp_path, first, "1")
    champion.poll()
    assert _serves(champion) == ("1", digest)
    digest = deploy(tmp_path, second, "2")
    champion.poll()
    assert _serves(champion) == ("2", digest)


def test_the_same_package_under_another_version_is_not_loaded_again(
    first: Path, deploy: Deploy, tmp_path: Path
) -> None:
    champion = DeployedChampion(tmp_path)
    digest = deploy(tmp_path, first, "1")
    champion.poll()
    classifier = champion.current.model
    deploy(tmp_path, first, "2")
    champion.poll()
    assert _serves(champion) == ("2", digest)
    assert champion.current.model is classifier


def _truncate(package: Path) -> None:
    graph = package / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])


def _flip_a_byte(package: Path) -> None:
    graph = package / "onnx" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)


def _edit_the_manifest(package: Path) -> None:
    seal(package, msgspec.structs.replace(read_manifest(package), metrics={"f1": 1.0}))


def _add_a_file(package: Path) -> None:
    (package / "extra.bin").write_bytes(b"")


def _lose_everything(package: Path) -> None:
    package.rename(package.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncate, "bytes, the manifest says"),
        (_flip_a_byte, "digest is"),
        (_edit_the_manifest, "package digest is"),
        (_add_a_file, "extra.bin"),
        (_lose_everything, "not a model package"),
    ],
)
def test_a_damaged_revision_never_serves_and_is_tried_again_only_when_the_deployment_changes(
    first: Path, second: Path, deploy: Deploy, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    champion = DeployedChampion(tmp_path)
    serving = ("1", deploy(tmp_path, first, "1"))
    champion.poll()
    elsewhere = tmp_path / "prepared"
    digest = deploy(elsewhere, second, "2")
    damage(revision_path(elsewhere, digest))
    if revision_path(elsewhere, digest).exists():
        revision_path(elsewhere, digest).rename(revision_path(tmp_path, digest))
    write_active(tmp_path, ActiveRevision("sentiment", "2", digest))

    champion.poll()
    assert _serves(champion) == serving
    assert said in champion.reload_error
    assert "\n" not in champion.reload_error

    # Mending the package alone is not looked at; writing active.json again is.
    deploy(elsewhere, second, "2")
    if revision_path(tmp_path, digest).exists():
        revision_path(tmp_path, digest).rename(tmp_path / "damaged")
    revision_path(elsewhere, digest).rename(revision_path(tmp_path, digest))
    (revision_path(tmp_path, digest) / "extra.bin").unlink(missing_ok=True)
    champion.poll()
    assert _serves(champion) == serving
    write_active(tmp_path, ActiveRevision("sentiment", "2", digest))
    champion.poll()
    assert _serves(champion) == ("2", digest)
    assert champion.reload_error == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": "m"}', b"\xff"])
def test_a_broken_active_json_keeps_the_old_revision(
    first: Path, deploy: Deploy, tmp_path: Path, content: bytes
) -> None:
    champion = DeployedChampion(tmp_path)
    serving = ("1", deploy(tmp_path, first, "1"))
    champion.poll()
    (tmp_path / ACTIVE).write_bytes(content)
    champion.poll()
    assert _serves(champion) == serving
    assert ACTIVE in champion.reload_error


def test_without_active_json_the_old_revision_goes_on_and_says_so(first: Path, deploy: Deploy, tmp_path: Path) -> None:
    champion = DeployedChampion(tmp_path)
    serving = ("1", deploy(tmp_path, first, "1"))
    champion.poll()
    (tmp_path / ACTIVE).unlink()
    champion.poll()
    assert _serves(champion) == serving
    assert "is gone" in champion.reload_error


def test_rolling_back_after_a_failed_load_clears_the_error(first: Path, deploy: Deploy, tmp_path: Path) -> None:
    champion = DeployedChampion(tmp_path)
    serving = ("1", deploy(tmp_path, first, "1"))
    champion.poll()
    write_active(tmp_path, ActiveRevision("sentiment", "2", "0" * 64))
    champion.poll()
    assert champion.reload_error
    deploy(tmp_path, first, "1")
    champion.poll()
    assert _serves(champion) == serving
    assert champion.reload_error == ""


class _Panic(BaseException):
    """As a tokenizer's Rust code raises it: no Exception."""


def test_a_panic_while_loading_keeps_the_old_revision_and_the_next_one_is_followed(
    first: Path, second: Path, deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = DeployedChampion(tmp_path)
    serving = ("1", deploy(tmp_path, first, "1"))
    champion.poll()

    def panic(*_: object) -> None:
        raise _Panic("index out of bounds")

    with monkeypatch.context() as changed:
        changed.setattr(module, "load_model", panic)
        digest = deploy(tmp_path, second, "2")
        champion.poll()
    assert _serves(champion) == serving
    assert champion.reload_error == "the model's code failed: _Panic: index out of bounds"
    deploy(tmp_path, second, "3")
    champion.poll()
    assert _serves(champion) == ("3", digest)


def test_a_package_is_refused_under_another_digest(first: Path) -> None:
    with pytest.raises(DigestMismatch, match="expected 000000000000"):
        FixedChampion(first, expected_digest="0" * 64)


def test_a_graph_that_does_not_fit_its_manifest_is_a_contract_error(
    first: Path, tiny_package: Build, tmp_path: Path
) -> None:
    other = tiny_package(tmp_path / "other", labels=("a", "b", "c"))
    (other / "onnx" / "model.onnx").replace(first / "onnx" / "model.onnx")
    seal(first, msgspec.structs.replace(read_manifest(first), files=describe_files(first)))
    with pytest.raises(ContractError, match="cannot be served"):
        FixedChampion(first)
