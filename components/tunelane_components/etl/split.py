"""Which split a text belongs to, and which texts a smaller dataset keeps: by hash, so that neither ever moves."""

from collections.abc import Iterable
from typing import Literal

from tunelane_components.etl.record import text_digest
from tunelane_serving.errors import InputError
from tunelane_serving.files import sha256_bytes

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

_HASH_BITS = 64


def check_fractions(valid_fraction: float, test_fraction: float) -> None:
    """Raise InputError unless both held-out fractions are above 0 and something is left to train on."""
    if not (valid_fraction > 0 and test_fraction > 0 and valid_fraction + test_fraction < 1):
        raise InputError(
            f"valid_fraction={valid_fraction} and test_fraction={test_fraction}: both above 0 and their sum below 1."
        )


def split_of(text: str, valid_fraction: float, test_fraction: float) -> Split:
    """Return the split of a text: a function of the normalised text and the fractions alone."""
    return split_of_digest(text_digest(text), valid_fraction, test_fraction)


def split_of_digest(digest: str, valid_fraction: float, test_fraction: float) -> Split:
    """Return the split of a text by its `text_digest`.

    The digest's first 64 bits give a place in [0, 1). Test is taken from the low end and valid from the high end, so a
    change of one fraction moves rows between that split and train, and never between test and valid.
    """
    place = int(digest[: _HASH_BITS // 4], 16) / 2**_HASH_BITS
    if place < test_fraction:
        return "test"
    return "valid" if place >= 1 - valid_fraction else "train"


def keep_rows(digests: Iterable[str], rows: int) -> set[str]:
    """Choose the `rows` of the distinct `digests` that a smaller dataset keeps; all where there are no more.

    Kept are the first by a second hash, independent of the one that splits, so every split shrinks alike and a smaller
    cut is part of a larger one.
    """
    return set(sorted(digests, key=lambda digest: sha256_bytes(f"rows:{digest}".encode()))[:rows])
