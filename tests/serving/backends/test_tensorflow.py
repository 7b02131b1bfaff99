"""SavedModel and LiteRT on small models; a whole encoder is compared in the models' tests."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunelane_serving.backends.lite_rt import LiteRtGraph
from tunelane_serving.backends.opening import holds_saved_model, open_graph
from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.models.loading import load_model
from tunelane_serving.models.model import Outputs
from tunelane_serving.package import Tensor, read_manifest
from tunelane_serving.packing import pack_tensors


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model of (batch, 2) `x` and (batch, n) `counts` to their sums; gives its saved_model.pb."""
    import tensorflow as tf

    module = tf.Module()
    module.scale = tf.Variable([2.0, 3.0])
    module.run = tf.function(
        lambda x, counts: {
            "weighted": tf.reduce_sum(x * module.scale, axis=1),
            "total": tf.reduce_sum(counts, axis=1, keepdims=True),
        },
        input_signature=[
            tf.TensorSpec((None, 2), tf.float32, name="x"),
            tf.TensorSpec((None, None), tf.int32, name="counts"),
        ],
    )
    directory = tmp_path_factory.mktemp("tensorflow") / "saved_model"
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.run})
    return directory / "saved_model.pb"


@pytest.fixture(scope="module")
def lite_rt(saved_model: Path) -> Path:
    """Convert that model; gives the flat buffer."""
    import tensorflow as tf

    path = saved_model.parent.parent / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved_model.parent)).convert())
    return path


@pytest.fixture(params=["saved_model", "lite_rt"])
def graph(request: pytest.FixtureRequest) -> Path:
    """Give the model as either."""
    path: Path = request.getfixturevalue(request.param)
    return path


def test_inputs_and_outputs_stand_in_order_of_names_with_their_dynamic_axes(graph: Path) -> None:
    opened = open_graph("tensorflow", graph)
    assert opened.inputs == (
        Tensor("counts", "int32", ("batch", "axis_1")),
        Tensor("x", "float32", ("batch", 2)),
    )
    assert [(output.name, output.dtype) for output in opened.outputs] == [("total", "int32"), ("weighted", "float32")]
    assert opened.size_bytes > 0


def test_batch_and_length_may_change_from_run_to_run(graph: Path) -> None:
    opened = open_graph("tensorflow", graph)
    for rows, length in ((1, 3), (4, 1), (2, 7), (1, 3)):
        x, counts = np.full((rows, 2), 1.5, np.float32), np.full((rows, length), 2, np.int32)
        total, weighted = opened.run({"x": x, "counts": counts})
        np.testing.assert_array_equal(total, np.full((rows, 1), 2 * length))
        np.testing.assert_allclose(weighted, np.full(rows, 7.5))


def test_any_tensorflow_model_is_packed_and_asked_by_its_schema(graph: Path, tmp_path: Path) -> None:
    pack_tensors(
        graph, tmp_path / "package", framework="tensorflow", features_for_golden=[{"x": [1, 2], "counts": [1, 2, 3]}]
    )
    manifest = read_manifest(tmp_path / "package")
    assert holds_saved_model(manifest) == (graph.name == "saved_model.pb")
    assert manifest.goldens[0].scores == {"fp32": (6, 8)}
    model = load_model(tmp_path / "package", None)
    (answer,) = model.run([model.prepare({"x": [0, 1], "counts": [5]})])
    assert isinstance(answer, Outputs)
    total, weighted = answer.tensors.values()
    assert (total.ravel().tolist(), weighted.tolist()) == ([5], 3)


def test_a_flat_buffer_whose_file_is_gone_still_answers_threads_and_after_a_failure(
    lite_rt: Path, tmp_path: Path
) -> None:
    """An upload is loaded from a directory that is removed right after."""
    copy = Path(shutil.copyfile(lite_rt, tmp_path / "model.tflite"))
    graph = LiteRtGraph(copy)
    copy.unlink()
    good: dict[str, Any] = {"x": np.ones((1, 2), np.float32), "counts": np.ones((1, 1), np.int32)}
    with pytest.raises(Exception, match="UINT8"):
        graph.run(good | {"x": np.ones((1, 2), np.uint8)})
    together = threading.Barrier(4)

    def run(_: int) -> list[Any]:
        together.wait()
        return [output.tolist() for _ in range(20) for output in graph.run(good)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [[[[1]], [5.0]] * 20] * 4


def test_texts_go_into_a_saved_model_and_come_out_as_texts(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.run = tf.function(
        lambda x: {"joined": tf.strings.join([x, "é"]), "first": x[0, 0], "count": tf.size(x)},
        input_signature=[tf.TensorSpec((None, 2), tf.string, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.run})
    pack_tensors(tmp_path / "saved" / "saved_model.pb", tmp_path / "package", framework="tensorflow")
    model = load_model(tmp_path / "package", None)
    (answer,) = model.run([model.prepare({"x": ["größe\0", "日本"]})])
    assert isinstance(answer, Outputs)
    assert {name: array.tolist() for name, array in answer.tensors.items()} == {
        "count": 2,
        "first": "größe\0",
        "joined": ["größe\0é", "日本é"],
    }


def test_bytes_of_a_saved_model_that_are_no_text_are_an_error_of_one_line(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.run = tf.function(
        lambda x: {"bytes": tf.io.decode_base64(x)}, input_signature=[tf.TensorSpec((None,), tf.string, name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.run})
    pack_tensors(tmp_path / "saved" / "saved_model.pb", tmp_path / "package", framework="tensorflow")
    model = load_model(tmp_path / "package", None)
    with pytest.raises(
        TunelaneError, match=r"^The graph fails on these features: 'utf-8' codec can't decode byte 0xff"
    ):
        model.run([model.prepare({"x": "_w"})])


def test_an_interpreter_that_failed_is_not_used_again(lite_rt: Path) -> None:
    graph = LiteRtGraph(lite_rt)
    good: dict[str, Any] = {"x": np.ones((1, 2), np.float32), "counts": np.ones((1, 1), np.int32)}
    with pytest.raises(Exception, match="UINT8"):
        graph.run(good | {"x": np.ones((1, 2), np.uint8)})
    assert [output.tolist() for output in graph.run(good)] == [[[1]], [5.0]]


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"x" * 100, lambda content: content[: len(content) // 2]])
def test_a_broken_file_is_refused_in_one_line(damage: Damage, graph: Path, tmp_path: Path) -> None:
    broken = tmp_path / graph.name
    broken.write_bytes(damage(graph.read_bytes()))
    with pytest.raises(ContractError, match="cannot load it") as refused:
        open_graph("tensorflow", broken)
    assert "\n" not in str(refused.value)


def test_a_saved_model_without_the_signature_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ContractError, match="no signature 'serving_default'; save the model with one"):
        open_graph("tensorflow", tmp_path / "saved_model.pb")


def test_operators_that_are_not_lite_rts_own_are_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    function = tf.function(
        lambda x: {"y": tf.linalg.inv(x)}, input_signature=[tf.TensorSpec((1, 2, 2), tf.float32, name="x")]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "flex.tflite"
    path.write_bytes(converter.convert())
    # It loads; that an operator is missing shows when it is first run.
    pack_tensors(path, tmp_path / "package", framework="tensorflow")
    with pytest.raises(ContractError, match=r"cannot be served: RuntimeError: .*FlexMatrixInverse") as refused:
        load_model(tmp_path / "package", None)
    assert "\n" not in str(refused.value)
