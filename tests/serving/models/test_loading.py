import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tunelane_serving.errors import ContractError, DigestMismatch, TunelaneError
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.loading import load_classifier, load_model
from tunelane_serving.package import PackagedFile, Variant, describe_files, package_digest, read_manifest, seal


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    """Build a package of two labels."""
    return tiny_package(tmp_path / "package")


def _reseal(package: Path, **changes: object) -> None:
    seal(package, msgspec.structs.replace(read_manifest(package), **{"files": describe_files(package), **changes}))


def _refusal(package: Path, kind: type[TunelaneError] = ContractError, digest: str | None = None) -> str:
    with pytest.raises(kind) as refused:
        load_model(package, digest)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_package_is_loaded_by_its_digest_and_by_no_other(package: Path) -> None:
    model = load_model(package, package_digest(package))
    assert isinstance(model, TextClassifier)
    assert load_classifier(package, None).digest == model.digest
    assert "expected 000000000000" in _refusal(package, DigestMismatch, "0" * 64)


def test_weights_in_another_file_are_refused_before_any_graph_is_opened(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The preferred variant is whole, so that only looking ahead finds the other.
    model = onnx.load(package / "onnx" / "model.onnx")
    onnx.save(
        model,
        package / "onnx" / "other.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    variants = (*read_manifest(package).variants, Variant("other", "onnx/other.onnx"))
    _reseal(package, variants=variants, goldens=())

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a session was opened")

    monkeypatch.setattr("tunelane_serving.backends.onnx.open_session", opened)
    assert "stands in another file; save the model with its weights inside" in _refusal(package)


def test_custom_operators_are_refused(package: Path) -> None:
    path = package / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.node[0].domain = "mine"
    onnx.save(model, path)
    _reseal(package)
    assert "operator 'mine'.'Gather' is neither ONNX's nor ONNX Runtime's" in _refusal(package)


def test_a_truncated_graph_is_refused(package: Path) -> None:
    path = package / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    _reseal(package)
    assert "no ONNX model: malformed protobuf" in _refusal(package)


def test_a_graph_of_other_labels_than_the_taxonomys_is_refused(package: Path) -> None:
    path = package / "onnx" / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        wider = {"head": np.eye(2, 3, dtype=np.float32), "bias": np.zeros(3, np.float32)}.get(tensor.name, array)
        tensor.CopyFrom(numpy_helper.from_array(wider, tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.save(model, path)
    _reseal(package)
    assert "cannot be served" in _refusal(package)


def test_a_package_with_labels_needs_golden_rows(package: Path) -> None:
    _reseal(package, goldens=())
    assert "the package has no golden rows: it never passed validate_parity" in _refusal(package)


def test_a_text_graph_that_takes_something_else_is_refused(package: Path) -> None:
    path = package / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.input[1].name = model.graph.node[1].input[0] = "valid"
    onnx.save(model, path)
    _reseal(package)
    assert "the graph takes 'valid', int64; a graph that reads texts takes input_ids" in _refusal(package)


@pytest.mark.parametrize(
    ("path", "module", "names"),
    [
        ("saved_model/saved_model.pb", "tensorflow", "TensorFlow"),
        ("model.tflite", "ai_edge_litert.interpreter", "LiteRT"),
    ],
)
def test_a_missing_tensorflow_is_said_with_what_to_install(
    path: str, module: str, names: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / path).parent.mkdir(exist_ok=True)
    (package / path).write_bytes(b"x")
    manifest = read_manifest(package)
    variants = (msgspec.structs.replace(manifest.variants[0], path=path),)
    _reseal(package, framework="tensorflow", variants=variants)
    monkeypatch.setitem(sys.modules, module, None)
    message = _refusal(package)
    assert message.startswith(f"This package needs {names} ")
    assert message.endswith("Run: pip install 'tunelane[tensorflow]'")


def test_a_tensorflow_variant_of_an_unknown_kind_is_refused(package: Path) -> None:
    _reseal(package, framework="tensorflow")
    assert "a tensorflow variant's path ends in .tflite or names a saved_model.pb" in _refusal(package)


def test_loading_onnx_or_rules_imports_no_tensorflow(package: Path) -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from tunelane_serving.models.loading import load_model;"
        f"load_model(Path({str(package)!r}), None);"
        "print([name for name in ('tensorflow', 'ai_edge_litert', 'onnx', 'torch', 'tunelane_serving.models.rules',"
        " 'tunelane_serving.models.embedder') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_package_of_one_variant_is_verified_without_another_thread(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.Thread.start", lambda _: pytest.fail("a thread was started"))
    assert load_model(package, None).variant == "fp32"


def test_a_file_that_the_manifest_does_not_have_is_refused(package: Path) -> None:
    manifest = read_manifest(package)
    _reseal(package, files=(*manifest.files, PackagedFile("gone.bin", "0" * 64, 1)))
    assert "gone.bin is missing" in _refusal(package)
