"""Which texts nearly repeat a validation or test text: MinHash LSH finds candidates, their exact similarity decides.

Two texts are compared by the Jaccard similarity of their sets of shingles: all runs of four UTF-16 units of the
normalised text (a shorter text is one shingle). Characters rather than words, since a typo in a four-word review
changes a quarter of its words, and some languages write no spaces. Four rather than three, since long texts use up a
language's runs of three: two unrelated news articles share 27 % of those and 12 % of the runs of four. Not five, since
an edit changes as many shingles as they are long. And four units are one 64-bit number: equal numbers are equal
shingles, and the similarity is exact.

The hash functions are those of datasketch (scheme "affine32", seed 1), applied to a batch of texts at a time: bit for
bit its `MinHash`, over ten times as fast as asking it text by text. rensa computes as fast, but hands signatures out as
Python lists only (18 µs a text), keeps a thread pool that a fork breaks, and is younger. Nothing here depends on the
process, the platform or PYTHONHASHSEED.

MinHash: https://en.wikipedia.org/wiki/MinHash. Banding: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets,
chapter 3, http://infolab.stanford.edu/~ullman/mmds/ch3.pdf.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from tunelane_components.etl.record import normalized
from tunelane_serving.errors import InputError

_UNITS = 4  # UTF-16 units in a shingle: 64 bits
_PERMUTATIONS = 128
_MINIMUM_RECALL = 0.99  # of the pairs that are exactly as similar as the threshold
_AGREEING_BANDS = 2
_BATCH_CHARACTERS = 1 << 17  # what a batch works on stays in the processor's cache
_BUCKET_SIZE = 32

_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio

_Keys = npt.NDArray[np.uint64]
_Hashes = npt.NDArray[np.uint32]
_Places = npt.NDArray[np.int64]


def bands_for(threshold: float) -> tuple[int, int]:
    """Return how many bands of how many hashes make a pair at `threshold` a candidate with a probability of 0.99.

    A pair is a candidate when two bands agree. At similarity s one band agrees with the probability p = s^hashes, so
    two of b do with 1 - (1 - p)^b - b p (1 - p)^(b - 1). Of all that suffice, the bands with most hashes let the
    fewest dissimilar pairs through. Asking for two bands rather than one lets a tenth as many through at the same
    recall, which matters for long documents: any two are somewhat alike.
    """
    for hashes in range(_PERMUTATIONS // _AGREEING_BANDS, 1, -1):
        bands = _PERMUTATIONS // hashes
        agrees = threshold**hashes
        if 1 - (1 - agrees) ** bands - bands * agrees * (1 - agrees) ** (bands - 1) >= _MINIMUM_RECALL:
            return bands, hashes
    return _PERMUTATIONS, 1


class HeldOutIndex:
    """Texts of validation and test rows; finds texts that nearly repeat one of them.

    What it answers is a function of the set of texts and of nothing else, so any number of workers that each build it
    from the same texts, or are handed it (forked or pickled), answer alike. It holds a text normalised and in UTF-8,
    24 bytes with it, and 8 bytes a band (25 bands at a threshold of 0.8).

    Where more than 32 texts share a band (a template that thousands of rows fill in), the 32 with the smallest digests
    stand for them. So no text is compared with more than 32 a band, whatever the data; in such a family a pair at the
    threshold may be missed, and a text may get the similarity of its second-nearest.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise InputError(
                f"near_duplicate_threshold={threshold}: pass a Jaccard similarity above 0 and up to 1, or 0 for no "
                f"search."
            )
        self._threshold = threshold
        self._bands, self._hashes = bands_for(threshold)
        self._texts = bytearray()  # one after the other, by place
        self._ends = array("Q")
        self._digests = array("Q")
        self._places: _Places = np.empty(0, dtype=np.int64)  # by rank among the digests of all distinct texts
        self._tables: list[_Keys] = []  # one a band

    def add(self, texts: Sequence[str]) -> None:
        """Add held-out texts. A text that is there already changes nothing."""
        for text in texts:
            encoded = normalized(text).encode("utf-8", "surrogatepass")
            self._texts += encoded
            self._ends.append(len(self._texts))
            self._digests.append(int.from_bytes(blake2b(encoded, digest_size=8).digest(), "little"))
        self._tables = []

    def prepare(self) -> None:
        """Build the tables now rather than at the first question, so that forked processes share them."""
        if self._tables or not self._ends:
            return
        # Ranks are the same in whatever order the texts came; places are not.
        self._places = np.unique(np.frombuffer(self._digests, dtype=np.uint64), return_index=True)[1]
        hashes = np.empty((self._bands, len(self._places)), dtype=np.uint32)
        done = 0
        for batch in _batches(map(self._text, range(len(self._places)))):
            hashes[:, done : done + len(batch)] = _band_hashes(*_shingles(batch), self._bands, self._hashes)
            done += len(batch)
        self._tables = [_table(band) for band in hashes]

    def nearest(self, texts: Sequence[str]) -> list[float]:
        """Return for each text its similarity to the most similar held-out text found; 0.0 below the threshold."""
        self.prepare()
        if not self._tables:
            return [0.0] * len(texts)
        return [similarity for batch in _batches(map(normalized, texts)) for similarity in self._nearest(batch)]

    def _nearest(self, texts: list[str]) -> list[float]:
        """Answer for one batch of normalised texts."""
        similarities = [0.0] * len(texts)
        keys, starts = _shingles(texts)
        pairs = self._candidates(_band_hashes(keys, starts, self._bands, self._hashes))
        if not len(pairs):
            return similarities
        places = (pairs & _LOW_HALF).astype(np.int64)
        asked = {place: _shingle_set(keys, starts, place) for place in np.unique(places).tolist()}
        # By held-out text: their shingles are made anew, one text's at a time, while a batch's own fit in memory.
        ranks, first = np.unique(pairs >> _HALF, return_index=True)
        held_out = _shingle_sets(map(self._text, ranks.tolist()))
        for theirs, nearby in zip(held_out, np.split(places, first[1:]), strict=True):
            for place in nearby.tolist():
                common = len(asked[place] & theirs)
                similarity = common / (len(asked[place]) + len(theirs) - common)
                if similarity >= self._threshold:
                    similarities[place] = max(similarity, similarities[place])
        return similarities

    def _candidates(self, hashes: _Hashes) -> _Keys:
        """Return the pairs that share two bands, sorted: a held-out text's rank << 32 | the place of a text."""
        matches = [_matches(table, band) for table, band in zip(self._tables, hashes, strict=True)]
        pairs, agreeing = np.unique(np.concatenate(matches), return_counts=True)
        return pairs[agreeing >= _AGREEING_BANDS]

    def _text(self, rank: int) -> str:
        """Return a held-out text, normalised, by its rank."""
        place = int(self._places[rank])
        start = self._ends[place - 1] if place else 0
        return self._texts[start : self._ends[place]].decode("utf-8", "surrogatepass")


