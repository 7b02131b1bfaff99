"""The embedder that serves: text to one vector."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.backends.graph import Graph
from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.models.batches import answers_alike_together, stacked
from tunelane_serving.models.model import Answer, Embedding, Item, Prepared
from tunelane_serving.models.text import TextEncoding
from tunelane_serving.models.variants import Require, open_serving_variant, open_variant
from tunelane_serving.package import TOKENIZER, Manifest, Variant, package_digest

_WARM_UP = "warm up"
# Below this a vector is as good as zero; dividing by its length would blow up rounding.
_SMALLEST_LENGTH = 1e-12


class TextEmbedder:
    """A loaded variant of an embedding package: a `Model`. Its graph's first output is what is pooled.

    Safe to call from several threads: tokenizer and graph keep no state between calls.
    """

    def __init__(self, directory: Path, manifest: Manifest, variant: Variant, graph: Graph) -> None:
        axes = len(graph.outputs[0].shape)
        needed = 2 if manifest.pooling == "none" else 3
        if axes != needed:
            raise ContractError(
                f"{directory}: pooling {manifest.pooling!r} needs an output of {needed} axes, "
                f"{graph.outputs[0].name!r} has {axes}; pack it with another pooling"
            )
        self.digest = package_digest(directory)
        self.manifest = manifest
        self.variant = variant.name
        self.fallback_reason = ""
        self.size_bytes = graph.size_bytes
        self.batch_independent = variant.batch_independent
        self._graph = graph
        self._encoding = TextEncoding(directory / TOKENIZER, manifest.max_length_tokens, graph)

    @classmethod
    def open(cls, directory: Path, *, variant: str | None = None, optimize: bool = True) -> "TextEmbedder":
        """Open one variant (the preferred one by default) as it stands: no file is verified, no golden row replayed.

        Raises:
            ContractError: no such variant, or the graph or tokenizer cannot be loaded.
        """
        return open_variant(directory, cls, variant, optimize=optimize)

    @classmethod
    def of_verified(cls, directory: Path, manifest: Manifest, *, require: Require) -> "TextEmbedder":
        """Open the first variant of a verified package that keeps its golden tolerance; raises ContractError."""
        embedder = open_serving_variant(directory, manifest, cls, require=require)
        if embedder.batch_independent:
            rows = [embedder.prepare(golden.text) for golden in manifest.goldens]
            embedder.batch_independent = answers_alike_together(rows, embedder.vectors_together)
        return embedder

    def golden_deviation(self) -> float:
        """Largest difference of a vector's element over the golden rows; a package without any is run once, and 0."""
        if not self.manifest.goldens:
            self.run([self.prepare(_WARM_UP)])
            return 0.0
        return float(
            np.max(
                [
                    np.abs(self.embed(golden.text) - np.array(golden.scores[self.variant], np.float32)).max()
                    for golden in self.manifest.goldens
                ]
            )
        )

    def prepare(self, item: Item) -> Prepared:
        """Tokenise a text; raises FeaturesMismatch where `item` is none."""
        return self._encoding.prepare(item)

    def embed(self, text: str) -> NDArray[np.float32]:
        """The vector of one text: (width,) float32."""
        vector: NDArray[np.float32] = self.vectors_together([self.prepare(text)])[0]
        return vector

    def vectors_together(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """The vectors of texts of equal length, run as one batch: (texts, width) float32."""
        # Text by text: no number may depend on how many there are.
        return np.stack([self._vector(row) for row in self._graph.run(stacked(prepared))[0]])

    def run(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """Embed one text, or several of equal length together.

        Raises:
            TunelaneError: the graph gave a number that is not finite.
        """
        # Dividing by an infinite length is what makes a number not finite, or keeps it so.
        with np.errstate(invalid="ignore"):
            vectors = self.vectors_together(prepared)
        if not np.isfinite(vectors).all():
            raise TunelaneError("The graph gave a vector that is not finite. Serve another version.")
        return [Embedding(vector, text.length, text.oov_share) for vector, text in zip(vectors, prepared, strict=True)]

    def _vector(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pool one text's output, (width,) or (tokens, width), and bring it to length 1 where that is asked."""
        if self.manifest.pooling == "mean":
            # Over all tokens: none is padding.
            row = row.mean(axis=0)
        elif self.manifest.pooling == "cls":
            row = row[0]
        if self.manifest.normalize:
            row = row / max(float(np.sqrt(np.dot(row, row))), _SMALLEST_LENGTH)
        return np.asarray(row, np.float32)
