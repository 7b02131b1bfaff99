"""Whether two datasets hold the same records in the same splits and the same order."""

import json
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Comparison:
    """What comparing two datasets row by row gave.

    Attributes:
        rows: pairs compared that are equal.
        is_same: every row has its equal in the same place of the same split.
        same_bytes: rows that are equal byte for byte; the others are equal once decoded (JSON may escape a slash).
        first_difference: where the first two rows differ, and what they are; empty where none do.
    """

    rows: int
    is_same: bool
    same_bytes: int
    first_difference: str = ""


def compare(ours: Path, theirs: Path) -> Comparison:
    """Compare the splits of two directories row by row; stops at the first difference."""
    rows = same_bytes = 0
    for split in SPLITS:
        name = f"{split}.jsonl"
        with (ours / name).open("rb") as left, (theirs / name).open("rb") as right:
            for number, (one, other) in enumerate(zip_longest(left, right), start=1):
                if one == other:
                    same_bytes += 1
                elif one is None or other is None or json.loads(one) != json.loads(other):
                    shown = " | ".join("nothing" if line is None else line.decode().strip() for line in (one, other))
                    return Comparison(rows, False, same_bytes, f"{name}:{number}: {shown}")
                rows += 1
    return Comparison(rows, True, same_bytes)
