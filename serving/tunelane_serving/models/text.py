"""Texts as a graph gets them: token ids of one text, never padded."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from tunelane_serving.backends.graph import Graph
from tunelane_serving.errors import ContractError
from tunelane_serving.models.model import Item, Prepared
from tunelane_serving.problems import FeaturesMismatch

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_INTEGERS = ("int64", "int32")


class TextEncoding:
    """A package's tokenizer, and what a graph that reads texts is fed. Safe to call from several threads."""

    def __init__(self, path: Path, max_length_tokens: int, graph: Graph) -> None:
        """Read the tokenizer at `path`; raises ContractError where it is none, or the graph takes no tokens."""
        self._tokenizer = _load_tokenizer(path, max_length_tokens)
        self._unknown_id = _unknown_id(self._tokenizer)
        self._feeds: list[tuple[str, np.dtype[Any]]] = []
        for tensor in graph.inputs:
            if tensor.name not in _INPUTS or tensor.dtype not in _INTEGERS:
                raise ContractError(
                    f"{path.parent}: the graph takes {tensor.name!r}, {tensor.dtype}; a graph that reads texts takes "
                    "input_ids, attention_mask and token_type_ids, int64 or int32"
                )
            self._feeds.append((tensor.name, np.dtype(tensor.dtype)))

    def prepare(self, item: Item) -> Prepared:
        """Tokenise one text: arrays of shape (1, tokens).

        Raises:
            FeaturesMismatch: it is no text, or not one that can be written as UTF-8.
        """
        encoding = self._encode(item)
        ids = encoding.ids
        feed: dict[str, NDArray[Any]] = {}
        for name, dtype in self._feeds:
            if name == "input_ids":
                feed[name] = np.array([ids], dtype)
            elif name == "attention_mask":
                # Nothing is padded.
                feed[name] = np.ones((1, len(ids)), dtype)
            else:
                feed[name] = np.array([encoding.type_ids], dtype)
        return Prepared(feed, len(ids), self._oov_share(ids, encoding.word_ids))

    def token_count(self, text: str) -> int:
        """Tokens of `text` as the graph gets them: special tokens included, truncated at the maximum length."""
        return len(self._encode(text).ids)

    def _encode(self, item: Item) -> Encoding:
        try:
            return self._tokenizer.encode(item)
        except (TypeError, UnicodeEncodeError) as error:
            if not isinstance(item, str):
                raise FeaturesMismatch('This model takes a text, not features. Pass {"text": …}.') from error
            raise FeaturesMismatch("The text holds half of a character (a lone surrogate). Pass whole ones.") from error

    def _oov_share(self, ids: list[int], words: list[int | None]) -> float:
        """The share of words that the tokenizer had to split, or does not know. 0 for a text without words."""
        # Tokens of one word stand together; special tokens belong to none.
        odd = {word for word, following in pairwise(words) if word == following}
        if self._unknown_id in ids:
            odd.update(word for word, token in zip(words, ids, strict=True) if token == self._unknown_id)
        odd.discard(None)
        distinct = set(words)
        distinct.discard(None)
        return len(odd) / len(distinct) if distinct else 0.0


def _load_tokenizer(path: Path, max_length_tokens: int) -> Tokenizer:
    """The package's tokenizer without padding: a padded int8 graph can give another answer, and costs more."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length_tokens)
    except Exception as error:  # tokenizers raises bare Exception
        raise ContractError(f"{path}: cannot be read as a tokenizer: {error}") from error
    return tokenizer


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the token for what is not in the vocabulary; None for a tokenizer without one (byte-level BPE)."""
    token = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(token) if token else None
