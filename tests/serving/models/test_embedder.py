from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.models.embedder import TextEmbedder
from tunelane_serving.models.loading import load_model
from tunelane_serving.models.model import Embedding
from tunelane_serving.package import package_digest, read_manifest, seal
from tunelane_serving.packing import pack_embedder

_TEXTS = ("good film", "it was a bad film", "the film", "great and awful and good")
_GENERATOR = np.random.default_rng(0)
_WORDS = _GENERATOR.standard_normal((40, 3)).astype(np.float32)


@pytest.fixture
def pack(tiny_package: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Give a way to pack a table of word vectors (40, 3), whose output is (batch, sequence, 3), or its first row."""
    tokenizer = tiny_package(tmp_path / "tiny") / "tokenizer.json"

    def pack(words: np.ndarray = _WORDS, *, pooled: bool = False, **options: Any) -> Path:
        nodes = [helper.make_node("Gather", ["words", "input_ids"], ["vectors"])]
        shape: tuple[int | str, ...] = ("batch", "sequence", 3)
        if pooled:
            nodes.append(helper.make_node("ReduceMax", ["vectors", "axis"], ["largest"], keepdims=0))
            shape = ("batch", 3)
        graph = helper.make_graph(
            nodes,
            "words",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "sequence"))],
            [helper.make_tensor_value_info("largest" if pooled else "vectors", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(words, "words"), numpy_helper.from_array(np.array([1]), "axis")],
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "w.onnx"
        )
        options = {"max_length_tokens": 32, "golden_texts": _TEXTS} | options
        pack_embedder(tmp_path / "w.onnx", tokenizer, tmp_path / "package", **options)
        return tmp_path / "package"

    return pack


def _vector(model: Any, text: str) -> np.ndarray:
    (answer,) = model.run([model.prepare(text)])
    assert isinstance(answer, Embedding)
    return answer.vector


def test_token_vectors_are_pooled_by_their_mean_and_brought_to_length_one(pack: Callable[..., Path]) -> None:
    package = pack()
    model = load_model(package, package_digest(package))
    ids = model.prepare("good film").feed["input_ids"][0]
    mean = _WORDS[ids].mean(axis=0)
    found = _vector(model, "good film")
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    assert found.dtype == np.float32


def test_pooling_may_be_the_first_token_or_the_graphs_own_without_a_length(pack: Callable[..., Path]) -> None:
    first = load_model(pack(pooling="cls", normalize=False), None)
    ids = first.prepare("good film").feed["input_ids"][0]
    np.testing.assert_array_equal(_vector(first, "good film"), _WORDS[ids[0]])
    largest = load_model(pack(pooled=True, pooling="none", normalize=False), None)
    np.testing.assert_array_equal(_vector(largest, "good film"), _WORDS[ids].max(axis=0))


def test_texts_of_equal_length_get_the_bits_they_get_alone(pack: Callable[..., Path]) -> None:
    model = TextEmbedder.open(pack())
    prepared = [model.prepare(text) for text in ("good film", "bad film", "it was")]
    answers = model.run(prepared)
    for text, answer in zip(prepared, answers, strict=True):
        (alone,) = model.run([text])
        assert isinstance(answer, Embedding) and isinstance(alone, Embedding)
        assert answer.vector.tobytes() == alone.vector.tobytes()
        assert answer.length_tokens == text.length == 3


def test_a_vector_of_zeros_stays_one(pack: Callable[..., Path]) -> None:
    assert _vector(load_model(pack(np.zeros((40, 3), np.float32)), None), "good").tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_an_error(value: float, pack: Callable[..., Path]) -> None:
    package = pack(np.full((40, 3), value, np.float32), golden_texts=())
    with pytest.raises(TunelaneError, match="a vector that is not finite"):
        load_model(package, None)
    with pytest.raises(TunelaneError, match="a vector that is not finite"):
        _vector(TextEmbedder.open(package), "good")


def test_a_package_without_golden_rows_is_run_once_and_serves(pack: Callable[..., Path]) -> None:
    package = pack(golden_texts=())
    assert read_manifest(package).goldens == ()
    assert load_model(package, None).variant == "fp32"


def test_independence_is_taken_from_the_manifest_and_tried_again(pack: Callable[..., Path]) -> None:
    package = pack()
    manifest = read_manifest(package)
    assert not load_model(package, None).batch_independent
    variants = tuple(msgspec.structs.replace(variant, batch_independent=True) for variant in manifest.variants)
    seal(package, msgspec.structs.replace(manifest, variants=variants))
    assert load_model(package, None).batch_independent


def test_pooling_that_does_not_fit_the_output_is_refused(pack: Callable[..., Path]) -> None:
    with pytest.raises(ContractError, match="pooling 'none' needs an output of 2 axes, 'vectors' has 3"):
        pack(pooling="none")
    with pytest.raises(ContractError, match="pooling 'mean' needs an output of 3 axes, 'largest' has 2"):
        pack(pooled=True)