def _entries(hashes: _Hashes) -> _Keys:
    """Return hash << 32 | place of each of one band's hashes, sorted."""
    return np.sort(hashes.astype(np.uint64) << _HALF | np.arange(len(hashes), dtype=np.uint64))


def _table(hashes: _Hashes) -> _Keys:
    """Return one band's entries by rank; of those with equal hashes the first `_BUCKET_SIZE`."""
    entries = _entries(hashes)
    places = np.arange(len(entries))
    opens_bucket = np.ones(len(entries), dtype=bool)
    opens_bucket[1:] = entries[1:] >> _HALF != entries[:-1] >> _HALF
    return entries[places - np.maximum.accumulate(np.where(opens_bucket, places, 0)) < _BUCKET_SIZE]


def _matches(table: _Keys, hashes: _Hashes) -> _Keys:
    """Return rank << 32 | place for each entry of one band's table that has the hash of the text at that place."""
    asked = _entries(hashes)  # sorted, so that the search stays near where it was
    first = np.searchsorted(table, asked & ~_LOW_HALF)
    found = table.take(first, mode="clip") >> _HALF == asked >> _HALF
    asked, first = asked[found], first[found]
    counts = np.searchsorted(table, asked | _LOW_HALF, side="right") - first
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    pairs: _Keys = table[np.repeat(first, counts) + within] << _HALF | np.repeat(asked & _LOW_HALF, counts)
    return pairs


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut texts into lists of about `_BATCH_CHARACTERS`; a short text counts as long as its signature is."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += max(len(text), _PERMUTATIONS)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _shingles(texts: Sequence[str]) -> tuple[_Keys, _Places]:
    """Return the shingles of all texts as 64-bit numbers, with repeats, and (texts + 1,) where each text's start."""
    encoded = [text.encode("utf-16-le", "surrogatepass").ljust(2 * _UNITS, b"\0") for text in texts]
    ends = np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) // 2)
    units = np.frombuffer(b"".join(encoded), dtype="<u2").astype(np.uint64)
    keys = units[:-3] | units[1:-2] << np.uint64(16) | units[2:-1] << np.uint64(32) | units[3:] << np.uint64(48)
    inside = np.ones(len(units), dtype=bool)
    for overlap in range(1, _UNITS):  # a run that begins here would reach into the next text
        inside[ends - overlap] = False
    starts = np.concatenate(([0], ends - (_UNITS - 1) * np.arange(1, len(texts) + 1)))
    return keys[inside[: len(keys)]], starts


