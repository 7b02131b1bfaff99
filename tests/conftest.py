"""Fixtures for every test: a tiny but real model package, built in milliseconds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tunelane_serving.classifier import TextClassifier
from tunelane_serving.package import (
    TOKENIZER,
    BaseModel,
    Golden,
    Manifest,
    Task,
    Tensor,
    Variant,
    describe_files,
    seal,
)
from tunelane_serving.taxonomy import Label, Taxonomy

_MAX_LENGTH_TOKENS = 32
_LAST_LABEL_WORDS = ("good", "great", "love")
_FIRST_LABEL_WORDS = ("bad", "awful", "hate")
_OTHER_WORDS = ("a", "the", "film", "was", "it", "so", "and")
_GOLDEN_TEXTS = ("good film", "it was a bad film", "the film", "great and awful and good")


@pytest.fixture(scope="session")
def tiny_package() -> Callable[..., Path]:
    """Give a factory of model packages: a real ONNX graph, a real tokenizer and golden rows.

    `tiny_package(directory, labels=("negative", "positive"), bias=(0.0, 0.0), task="single_label")` fills `directory`
    and returns it. Each known word adds to one label's logit: a label's own name (lower case) to that label,
    good/great/love to the last label, bad/awful/hate to the first. Another `bias` (added to the logits; missing numbers
    are 0) gives another digest.
    """
    return _build_package


def _build_package(
    directory: Path,
    labels: Sequence[str] = ("negative", "positive"),
    bias: Sequence[float] = (0.0, 0.0),
    task: Task = "single_label",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    label_by_word: dict[str, int | None] = dict.fromkeys(_OTHER_WORDS)
    label_by_word |= dict.fromkeys(_FIRST_LABEL_WORDS, 0) | dict.fromkeys(_LAST_LABEL_WORDS, len(labels) - 1)
    label_by_word |= {name.lower(): index for index, name in enumerate(labels)}
    vocabulary = {word: index for index, word in enumerate(("[UNK]", "[CLS]", *label_by_word))}
    _write_tokenizer(directory / TOKENIZER, vocabulary)

    # One-hot rows: the mean over a text's words is the share of words that speak for each label.
    embedding = np.zeros((len(vocabulary), len(labels)), np.float32)
    for word, label in label_by_word.items():
        if label is not None:
            embedding[vocabulary[word], label] = 1.0
    # A text that speaks for no label stays below every threshold of a multi-label task.
    padded_bias = np.full(len(labels), -2.0, np.float32)
    padded_bias[: len(bias)] += bias
    (directory / "onnx").mkdir(exist_ok=True)
    _write_graph(directory / "onnx" / "model.onnx", embedding, padded_bias)

    manifest = Manifest(
        framework="onnx",
        task=task,
        files=describe_files(directory),
        variants=(Variant("fp32", "onnx/model.onnx", golden_tolerance=1e-4),),
        inputs=(
            Tensor("input_ids", "int64", ("batch", "sequence")),
            Tensor("attention_mask", "int64", ("batch", "sequence")),
        ),
        outputs=(Tensor("logits", "float32", ("batch", len(labels))),),
        max_length_tokens=_MAX_LENGTH_TOKENS,
        base_model=BaseModel("tiny", "Apache-2.0"),
        taxonomy=Taxonomy(tuple(Label(name) for name in labels)),
    )
    seal(directory, manifest)
    classifier = TextClassifier.open(directory)
    goldens = tuple(
        Golden(text, {"fp32": tuple(float(score) for score in classifier.scores(text))}) for text in _GOLDEN_TEXTS
    )
    seal(directory, msgspec.structs.replace(manifest, goldens=goldens))
    return directory


def _write_tokenizer(path: Path, vocabulary: dict[str, int]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text, not a secret
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])])
    tokenizer.save(str(path))


def _write_graph(path: Path, embedding: np.ndarray, bias: np.ndarray) -> None:
    """Masked mean of word embeddings (vocabulary, labels), times 8, plus bias: logits (batch, labels) float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    labels = len(bias)
    initializers = {
        "embedding": embedding,
        "head": 8.0 * np.eye(labels, dtype=np.float32),
        "bias": bias,
        "last_axis": np.array([2], np.int64),
        "token_axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask_column"]),
        helper.make_node("Mul", ["words", "mask_column"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "token_axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "sequence")),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ("batch", "sequence")),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", labels))],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
