"""The classifier that serves: text to scores, one text at a time, on a verified model package.

Parity, evaluation, smoke tests and the server all call this class; there is no second prediction path.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.package import TOKENIZER, Manifest, Variant, package_digest, read_manifest, verify
from tunelane_serving.session import open_session
from tunelane_serving.taxonomy import Taxonomy


@dataclass(frozen=True)
class Classification:
    """An answer. `scores` are float32 probabilities of shape (labels,) in taxonomy order; `labels` those chosen."""

    labels: tuple[str, ...]
    scores: NDArray[np.float32]


class TextClassifier:
    """A loaded variant of a model package.

    Safe to call from several threads: tokenizer and session keep no state between calls.
    """

    def __init__(self, directory: Path, manifest: Manifest, variant: Variant, session: Any) -> None:
        if manifest.taxonomy is None:
            raise ContractError(f"{directory}: a {manifest.task} package does not classify text")
        self.digest = package_digest(directory)
        self.manifest = manifest
        self.taxonomy: Taxonomy = manifest.taxonomy
        self.variant = variant.name
        self.fallback_reason = ""
        self._session = session
        self._tokenizer = _load_tokenizer(directory / TOKENIZER, manifest.max_length_tokens)
        self._input_names = [tensor.name for tensor in session.get_inputs()]
        self._thresholds = np.array([manifest.thresholds.get(name, 0.5) for name in self.taxonomy.names], np.float32)

    @classmethod
    def open(
        cls, directory: Path, *, variant: str | None = None, threads: int = 1, optimize: bool = True
    ) -> "TextClassifier":
        """Open one variant (the preferred one by default) as it stands: no file is verified, no golden row replayed.

        For the stages that build or judge a package; the server uses `load`.

        Raises:
            ContractError: no such variant, or the graph or tokenizer cannot be loaded.
        """
        manifest = read_manifest(directory)
        names = [candidate.name for candidate in manifest.variants]
        if variant is not None and variant not in names:
            raise ContractError(f"{directory}: no variant {variant!r}; it has {', '.join(names)}")
        chosen = manifest.variants[names.index(variant) if variant else 0]
        session = open_session(directory / chosen.path, threads=threads, optimize=optimize)
        return cls(directory, manifest, chosen, session)

    @classmethod
    def load(cls, directory: Path, *, expected_digest: str | None = None, threads: int = 1) -> "TextClassifier":
        """Verify a package, then open the first variant that answers its golden rows within tolerance on this CPU.

        Raises:
            DigestMismatch: the package is not the one that `expected_digest` names, or a file was changed.
            ContractError: the package is broken, or no variant keeps its tolerance.
        """
        manifest = verify(directory, expected_digest=expected_digest)
        refused: list[str] = []
        for variant in manifest.variants:
            classifier = cls(directory, manifest, variant, open_session(directory / variant.path, threads=threads))
            deviation = classifier.golden_deviation()
            if deviation <= variant.golden_tolerance:
                classifier.fallback_reason = "; ".join(refused)
                return classifier
            refused.append(
                f"{variant.name} is {deviation:.2g} off its golden rows, {variant.golden_tolerance:.2g} is allowed"
            )
        raise ContractError(f"{directory}: no variant answers as it did when it was built: {'; '.join(refused)}")

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
        return len(self._tokenizer.encode(text).ids)

    def logits(self, text: str) -> NDArray[np.float32]:
        """The graph's raw output for one text: (labels,) float32."""
        encoding = self._tokenizer.encode(text)
        columns = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feed = {name: np.array([columns[name]], np.int64) for name in self._input_names}
        output: NDArray[np.float32] = self._session.run(None, feed)[0][0]
        return output

    def scores(self, text: str) -> NDArray[np.float32]:
        """Probabilities for one text: (labels,) float32; they sum to 1 for a single-label task."""
        return probabilities(self.logits(text), multi_label=self.manifest.task == "multi_label")

    def classify(self, text: str) -> Classification:
        """Score one text and choose: the highest label, or for a multi-label task all that reach their threshold."""
        scores = self.scores(text)
        if self.manifest.task == "multi_label":
            chosen = np.flatnonzero(scores >= self._thresholds)
        else:
            chosen = np.array([int(scores.argmax())])
        return Classification(tuple(self.taxonomy.names[index] for index in chosen), scores)


def probabilities(logits: NDArray[np.float32], *, multi_label: bool = False) -> NDArray[np.float32]:
    """Logits of shape (..., labels) to probabilities: sigmoid for multi-label tasks, softmax otherwise."""
    if multi_label:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def _load_tokenizer(path: Path, max_length_tokens: int) -> Tokenizer:
    """The package's tokenizer without padding: a padded int8 graph can give another answer, and costs more."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ContractError(f"{path}: cannot be read as a tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length_tokens)
    return tokenizer


def load_classifier(package: Path, expected_digest: str | None) -> TextClassifier:
    """Load a package for serving; whatever is wrong with it becomes an error of one line.

    Raises:
        DigestMismatch: it is not the expected package, or a file was changed.
        ContractError: it is broken, or cannot be served on this machine.
    """
    try:
        return TextClassifier.load(package, expected_digest=expected_digest)
    except TunelaneError:
        raise
    except Exception as error:  # a graph that does not fit its manifest fails in ways of ONNX Runtime's and numpy's own
        reason = str(error).strip().partition("\n")[0]
        raise ContractError(f"{package}: cannot be served: {type(error).__name__}: {reason}") from error
