"""The classifier that serves: text to scores, one text at a time, on a verified model package.

Parity, evaluation, smoke tests and the server all call this class; there is no second prediction path.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.backends.graph import Graph
from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.models.batches import answers_alike_together, stacked
from tunelane_serving.models.model import Answer, Classification, Item, Prepared
from tunelane_serving.models.text import TextEncoding
from tunelane_serving.models.variants import Require, open_serving_variant, open_variant
from tunelane_serving.package import TOKENIZER, Manifest, Variant, package_digest
from tunelane_serving.taxonomy import Taxonomy

__all__ = ["Classification", "TextClassifier", "probabilities"]


class TextClassifier:
    """A loaded variant of a package with labels: a `Model`, and more for the stages that judge packages.

    Safe to call from several threads: tokenizer and graph keep no state between calls.
    """

    def __init__(self, directory: Path, manifest: Manifest, variant: Variant, graph: Graph) -> None:
        if manifest.taxonomy is None:
            raise ContractError(f"{directory}: a {manifest.task} package does not classify text")
        self.digest = package_digest(directory)
        self.manifest = manifest
        self.taxonomy: Taxonomy = manifest.taxonomy
        self.variant = variant.name
        self.fallback_reason = ""
        self.size_bytes = graph.size_bytes
        self.batch_independent = variant.batch_independent
        self._graph = graph
        self._encoding = TextEncoding(directory / TOKENIZER, manifest.max_length_tokens, graph)
        self._multi_label = manifest.task == "multi_label"
        self._thresholds = np.array([manifest.thresholds.get(name, 0.5) for name in self.taxonomy.names], np.float32)

    @classmethod
    def open(cls, directory: Path, *, variant: str | None = None, optimize: bool = True) -> "TextClassifier":
        """Open one variant (the preferred one by default) as it stands: no file is verified, no golden row replayed.

        For the stages that build or judge a package; what serves is loaded by `load_model`.

        Raises:
            ContractError: no such variant, or the graph or tokenizer cannot be loaded.
        """
        return open_variant(directory, cls, variant, optimize=optimize)

    @classmethod
    def of_verified(cls, directory: Path, manifest: Manifest, *, require: Require) -> "TextClassifier":
        """Open the first variant of a verified package that keeps its golden tolerance; raises ContractError."""
        classifier = open_serving_variant(directory, manifest, cls, require=require)
        if classifier.batch_independent:
            rows = [classifier.prepare(golden.text) for golden in manifest.goldens]
            classifier.batch_independent = answers_alike_together(rows, classifier.logits_together)
        return classifier

    def golden_deviation(self) -> float:
        """Largest absolute score difference over the package's golden rows; NaN where a score is not a number.

        Raises:
            ContractError: the package has no golden rows.
        """
        if not self.manifest.goldens:
            raise ContractError("the package has no golden rows: it never passed validate_parity, which adds them")
        return float(
            np.max(
                [
                    np.abs(self.scores(golden.text) - np.array(golden.scores[self.variant], np.float32)).max()
                    for golden in self.manifest.goldens
                ]
            )
        )

    def token_count(self, text: str) -> int:
        """Tokens of `text` as the graph gets them: special tokens included, truncated at the maximum length."""
        return self._encoding.token_count(text)

    def prepare(self, item: Item) -> Prepared:
        """Tokenise a text; raises FeaturesMismatch where `item` is none."""
        return self._encoding.prepare(item)

    def run(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """Classify one text, or several of equal length together.

        Raises:
            TunelaneError: the graph gave a logit that is not finite.
        """
        logits = self.logits_together(prepared)
        if not np.isfinite(logits).all():
            raise TunelaneError("The graph gave scores that are not finite. Train again, or serve another version.")
        return [self._classification(row, text) for row, text in zip(logits, prepared, strict=True)]

    def logits_together(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """The graph's raw output for texts of equal length, run as one batch: (texts, labels) float32."""
        logits: NDArray[np.float32] = self._graph.run(stacked(prepared))[0]
        return logits

    def logits(self, text: str) -> NDArray[np.float32]:
        """The graph's raw output for one text: (labels,) float32."""
        row: NDArray[np.float32] = self.logits_together([self._encoding.prepare(text)])[0]
        return row

    def scores(self, text: str) -> NDArray[np.float32]:
        """Probabilities for one text: (labels,) float32; they sum to 1 for a single-label task."""
        return probabilities(self.logits(text), multi_label=self._multi_label)

    def classify(self, text: str) -> Classification:
        """Score one text and choose: the highest label, or for a multi-label task all that reach their threshold.

        What is not finite is passed on as it is.
        """
        prepared = self._encoding.prepare(text)
        return self._classification(self.logits_together([prepared])[0], prepared)

    def _classification(self, logits: NDArray[np.float32], text: Prepared) -> Classification:
        scores = probabilities(logits, multi_label=self._multi_label)
        names = self.taxonomy.names
        if self._multi_label:
            labels = tuple(names[index] for index in np.flatnonzero(scores >= self._thresholds))
        else:
            labels = (names[int(scores.argmax())],)
        return Classification(labels, scores, text.length, text.oov_share)


def probabilities(logits: NDArray[np.float32], *, multi_label: bool = False) -> NDArray[np.float32]:
    """Logits of shape (..., labels) to probabilities: sigmoid for multi-label tasks, softmax otherwise."""
    if multi_label:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
