"""The model package: what is sealed verifies, and whatever is changed afterwards is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelane_serving.contract import decode, encode, read
from tunelane_serving.errors import ContractError, DigestMismatch
from tunelane_serving.package import (
    MANIFEST,
    BaseModel,
    Golden,
    Histogram,
    Manifest,
    PackagedFile,
    Variant,
    describe_files,
    package_digest,
    read_manifest,
    seal,
    verify,
)
from tunelane_serving.taxonomy import Label, Taxonomy

_GOLDEN = Path(__file__).parent / "golden" / "manifest_v1.json"
_FILES = {"onnx/model.onnx": b"graph" * 100, "tokenizer.json": b"{}", "empty": b""}


def _fill(directory: Path) -> str:
    for name, content in _FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return seal(directory, _manifest(directory))


def _manifest(directory: Path) -> Manifest:
    return Manifest(
        framework="onnx",
        task="embedding",
        files=describe_files(directory),
        variants=(Variant("fp32", "onnx/model.onnx"),),
        inputs=(),
        outputs=(),
        max_length_tokens=64,
        base_model=BaseModel("minilm"),
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "package"
    _fill(directory)
    return directory


def test_the_golden_manifest_keeps_its_meaning():
    manifest = read(_GOLDEN, Manifest)
    assert [variant.name for variant in manifest.variants] == ["int8", "fp32"]
    assert manifest.taxonomy is not None
    assert manifest.taxonomy.names == ("negative", "positive", "delighted")
    assert manifest.parity is not None
    assert manifest.parity.variants[0] == msgspec.structs.replace(manifest.parity.variants[0], variant="int8")
    assert manifest.goldens[0].scores["int8"] == (0.012, 0.9, 0.088)
    assert manifest.thresholds == {"negative": 0.5, "delighted": 0.7}
    assert manifest.reference[1].categories == manifest.taxonomy.names


def test_a_sealed_package_verifies(package):
    manifest = verify(package, expected_digest=package_digest(package))
    assert {file.path for file in manifest.files} == set(_FILES)
    assert {file.path: file.size_bytes for file in manifest.files}["empty"] == 0


def test_a_real_package_verifies(tmp_path, tiny_package):
    package = tiny_package(tmp_path / "real")
    assert verify(package) == read_manifest(package)


def test_the_same_content_has_the_same_digest_anywhere(package, tmp_path):
    assert _fill(tmp_path / "elsewhere") == package_digest(package)


def test_another_digest_than_expected_is_refused_with_both(package):
    found, expected = package_digest(package), "0" * 64
    for check in (verify, read_manifest):
        with pytest.raises(DigestMismatch) as caught:
            check(package, expected_digest=expected)
        assert found[:12] in str(caught.value)
        assert expected[:12] in str(caught.value)


def _remove(package: Path) -> None:
    (package / "tokenizer.json").unlink()


def _truncate(package: Path) -> None:
    os.truncate(package / "onnx" / "model.onnx", 499)


def _empty(package: Path) -> None:
    os.truncate(package / "onnx" / "model.onnx", 0)


def _add(package: Path) -> None:
    (package / "onnx" / "extra.bin").write_bytes(b"")


def _hide(package: Path) -> None:
    (package / ".hidden").write_bytes(b"x")


def _nest_a_manifest(package: Path) -> None:
    (package / "onnx" / MANIFEST).write_bytes(b"{}")


def _add_a_pipe(package: Path) -> None:
    os.mkfifo(package / "pipe")


def _link_an_extra_file(package: Path) -> None:
    (package / "link").symlink_to("tokenizer.json")


def _replace_by_a_link_to_the_same_content(package: Path) -> None:
    moved = package.parent / "tokenizer.json"
    (package / "tokenizer.json").rename(moved)
    (package / "tokenizer.json").symlink_to(moved)


def _replace_a_folder_by_a_link(package: Path) -> None:
    (package / "onnx").rename(package.parent / "onnx")
    (package / "onnx").symlink_to(package.parent / "onnx")


def _link_to_nowhere(package: Path) -> None:
    (package / "link").symlink_to("nowhere")


def _replace_a_file_by_a_folder(package: Path) -> None:
    (package / "tokenizer.json").unlink()
    (package / "tokenizer.json").mkdir()


def _remove_the_manifest(package: Path) -> None:
    (package / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove, "tokenizer.json is missing"),
        (_truncate, "499 bytes, the manifest says 500"),
        (_empty, "0 bytes, the manifest says 500"),
        (_add, "onnx/extra.bin is not in the manifest"),
        (_hide, ".hidden is not in the manifest"),
        (_nest_a_manifest, "onnx/manifest.json is not in the manifest"),
        (_add_a_pipe, "pipe is not in the manifest"),
        (_link_an_extra_file, "link is a symbolic link"),
        (_replace_by_a_link_to_the_same_content, "tokenizer.json is a symbolic link"),
        (_replace_a_folder_by_a_link, "onnx is a symbolic link"),
        (_link_to_nowhere, "link is a symbolic link"),
        (_replace_a_file_by_a_folder, "tokenizer.json is missing"),
        (_remove_the_manifest, "not a model package: manifest.json: No such file"),
    ],
)
def test_a_package_changed_after_sealing_is_refused(package: Path, damage: Callable[[Path], None], words: str):
    damage(package)
    with pytest.raises(ContractError) as caught:
        verify(package)
    assert words in str(caught.value)
    assert str(package) in str(caught.value)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["onnx/model.onnx", "tokenizer.json"]), st.integers(0, 499), st.integers(1, 255))
def test_any_changed_byte_is_seen(package, name, position, flip):
    path, content = package / name, bytearray(_FILES[name])
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"digest is .* the manifest says"):
        verify(package)
    path.write_bytes(_FILES[name])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_of_the_manifest_is_seen_by_who_knows_the_digest(package, data):
    digest, content = package_digest(package), (package / MANIFEST).read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (package / MANIFEST).write_bytes(changed)
    with pytest.raises(DigestMismatch):
        verify(package, expected_digest=digest)
    (package / MANIFEST).write_bytes(content)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "onnx/../../outside", "..", "onnx\\..\\outside", MANIFEST]
)
def test_a_manifest_that_points_outside_is_refused(path, package):
    (package.parent / "outside").write_bytes(b"x")
    manifest = msgspec.json.decode((package / MANIFEST).read_bytes())
    manifest["files"].append({"path": path, "sha256": "0" * 64, "size_bytes": 1})
    (package / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ContractError, match=r"files\[3\]\.path: .* does not stay inside the package"):
        verify(package)


def test_a_package_cannot_be_sealed_with_a_path_that_leaves_it(package):
    with pytest.raises(ValueError, match="does not stay inside"):
        msgspec.structs.replace(_manifest(package), files=(PackagedFile("../x", "0" * 64, 1),))


_TAXONOMY = Taxonomy((Label("a"), Label("b")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "single_label"}, "taxonomy: a single_label package has one"),
        ({"task": "multi_label"}, "taxonomy: a multi_label package has one"),
        ({"max_length_tokens": 0}, "max_length_tokens: at least 1"),
        ({"variants": ()}, "variants: at least one graph"),
        ({"variants": (Variant("fp32", "empty"), Variant("fp32", "tokenizer.json"))}, "variants: a name stands twice"),
        ({"reference": (Histogram("label", (1,), categories=("a",)),) * 2}, "reference: a name stands twice"),
        ({"variants": (Variant("fp32", "absent.onnx"),)}, r"variants\[0\]\.path: 'absent.onnx' is not among"),
        ({"files": (PackagedFile("empty", "0", 0),) * 2}, "files: a path stands twice"),
        ({"taxonomy": _TAXONOMY, "thresholds": {"c": 0.5}}, "thresholds: 'c' is not a label"),
        ({"taxonomy": _TAXONOMY, "goldens": (Golden("t", {}),)}, r"goldens\[0\]\.scores: one entry for each variant"),
        ({"taxonomy": _TAXONOMY, "goldens": (Golden("t", {"fp32": (1.0,)}),)}, "one number for each label"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(change, words, package):
    with pytest.raises(ValueError, match=words):
        msgspec.structs.replace(_manifest(package), **change)


def test_rules_need_no_graph(package):
    manifest = msgspec.structs.replace(_manifest(package), framework="rules", variants=())
    assert decode(encode(manifest), Manifest, MANIFEST) == manifest


@pytest.mark.parametrize(
    ("counts", "edges", "categories", "words"),
    [
        ((1,), (), (), "either edges or categories"),
        ((1,), (0.0, 1.0), ("a",), "either edges or categories"),
        ((1, 2), (0.0, 1.0), (), "counts: one for each bin"),
        ((1, 2), (), ("a",), "counts: one for each bin"),
    ],
)
def test_a_histogram_has_a_count_for_each_bin(counts, edges, categories, words):
    with pytest.raises(ValueError, match=words):
        Histogram("length", counts, edges, categories)


def test_a_manifest_from_the_future_says_upgrade(package):
    manifest = msgspec.json.decode((package / MANIFEST).read_bytes()) | {"version": 2, "signature": "…"}
    (package / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ContractError, match=r"manifest\.json: field version: .*upgrade tunelane"):
        verify(package)


@pytest.mark.parametrize("task", ["embedding", "tensors"])
def test_golden_rows_without_one_of_the_variants_are_refused_whatever_the_task(package, task):
    variants = (Variant("int8", "onnx/model.onnx"), Variant("fp32", "onnx/model.onnx"))
    goldens = (Golden("good", {"fp32": (0.5,)}),)
    with pytest.raises(ValueError, match=r"goldens\[0\]\.scores: one entry for each variant"):
        msgspec.structs.replace(read_manifest(package), task=task, variants=variants, goldens=goldens)
