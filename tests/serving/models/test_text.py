from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from tunelane_serving.errors import ContractError
from tunelane_serving.models.text import TextEncoding
from tunelane_serving.package import Tensor
from tunelane_serving.problems import FeaturesMismatch

_VOCABULARY = ["[UNK]", "[CLS]", "[SEP]", "a", "good", "film", "un", "##put", "##down"]


class _Graph:
    """As much of a graph as an encoding looks at."""

    outputs: tuple[Tensor, ...] = ()
    size_bytes = 0

    def __init__(self, *inputs: Tensor) -> None:
        self.inputs = inputs

    def run(self, feed: Any) -> Any:
        raise NotImplementedError


_GRAPH = _Graph(
    Tensor("input_ids", "int64", ("batch", "sequence")),
    Tensor("attention_mask", "int64", ("batch", "sequence")),
    Tensor("token_type_ids", "int32", ("batch", "sequence")),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a WordPiece tokenizer of a few words that pads, as the shipped ones do."""
    tokenizer = Tokenizer(WordPiece({word: index for index, word in enumerate(_VOCABULARY)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.enable_padding(length=16)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_text_is_neither_padded_nor_longer_than_the_model_takes(tokenizer: Path) -> None:
    encoding = TextEncoding(tokenizer, 6, _GRAPH)
    prepared = encoding.prepare("A good film")
    assert {name: (array.tolist(), str(array.dtype)) for name, array in prepared.feed.items()} == {
        "input_ids": ([[1, 3, 4, 5, 2]], "int64"),
        "attention_mask": ([[1, 1, 1, 1, 1]], "int64"),
        "token_type_ids": ([[0, 0, 0, 0, 0]], "int32"),
    }
    assert (prepared.length, prepared.oov_share) == (5, 0.0)
    assert encoding.prepare("good " * 50).length == encoding.token_count("good " * 50) == 6


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("good", 0.0),
        ("good film unputdown a", 0.25),
        ("unputdown", 1.0),
        ("good zebra", 0.5),
        ("zebra giraffe", 1.0),
        ("unputdown zebra good a", 0.5),
        # A word that stands twice is two words.
        ("good good good zebra", 0.25),
    ],
)
def test_words_that_are_split_or_unknown_are_out_of_the_vocabulary(text: str, share: float, tokenizer: Path) -> None:
    assert TextEncoding(tokenizer, 64, _GRAPH).prepare(text).oov_share == share


@given(words=st.lists(st.sampled_from(("good", "film", "unputdown", "zebra", "unput")), min_size=1, max_size=20))
def test_the_share_is_that_of_counting_words_one_by_one(words: list[str], tokenizer: Path) -> None:
    odd = sum(word not in _VOCABULARY for word in words)
    assert TextEncoding(tokenizer, 512, _GRAPH).prepare(" ".join(words)).oov_share == odd / len(words)


@pytest.mark.parametrize("item", [{"x": 1}, None, ["good"], ("a", "b"), 3])
def test_what_is_no_text_is_refused(item: Any, tokenizer: Path) -> None:
    with pytest.raises(FeaturesMismatch, match=r'takes a text, not features\. Pass \{"text"'):
        TextEncoding(tokenizer, 64, _GRAPH).prepare(item)


def test_half_a_character_is_refused(tokenizer: Path) -> None:
    with pytest.raises(FeaturesMismatch, match="half of a character"):
        TextEncoding(tokenizer, 64, _GRAPH).prepare("good \ud83d")


@pytest.mark.parametrize(
    "inputs", [(Tensor("pixels", "float32", ("batch", 3)),), (Tensor("input_ids", "float32", ("batch", "sequence")),)]
)
def test_a_graph_that_takes_no_tokens_is_refused(inputs: tuple[Tensor, ...], tokenizer: Path) -> None:
    with pytest.raises(ContractError, match="a graph that reads texts takes input_ids, attention_mask"):
        TextEncoding(tokenizer, 64, _Graph(*inputs))


def test_a_broken_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ContractError, match=r"tokenizer\.json: cannot be read as a tokenizer") as refused:
        TextEncoding(tmp_path / "tokenizer.json", 64, _GRAPH)
    assert "\n" not in str(refused.value)


def test_a_package_is_asked_without_padding(tiny_package: Callable[..., Path], tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    encoding = TextEncoding(package / "tokenizer.json", 32, _Graph(*_GRAPH.inputs[:1]))
    np.testing.assert_array_equal(encoding.prepare("good").feed["input_ids"].shape, (1, 2))
