from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.encoders import ENCODER_TEXTS, write_lite_rt, write_onnx, write_saved_model
from tunelane_serving.models.embedder import TextEmbedder
from tunelane_serving.models.loading import load_model
from tunelane_serving.models.model import Embedding, Model
from tunelane_serving.package import package_digest
from tunelane_serving.packing import pack_embedder

_SENTENCES = (
    *ENCODER_TEXTS,
    "I loved every minute of it.",
    "The waiter spilled soup on my new shoes and laughed.",
    "Quarterly revenue fell by 3 % while costs rose.",
    "a " * 200,
)


def _vectors(model: Model) -> np.ndarray:
    answers = [model.run([model.prepare(text)])[0] for text in _SENTENCES]
    assert all(isinstance(answer, Embedding) for answer in answers)
    return np.stack([answer.vector for answer in answers if isinstance(answer, Embedding)])


def test_one_encoder_gives_the_same_vectors_in_onnx_savedmodel_and_litert(
    encoder_packages: Mapping[str, Path],
) -> None:
    models = {name: load_model(path, package_digest(path)) for name, path in encoder_packages.items()}
    assert {name: model.manifest.framework for name, model in models.items()} == {
        "onnx": "onnx",
        "tensorflow": "tensorflow",
        "litert": "tensorflow",
    }
    vectors = {name: _vectors(model) for name, model in models.items()}
    assert vectors["onnx"].shape == (len(_SENTENCES), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors["onnx"], axis=1), 1, atol=1e-6)
    assert np.abs(vectors["onnx"] - vectors["tensorflow"]).max() <= 1e-4
    assert np.abs(vectors["onnx"] - vectors["litert"]).max() <= 1e-4
    # Not because all vectors are alike.
    similarity = vectors["onnx"] @ vectors["onnx"].T
    assert similarity[~np.eye(len(_SENTENCES), dtype=bool)].max() < 0.99


@pytest.mark.parametrize("framework", ["onnx", "tensorflow", "litert"])
def test_threads_that_share_a_model_get_the_answers_of_one_alone(
    framework: str, encoder_packages: Mapping[str, Path]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = load_model(encoder_packages[framework], None)
    alone = _vectors(model)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(lambda _: _vectors(model), range(4)):
            np.testing.assert_array_equal(together, alone)


@pytest.mark.slow
def test_the_whole_encoder_gives_the_same_vectors_and_tells_related_sentences_from_others(tmp_path: Path) -> None:
    from tunelane_pipelines.samples import fetch

    checkpoint = fetch("minilm")
    vectors = {}
    for name, graph in (
        ("onnx", write_onnx(checkpoint, tmp_path / "model.onnx")),
        ("tensorflow", write_saved_model(checkpoint, tmp_path / "saved_model")),
        ("litert", write_lite_rt(checkpoint, tmp_path / "model.tflite")),
    ):
        package = tmp_path / name
        pack_embedder(
            graph,
            checkpoint / "tokenizer.json",
            package,
            framework="onnx" if name == "onnx" else "tensorflow",
            max_length_tokens=128,
            golden_texts=ENCODER_TEXTS,
        )
        model = load_model(package, None)
        vectors[name] = _vectors(model)
        assert isinstance(model, TextEmbedder)
        jumper, sweater, password = (
            model.embed(text) for text in ("a warm jumper", "a knitted sweater", "reset my password")
        )
        assert jumper @ sweater > jumper @ password + 0.3
    assert np.abs(vectors["onnx"] - vectors["tensorflow"]).max() <= 1e-4
    assert np.abs(vectors["onnx"] - vectors["litert"]).max() <= 1e-4
