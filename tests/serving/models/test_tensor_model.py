import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.models.loading import load_classifier, load_model
from tunelane_serving.models.model import Outputs
from tunelane_serving.models.tensor_model import TensorModel
from tunelane_serving.package import package_digest, read_manifest
from tunelane_serving.packing import pack_tensors
from tunelane_serving.problems import FeaturesMismatch

_IMAGE = [[[0.5] * 28] * 28]


@pytest.fixture
def digits(digits_package: Path) -> TensorModel:
    """Load the digits."""
    model = load_model(digits_package, package_digest(digits_package))
    assert isinstance(model, TensorModel)
    return model


Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Give a way to pack a graph of some nodes."""

    def pack(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], **options: Any) -> Path:
        def described(tensors: list[Any]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape in tensors]

        graph = helper.make_graph(nodes, "graph", described(inputs), described(outputs))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.save(model, tmp_path / "graph.onnx")
        pack_tensors(tmp_path / "graph.onnx", tmp_path / "package", **options)
        return tmp_path / "package"

    return pack


def _run(model: Any, features: dict[str, Any]) -> dict[str, np.ndarray]:
    (answer,) = model.run([model.prepare(features)])
    assert isinstance(answer, Outputs)
    return answer.tensors


def test_an_image_gets_ten_scores_without_a_batch_axis(digits: TensorModel) -> None:
    outputs = _run(digits, {"image": _IMAGE})
    assert list(outputs) == ["scores"]
    assert outputs["scores"].shape == (10,)
    assert outputs["scores"].sum() == pytest.approx(1, abs=1e-5)


def test_items_never_stand_together(digits: TensorModel) -> None:
    prepared = [digits.prepare({"image": _IMAGE}) for _ in range(3)]
    assert len({item.length for item in prepared}) == 3
    assert not digits.batch_independent
    assert len(digits.run(prepared)) == 3


def test_all_findings_are_told_at_once(pack: Pack) -> None:
    package = pack(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Identity", ["c"], ["same"])],
        [(name, TensorProto.FLOAT, ("batch", 2)) for name in ("a", "b", "c")],
        [("sum", TensorProto.FLOAT, ("batch", 2)), ("same", TensorProto.FLOAT, ("batch", 2))],
    )
    features = {"a": [1, "NaN"], "c": [1, 2, 3], "d": 1}
    before = copy.deepcopy(features)
    with pytest.raises(FeaturesMismatch, match=r"The features do not fit the model: a\[1\]") as refused:
        load_model(package, None).prepare(features)
    assert refused.value.details == (
        "a[1]: a number is expected, found 'NaN'",
        "b: is missing; float32 [2] is expected",
        "c: 2 entries are expected, found 3",
        "d: the model has no such input; it has a, b, c",
    )
    assert features == before


def test_a_text_is_told_what_is_expected_instead(digits: TensorModel) -> None:
    with pytest.raises(FeaturesMismatch, match="takes features, not a text") as refused:
        digits.prepare("seven")
    assert refused.value.details == ("image: float32 [1, 28, 28]",)


def test_outputs_without_a_batch_axis_are_given_whole(pack: Pack) -> None:
    package = pack(
        [
            helper.make_node("NonZero", ["x"], ["places"]),
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        [("x", TensorProto.FLOAT, ("batch", "width"))],
        [
            ("places", TensorProto.INT64, (2, "count")),
            ("total", TensorProto.FLOAT, ()),
            ("same", TensorProto.FLOAT, ("batch", "width")),
        ],
        features_for_golden=[{"x": [0, 1]}],
    )
    outputs = _run(load_model(package, None), {"x": [0, 2, 3]})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "places": [[0, 0], [1, 2]],
        "total": 5,
        "same": [0, 2, 3],
    }
    assert read_manifest(package).goldens[0].scores == {"fp32": (0, 1, 1, 0, 1)}


def test_texts_go_in_and_come_out(pack: Pack) -> None:
    package = pack(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, ("batch", 2))],
        [("y", TensorProto.STRING, ("batch", 2))],
    )
    assert _run(load_model(package, None), {"x": ["a", "日本"]})["y"].tolist() == ["a", "日本"]


def test_numbers_that_are_not_finite_are_an_error(pack: Pack) -> None:
    package = pack(
        [helper.make_node("Log", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ("batch", 1))],
        [("y", TensorProto.FLOAT, ("batch", 1))],
        features_for_golden=[{"x": [1.0]}],
    )
    model = load_model(package, None)
    assert _run(model, {"x": [1.0]})["y"].tolist() == [0]
    with pytest.raises(TunelaneError, match="not finite in output 'y'"):
        _run(model, {"x": [0.0]})


def test_a_graph_that_fails_on_features_says_so_in_one_line(pack: Pack) -> None:
    package = pack(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        [("a", TensorProto.FLOAT, ("batch", 1, "m")), ("b", TensorProto.FLOAT, ("batch", "n", 1))],
        [("y", TensorProto.FLOAT, ("batch", 1, 1))],
    )
    model = load_model(package, None)
    with pytest.raises(TunelaneError, match="The graph fails on these features") as failed:
        _run(model, {"a": [[1, 2, 3]], "b": [[1], [2]]})
    assert "\n" not in str(failed.value)
    assert _run(model, {"a": [[1, 2]], "b": [[1], [2]]})["y"].tolist() == [[5]]


@pytest.mark.parametrize("shape", [(), (5, 2)])
def test_a_graph_without_a_batch_axis_is_refused(shape: tuple[int, ...], pack: Pack) -> None:
    with pytest.raises(ContractError, match="has no batch axis for one item; export the graph with a first axis"):
        pack(
            [helper.make_node("Identity", ["x"], ["y"])],
            [("x", TensorProto.FLOAT, shape)],
            [("y", TensorProto.FLOAT, shape)],
        )


def test_a_manifest_that_says_otherwise_than_the_graph_is_refused(digits_package: Path, tmp_path: Path) -> None:
    import shutil

    import msgspec

    from tunelane_serving.package import Tensor, seal

    package = Path(shutil.copytree(digits_package, tmp_path / "package"))
    manifest = read_manifest(package)
    for inputs in (
        (Tensor("picture", "float32", ("batch", 1, 28, 28)),),
        (Tensor("image", "int64", ("batch", 1, 28, 28)),),
    ):
        seal(package, msgspec.structs.replace(manifest, inputs=inputs))
        with pytest.raises(
            ContractError, match="the manifest's inputs are not the graph's, which has image float32 of 4"
        ):
            load_model(package, None)


def test_golden_rows_are_replayed(digits_package: Path, tmp_path: Path) -> None:
    import shutil

    import msgspec

    from tunelane_serving.package import Golden, seal

    package = Path(shutil.copytree(digits_package, tmp_path / "package"))
    manifest = read_manifest(package)
    assert len(manifest.goldens) == 2
    turned = tuple(
        Golden("", {"fp32": golden.scores["fp32"][::-1]}, features=golden.features) for golden in manifest.goldens
    )
    seal(package, msgspec.structs.replace(manifest, goldens=turned))
    with pytest.raises(ContractError, match="no variant answers as it did when it was built: fp32 is"):
        load_model(package, None)


def test_a_tensors_package_is_no_classifier(digits_package: Path) -> None:
    with pytest.raises(ContractError, match="task tensors is no classifier"):
        load_classifier(digits_package, None)
