"""Keyword rules: labels by the words that speak for them. The last resort where no model can be loaded."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from tunelane_serving.contract import encode, formatted
from tunelane_serving.errors import ContractError
from tunelane_serving.files import sha256_bytes
from tunelane_serving.models.model import Answer, Classification, Item, Prepared
from tunelane_serving.package import LABEL_TASKS, BaseModel, Manifest, Task
from tunelane_serving.problems import FeaturesMismatch
from tunelane_serving.taxonomy import Taxonomy

# Words, with the apostrophes in them, and single signs.
_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
# What every label is given before counting: one match among two labels is then 2/3, not certainty.
_SMOOTHING = 1.0
_MATCHES = "matches"
# As typesetting has it, U+2019.
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"


class KeywordClassifier:
    """A `Model` without a graph: it counts in a text the keywords, name and aliases of every label.

    Words are whole and their case does not matter; of terms that begin at the same word the longest counts.
    Scores are the labels' shares of all matches, (matches + 1) / (all matches + labels): the same for all where nothing
    matches. A single-label task gives the highest score's label, a multi-label one the labels with a match.
    """

    variant = "rules"
    batch_independent = True

    def __init__(self, taxonomy: Taxonomy, *, task: Task = "single_label", reason: str = "") -> None:
        """Make rules of a taxonomy; `reason` is why no model serves.

        `digest` is that of the package which `manifest`, sealed alone in a directory, would be.
        """
        manifest = Manifest(
            framework="rules",
            task=task,
            files=(),
            variants=(),
            inputs=(),
            outputs=(),
            max_length_tokens=1,
            base_model=BaseModel("keywords"),
            taxonomy=taxonomy,
        )
        self._take(manifest, sha256_bytes(formatted(manifest)), reason)

    @classmethod
    def of_package(cls, manifest: Manifest, digest: str) -> "KeywordClassifier":
        """Make the rules of a package; raises ContractError where it is one without labels."""
        rules = cls.__new__(cls)
        rules._take(manifest, digest, "")
        return rules

    def _take(self, manifest: Manifest, digest: str, reason: str) -> None:
        if manifest.taxonomy is None or manifest.task not in LABEL_TASKS:
            raise ContractError(f"keyword rules give labels; a {manifest.task} package has none")
        self.manifest = manifest
        self.digest = digest
        self.fallback_reason = reason
        self.taxonomy = manifest.taxonomy
        self._labels_by_term: dict[tuple[str, ...], list[int]] = {}
        for position, label in enumerate(self.taxonomy.labels):
            for term in {_words(spelling) for spelling in (label.name, *label.aliases, *label.keywords)} - {()}:
                self._labels_by_term.setdefault(term, []).append(position)
        # The lengths of terms by their first word, the longest first.
        self._lengths_by_word: dict[str, list[int]] = {}
        for term in self._labels_by_term:
            lengths = self._lengths_by_word.setdefault(term[0], [])
            if len(term) not in lengths:
                lengths.append(len(term))
                lengths.sort(reverse=True)
        self.size_bytes = len(encode(self.taxonomy))

    def prepare(self, item: Item) -> Prepared:
        """Count each label's matches: (1, labels) int64. Raises FeaturesMismatch where `item` is no text."""
        if not isinstance(item, str):
            raise FeaturesMismatch('This model takes a text, not features. Pass {"text": …}.')
        words = _words(item)
        matches = np.zeros((1, len(self.taxonomy.labels)), np.int64)
        at = 0
        while at < len(words):
            for length in self._lengths_by_word.get(words[at], ()):
                labels = self._labels_by_term.get(words[at : at + length])
                if labels is not None:
                    matches[0, labels] += 1
                    at += length
                    break
            else:
                at += 1
        return Prepared({_MATCHES: matches}, 0)

    def run(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """Turn matches into scores and labels."""
        answers: list[Answer] = []
        names = self.taxonomy.names
        for text in prepared:
            matches = text.feed[_MATCHES][0]
            scores = (matches + _SMOOTHING) / (matches.sum() + _SMOOTHING * len(names))
            chosen = np.flatnonzero(matches) if self.manifest.task == "multi_label" else [int(scores.argmax())]
            answers.append(Classification(tuple(names[index] for index in chosen), scores.astype(np.float32)))
        return answers


def _words(text: str) -> tuple[str, ...]:
    """The words of a text, spelt one way."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace(_APOSTROPHE, "'")))
