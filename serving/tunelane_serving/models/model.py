"""What every loaded model can do, whatever its task and framework."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.package import Manifest

# What a model is asked: a text, or for a `tensors` package features by input name (nested lists, no batch axis).
Item = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One item as the graph gets it.

    `feed` holds one array an input, batch axis 1. Items of equal `length` can be put together: tokens of a text; of
    features every one has its own. `oov_share` is the share of words that are not whole in the tokenizer's vocabulary.
    """

    feed: dict[str, NDArray[Any]]
    length: int
    oov_share: float | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """Labels. `scores` are float32 probabilities of shape (labels,) in taxonomy order; `labels` those chosen."""

    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    length_tokens: int | None = None
    oov_share: float | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector of shape (width,) float32."""

    vector: NDArray[np.float32]
    length_tokens: int | None = None
    oov_share: float | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a graph gave, by output name, without the batch axis."""

    tensors: dict[str, NDArray[Any]]


Answer = Classification | Embedding | Outputs


class Model(Protocol):
    """A loaded variant of a model package. Safe to call from several threads.

    `fallback_reason` says why the preferred variant does not serve; empty where it does. `size_bytes` is about what it
    holds in memory.
    """

    digest: str
    manifest: Manifest
    variant: str
    fallback_reason: str
    size_bytes: int
    batch_independent: bool

    def prepare(self, item: Item) -> Prepared:
        """Tokenise a text, or check features.

        Raises:
            FeaturesMismatch: `item` is not what the model takes; its details say where.
        """
        ...

    def run(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """Run the graph once on one item, or on several of equal length together; answers in their order."""
        ...