def _shingle_set(keys: _Keys, starts: _Places, place: int) -> frozenset[int]:
    return frozenset(keys[starts[place] : starts[place + 1]].tolist())


def _shingle_sets(texts: Iterable[str]) -> Iterator[frozenset[int]]:
    for batch in _batches(texts):
        keys, starts = _shingles(batch)
        yield from (_shingle_set(keys, starts, place) for place in range(len(batch)))


@cache
def _permutations() -> tuple[list[np.uint32], list[np.uint32]]:
    """Return a and b of datasketch's permutations a * h + b mod 2^32."""
    from datasketch import MinHash  # type: ignore[import-untyped]

    multipliers, offsets = MinHash(num_perm=_PERMUTATIONS, seed=1, scheme="affine32").permutations
    return list(multipliers), list(offsets)


def _shingle_hashes(keys: _Keys) -> _Hashes:
    """Return 32 bits a shingle by multiplicative hashing: what datasketch calls the hash function of its input."""
    return (keys * _MULTIPLIER >> _HALF).astype(np.uint32)


def _signatures(hashes: _Hashes, starts: _Places, count: int) -> _Hashes:
    """Return (count, texts): the first `count` hash values of each text's `datasketch.MinHash` over `hashes`."""
    # The finaliser of MurmurHash3 first, then the permutations, as "affine32" is defined.
    mixed = (hashes ^ hashes >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    mixed = (mixed ^ mixed >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    signatures = np.empty((count, len(starts) - 1), dtype=np.uint32)
    permuted = np.empty_like(mixed)
    for signature, multiplier, offset in zip(signatures, *_permutations(), strict=False):
        np.multiply(mixed, multiplier, out=permuted)
        np.add(permuted, offset, out=permuted)
        np.minimum.reduceat(permuted, starts[:-1], out=signature)
    return signatures


def _band_hashes(keys: _Keys, starts: _Places, bands: int, hashes: int) -> _Hashes:
    """Return (bands, texts): 32 bits for each band of `hashes` MinHash values."""
    signatures = _signatures(_shingle_hashes(keys), starts, bands * hashes).reshape(bands, hashes, -1)
    folded = np.zeros(signatures[:, 0].shape, dtype=np.uint64)
    for position in range(hashes):
        folded = (folded ^ signatures[:, position]) * _MULTIPLIER
        folded ^= folded >> _HALF
    return (folded * _MULTIPLIER >> _HALF).astype(np.uint32)
