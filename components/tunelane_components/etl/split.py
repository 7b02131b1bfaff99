"""Which split a text belongs to, and which texts a smaller dataset keeps: by hash, so that neither ever moves."""

import math
from hashlib import sha256
from typing import Literal

from tunelane_components.etl.record import text_digest
from tunelane_serving.errors import InputError

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
    test_below, valid_from = bounds_of_splits(valid_fraction, test_fraction)
    raw = bytes.fromhex(digest)
    return "test" if raw < test_below else "valid" if raw >= valid_from else "train"


def bounds_of_splits(
    valid_fraction: float, test_fraction: float, *, is_test_given: bool = False
) -> tuple[bytes, bytes]:
    """Return the bounds of raw digests: below the first is test, from the second on is valid, between them is train.

    Where the test rows were given, none of the others becomes one.
    """
    test = 0 if is_test_given else math.ceil(test_fraction * 2**_HASH_BITS)
    valid = math.ceil((1 - valid_fraction) * 2**_HASH_BITS)
    return test.to_bytes(_HASH_BITS // 8), valid.to_bytes(_HASH_BITS // 8)


def rows_order(digest: bytes) -> bytes:
    """Return the place of a text (its raw digest) in the order in which a smaller dataset keeps texts.

    It is a second hash, independent of the one that splits, so every split shrinks alike and a smaller cut is part of a
    larger one.
    """
    return sha256(f"rows:{digest.hex()}".encode()).digest()
