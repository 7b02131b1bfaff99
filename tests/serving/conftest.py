"""Packages for the serving tests: one real encoder in three frameworks, and a graph of digits."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.encoders import ENCODER_TEXTS, write_lite_rt, write_onnx, write_saved_model
from tunelane_serving.packing import pack_embedder, pack_tensors

_ENCODER_LAYERS = 2


@pytest.fixture(scope="session")
def encoder_packages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Pack the first layers of the sample encoder as embedding packages, by "onnx", "tensorflow" and "litert".

    Weights and tokenizer are the real ones; vectors have 384 numbers, the mean over tokens, of length 1.
    """
    from tunelane_pipelines.samples import fetch

    checkpoint = fetch("minilm")
    directory = tmp_path_factory.mktemp("encoders")
    graphs = {
        "onnx": write_onnx(checkpoint, directory / "model.onnx", layers=_ENCODER_LAYERS),
        "tensorflow": write_saved_model(checkpoint, directory / "saved_model", layers=_ENCODER_LAYERS),
        "litert": write_lite_rt(checkpoint, directory / "model.tflite", layers=_ENCODER_LAYERS),
    }
    packages: dict[str, Path] = {}
    for name, graph in graphs.items():
        packages[name] = directory / "packages" / name
        pack_embedder(
            graph,
            checkpoint / "tokenizer.json",
            packages[name],
            framework="onnx" if name == "onnx" else "tensorflow",
            max_length_tokens=128,
            pooling="mean",
            golden_texts=ENCODER_TEXTS,
        )
    return packages


@pytest.fixture(scope="session")
def digits_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack an untrained graph of digits: `image` (batch, 1, 28, 28) float32 to `scores` (batch, 10), softmax."""
    directory = tmp_path_factory.mktemp("digits")
    _write_digits(directory / "digits.onnx")
    drawn = np.random.default_rng(0).random((2, 1, 28, 28)).round(3)
    pack_tensors(
        directory / "digits.onnx",
        directory / "package",
        features_for_golden=[{"image": image.tolist()} for image in drawn],
    )
    return directory / "package"


def _write_digits(path: Path) -> None:
    """Convolution, rectifier, pooling, one dense layer."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((generator.standard_normal(shape) / 5).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernels"], ["edges"], kernel_shape=[5, 5], strides=[2, 2]),
            helper.make_node("Relu", ["edges"], ["rectified"]),
            helper.make_node("MaxPool", ["rectified"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "dense", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 1, 28, 28))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("batch", 10))],
        [weights("kernels", 4, 1, 5, 5), weights("dense", 4 * 6 * 6, 10), weights("bias", 10)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
