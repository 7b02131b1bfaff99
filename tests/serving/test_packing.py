import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.models.loading import load_model
from tunelane_serving.package import package_digest, read_manifest, verify
from tunelane_serving.packing import archive, pack_embedder, pack_tensors
from tunelane_serving.problems import FeaturesMismatch
from tunelane_serving.repository.archives import unpack


def test_a_packed_graph_is_a_whole_package_of_the_digest_it_was_given(digits_package: Path, tmp_path: Path) -> None:
    digest = pack_tensors(digits_package / "model.onnx", tmp_path / "package")
    manifest = verify(tmp_path / "package", expected_digest=digest)
    assert (manifest.framework, manifest.task, manifest.goldens) == ("onnx", "tensors", ())
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*manifest.inputs, *manifest.outputs)] == [
        ("image", "float32", ("batch", 1, 28, 28)),
        ("scores", "float32", ("batch", 10)),
    ]
    assert load_model(tmp_path / "package", digest).digest == digest


def test_golden_rows_are_what_the_graph_gives(digits_package: Path) -> None:
    manifest = read_manifest(digits_package)
    for golden in manifest.goldens:
        assert sum(golden.scores["fp32"]) == pytest.approx(1, abs=1e-5)
    assert manifest.variants[0].golden_tolerance >= 1e-4


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ".zip"])
def test_an_archive_holds_the_package_at_its_top(suffix: str, digits_package: Path, tmp_path: Path) -> None:
    path = archive(digits_package, tmp_path / "deep" / f"digits{suffix}")
    if suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            packed.extractall(tmp_path / "unpacked")  # noqa: S202 - packed here
    else:
        with tarfile.open(path) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
    assert package_digest(tmp_path / "unpacked") == package_digest(digits_package)
    verify(tmp_path / "unpacked")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_files_from_before_1980_are_packed_like_others(suffix: str, digits_package: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(digits_package, tmp_path / "package"))
    for path in package.rglob("*"):
        os.utime(path, (0, 0))
    packed = archive(package, tmp_path / f"digits{suffix}")
    unpack(packed, tmp_path / "unpacked", max_unpacked_bytes=1 << 24, max_files=9)
    assert package_digest(tmp_path / "unpacked") == package_digest(digits_package)


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_an_archive_that_cannot_be_written_leaves_the_old_one_whole(
    suffix: str, digits_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"digits{suffix}"
    path.write_bytes(b"the old one")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "add", fail)
    monkeypatch.setattr(zipfile.ZipFile, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        archive(digits_package, path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_of_another_kind_or_of_no_package_is_refused(digits_package: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"digits\.rar: name the archive \.tar\.gz, \.tgz, \.tar or \.zip"):
        archive(digits_package, tmp_path / "digits.rar")
    with pytest.raises(ContractError, match="not a model package"):
        archive(tmp_path, tmp_path / "empty.zip")


def test_what_cannot_be_packed_leaves_nothing_behind(
    digits_package: Path, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    target = tmp_path / "packed" / "package"
    graph = digits_package / "model.onnx"
    with pytest.raises(InputError, match=r"gone\.onnx: no such file$"):
        pack_tensors(tmp_path / "gone.onnx", target)
    with pytest.raises(InputError, match=r"no such file; name the saved_model\.pb in it"):
        pack_tensors(tmp_path, target)
    with pytest.raises(FeaturesMismatch, match="image: is missing"):
        pack_tensors(graph, target, features_for_golden=[{}])
    tokenizer = tiny_package(tmp_path / "tiny") / "tokenizer.json"
    with pytest.raises(ContractError, match="takes 'image', float32; a graph that reads texts"):
        pack_embedder(graph, tokenizer, target, max_length_tokens=8, golden_texts=(), pooling="none")
    model = onnx.load(graph)
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(ContractError, match="stands in another file"):
        pack_tensors(tmp_path / "outside.onnx", target)
    assert not list(target.parent.iterdir())
