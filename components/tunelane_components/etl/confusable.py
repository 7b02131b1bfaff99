"""Which labels are written about in the same words, and so are likely to be confused: statistics without a model.

A row is the set of its words, each weighted by idf^3 with idf = ln((1 + rows) / (1 + rows with the word)), scaled to
length 1. The similarity of two labels is the cosine of the sums of their rows. A word that stands in a share p of both
labels' rows adds about p^2 ln(1/p)^(2k) to it for weights of idf^k, which is greatest at p = e^-k: with the plain idf
for words of 37 % of the rows ("the", "and"), with its cube for words of 5 %, which is where subjects are. So common
words count little in any language, without a list of them. Weights and cosine: Manning, Raghavan, Schütze,
Introduction to Information Retrieval, sections 6.2 and 6.3, https://nlp.stanford.edu/IR-book/.

Rows that have both labels of a pair are left out of that pair's sums: labels of a multi-label task that often stand
together are not confused by that. A label that never stands without the other is not compared with it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from tunelane_components.etl.rows.personal_data import KINDS

_CHARACTERS = 300  # of a text that are looked at
_VOCABULARY = 5_000  # words: those that most rows have
_SHARED_WORDS = 5
_ROUNDING = 1e-9  # a share of a sum that is no more than rounding

# One character of a script that is written without spaces, or a run of what is neither space nor punctuation. \w would
# cut words at the vowel signs of Indic scripts, and "don't" at its apostrophe.
_WITHOUT_SPACES = r"\u3040-\u30ff\u3400-\u9fff"
_PUNCTUATION = r"!-&(-,./:-@\[-`{-~\u00a0-\u00bf\u2000-\u2018\u201a-\u206f\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"
_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS).upper()})\]")
_WORD = re.compile(rf"[{_WITHOUT_SPACES}]|[^\s{_PUNCTUATION}{_WITHOUT_SPACES}]+")
_INSIDE_WORDS = "-'\u2019"

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


class ConfusablePair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two labels, `first` sorting before `second`, their similarity in (0, 1], and the words that make most of it."""

    first: str
    second: str
    similarity: float
    shared_words: tuple[str, ...]


def confusable_pairs(texts: Sequence[str], labels: Sequence[Sequence[str]], *, pairs: int = 10) -> list[ConfusablePair]:
    """Return up to `pairs` pairs of labels, the most similar first; only pairs that share a word.

    `labels` holds each text's labels. The order of the rows changes nothing. The first 300 characters of a text and the
    5,000 words that most rows have are looked at, so 20,000 rows take a second or two.
    """
    # A sum of floats depends on their order: the rows are brought into one.
    rows = sorted((words_of(text), sorted(set(given))) for text, given in zip(texts, labels, strict=True))
    bags = _Bags([words for words, _ in rows])
    names = sorted({name for _, given in rows for name in given})
    if len(names) < 2:
        return []
    rows_of: dict[str, list[int]] = defaultdict(list)
    rows_of_both: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (_, given) in enumerate(rows):
        for name in given:
            rows_of[name].append(row)
        for pair in combinations(given, 2):
            rows_of_both[pair].append(row)
    sums = {name: bags.sum(rows_of[name]) for name in names}

    def apart(first: str, second: str) -> _Floats:
        """Return (2, words): the labels' sums over the rows that have one of them only."""
        vectors = np.array([sums[first], sums[second]])
        both = rows_of_both.get((first, second), [])
        if both and len(both) == min(len(rows_of[first]), len(rows_of[second])):
            return np.zeros_like(vectors)
        return np.maximum(vectors - bags.sum(both), 0) if both else vectors

    similarities = _cosines(np.array([sums[name] for name in names]))
    place = {name: index for index, name in enumerate(names)}
    for first, second in rows_of_both:
        similarities[place[first], place[second]] = _cosines(apart(first, second))[0, 1]
    firsts, seconds = np.triu_indices(len(names), k=1)
    # Rounded, so that the last digits of another machine decide no order.
    found = np.minimum(np.round(similarities[firsts, seconds], 6), 1)
    result = []
    for index in np.lexsort((seconds, firsts, -found))[:pairs]:
        first, second = names[firsts[index]], names[seconds[index]]
        if found[index] > 0:
            shared_words = bags.foremost(apart(first, second).prod(axis=0))
            result.append(ConfusablePair(first, second, float(found[index]), shared_words))
    return result


def words_of(text: str) -> list[str]:
    """Return the distinct words of the first 300 characters, in lower case and sorted; placeholders are none."""
    plain = _PLACEHOLDER.sub(" ", text[:_CHARACTERS]).lower()
    return sorted({word.strip(_INSIDE_WORDS) for word in _WORD.findall(plain)} - {""})


class _Bags:
    """The words of all rows and their weights, one row after the other."""

    def __init__(self, bags: list[list[str]]) -> None:
        counts = Counter(word for words in bags for word in words)
        self._vocabulary = sorted(sorted(counts, key=lambda word: (-counts[word], word))[:_VOCABULARY])
        places = {word: place for place, word in enumerate(self._vocabulary)}
        known = [[places[word] for word in words if word in places] for words in bags]
        self._sizes: _Integers = np.array([len(words) for words in known], dtype=np.int64)
        self._starts: _Integers = np.cumsum(self._sizes) - self._sizes
        self._words: _Integers = np.array([place for words in known for place in words], dtype=np.int64)
        idf = np.log((1 + len(bags)) / (1 + np.array([counts[word] for word in self._vocabulary])))
        weights = (idf**3)[self._words]
        row = np.repeat(np.arange(len(bags)), self._sizes)
        lengths = np.sqrt(np.bincount(row, weights**2, minlength=len(bags)))
        self._weights: _Floats = weights / np.where(lengths > 0, lengths, 1)[row]

    def sum(self, rows: list[int]) -> _Floats:
        """Return (words,): the sum of some rows' vectors."""
        sizes = self._sizes[rows]
        entries = np.arange(sizes.sum()) + np.repeat(self._starts[rows] - (np.cumsum(sizes) - sizes), sizes)
        return np.bincount(self._words[entries], self._weights[entries], len(self._vocabulary)).astype(np.float64)

    def foremost(self, parts: _Floats) -> tuple[str, ...]:
        """Return the words of the largest `parts` (words,) of a sum, the largest first."""
        order = np.argsort(-parts, kind="stable")[:_SHARED_WORDS]
        return tuple(self._vocabulary[place] for place in order if parts[place] > _ROUNDING * parts.sum())


def _cosines(vectors: _Floats) -> _Floats:
    """Return (n, n): the cosines of the rows of (n, words); 0 for a row of zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    cosines: _Floats = unit @ unit.T
    return cosines
