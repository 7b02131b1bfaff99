import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunelane_components.export import embedding
from tunelane_components.export.embedding import (
    EncoderSettings,
    export_embedding_package,
    read_settings,
    torch_embeddings,
)
from tunelane_components.export.onnx import FP32_GRAPH, INT8_GRAPH
from tunelane_serving.errors import InputError
from tunelane_serving.models.embedder import TextEmbedder
from tunelane_serving.package import BaseModel, Tensor, verify

_TEXTS = ("good film", "the food was awful and the staff rather dull", "a")


@pytest.fixture(scope="module")
def draft(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("embedding") / "draft"
    export_embedding_package(tiny_encoder, package, base_model=BaseModel("tiny", "Apache-2.0"))
    return package


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """Copy the tiny encoder, to be changed."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


@pytest.fixture
def write(encoder: Path) -> Callable[[str, Any], None]:
    """Give a writer of JSON files into the encoder."""

    def write_json(name: str, content: Any) -> None:
        (encoder / name).parent.mkdir(exist_ok=True)
        (encoder / name).write_text(json.dumps(content))

    return write_json


def _modules(*kinds: str) -> list[dict[str, str]]:
    return [{"type": f"sentence_transformers.models.{kind}", "path": f"{kind}_folder"} for kind in kinds]


def test_the_draft_is_a_package_of_token_vectors(draft: Path) -> None:
    manifest = verify(draft)
    assert (manifest.framework, manifest.task, manifest.pooling, manifest.normalize) == (
        "onnx",
        "embedding",
        "mean",
        True,
    )
    assert manifest.outputs == (Tensor("last_hidden_state", "float32", ("batch", "sequence", 32)),)
    assert [(variant.name, variant.path) for variant in manifest.variants] == [
        ("int8", INT8_GRAPH),
        ("fp32", FP32_GRAPH),
    ]
    assert manifest.max_length_tokens == 64


def test_the_served_vectors_are_pytorchs(draft: Path, tiny_encoder: Path) -> None:
    expected = torch_embeddings(tiny_encoder, _TEXTS, verify(draft))
    embedder = TextEmbedder.open(draft, variant="fp32")
    found = np.stack([embedder.embed(text) for text in _TEXTS])
    assert np.abs(found - expected).max() < 1e-5
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_cls_encoder_without_normalisation_is_served_as_one(
    encoder: Path,
    write: Callable[[str, Any], None],
    draft: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def copy(model: object, target: Path, *, output: str) -> None:
        shutil.copyfile(draft / FP32_GRAPH, target)

    # The graph is the same, and making it takes seconds.
    monkeypatch.setattr(embedding, "export_graph", copy)
    write("modules.json", _modules("Transformer", "Pooling"))
    write("Pooling_folder/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    manifest = export_embedding_package(encoder, tmp_path / "package", base_model=BaseModel("tiny"), quantize=False)
    assert (manifest.pooling, manifest.normalize) == ("cls", False)
    expected = torch_embeddings(encoder, _TEXTS, manifest)
    embedder = TextEmbedder.open(tmp_path / "package")
    assert np.abs(np.stack([embedder.embed(text) for text in _TEXTS]) - expected).max() < 1e-4
    assert np.linalg.norm(expected[0]) != pytest.approx(1, abs=0.1)


def test_what_the_encoder_says_of_itself_is_read(encoder: Path, write: Callable[[str, Any], None]) -> None:
    assert read_settings(encoder) == EncoderSettings("mean", normalize=True, max_length_tokens=64)
    write("modules.json", _modules("Transformer", "Pooling", "Normalize"))
    write("Pooling_folder/config.json", {"pooling_mode": "cls", "include_prompt": True})
    write("sentence_bert_config.json", {"max_seq_length": 48})
    assert read_settings(encoder) == EncoderSettings("cls", normalize=True, max_length_tokens=48)


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "lasttoken"},
    ],
)
def test_a_pooling_that_is_not_served_is_refused(
    config: dict[str, Any], encoder: Path, write: Callable[[str, Any], None]
) -> None:
    write("modules.json", _modules("Transformer", "Pooling"))
    write("Pooling_folder/config.json", config)
    with pytest.raises(InputError, match="pools in a way that is not served"):
        read_settings(encoder)


def test_a_part_that_is_not_served_is_refused(encoder: Path, write: Callable[[str, Any], None]) -> None:
    write("modules.json", _modules("Transformer", "Pooling", "Dense"))
    with pytest.raises(InputError, match="has a Dense part"):
        read_settings(encoder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "has no config.json"),
        ("tokenizer.json", r"has no tokenizer\.json"),
        ("model.safetensors", "cannot be read as an encoder"),
    ],
)
def test_an_encoder_without_its_files_is_refused(name: str, words: str, encoder: Path, tmp_path: Path) -> None:
    (encoder / name).unlink()
    with pytest.raises(InputError, match=words) as caught:
        export_embedding_package(encoder, tmp_path / "package", base_model=BaseModel("tiny"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
