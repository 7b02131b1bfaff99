"""What a user would write with Hugging Face `datasets`: reviews as CSV to checked, deduplicated, split JSONL.

python benchmarks/scale/with_datasets.py REVIEWS.csv OUTPUT [--random-splits]

With --random-splits as its guides show it, by `filter` and `train_test_split`: the same rows, but drawn into other
splits, unsorted, and drawn anew when rows are added. Without, it gives what Tunelane gives, in the fastest way found.

Its cache goes beside OUTPUT. The last line of its output is JSON: the counts, and the seconds of each step.
"""

import json
import os
import sys
import time
import unicodedata
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
import pandas as pd

TEST_FRACTION = VALID_FRACTION = 0.1
PROCESSES = 2
BATCH_ROWS = 10_000
COLUMNS = ("id", "text", "label", "source")
SPLITS = ("train", "valid", "test")

Batch = dict[str, list[Any]]


def prepare(batch: Batch) -> Batch:
    """Strip and hash a batch; give the records' columns beside what they are judged by."""
    texts, labels = [text.strip() for text in batch["text"]], [label.strip() for label in batch["label"]]
    same = (" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts)
    return {
        "id": [row_id.strip() for row_id in batch["id"]],
        "text": texts,
        "labels": [[label] for label in labels],
        "meta": [{"source": source.strip()} for source in batch["source"]],
        "label": labels,
        "digest": [sha256(text.encode()).digest() for text in same],
    }


def split_of(digest: bytes) -> str:
    """Give the split of a text by the place of its digest."""
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if place < TEST_FRACTION else "valid" if place >= 1 - VALID_FRACTION else "train"


def conflicting_digests(rows: datasets.Dataset) -> set[bytes]:
    """Give the digests of the texts that stand under several labels. The library has nothing for this: one pass."""
    label_by_digest: dict[bytes, str] = {}
    conflicts = set()
    for batch in rows.select_columns(["digest", "label"]).iter(BATCH_ROWS):
        for digest, label in zip(batch["digest"], batch["label"], strict=True):
            if label and label_by_digest.setdefault(digest, label) != label:
                conflicts.add(digest)
    return conflicts


def marker(conflicts: set[bytes]) -> Callable[[Batch], Batch]:
    """Give a function that says what becomes of each row: its split, or why it is in none.

    Of the rows with one text the first is kept, which has the smallest id.
    """
    seen: set[bytes] = set()

    def mark(batch: Batch) -> Batch:
        marks = []
        for text, label, digest in zip(batch["text"], batch["label"], batch["digest"], strict=True):
            if not text or not label:
                marks.append("empty")
            elif digest in conflicts:
                marks.append("conflicting_labels")
            elif digest in seen:
                marks.append("merged")
            else:
                seen.add(digest)
                marks.append(split_of(digest))
        return {"mark": marks}

    return mark


class Clock:
    """The seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started_s = time.perf_counter()

    def done(self, step: str) -> None:
        now_s = time.perf_counter()
        self.seconds[step] = round(now_s - self._started_s, 3)
        self._started_s = now_s


def read(data: Path, cache: Path) -> tuple[datasets.Dataset, int]:
    """Read the rows, and count those with too many fields.

    The library's CSV reader is pandas': such rows are skipped with a warning each, which is the one way to count them;
    what a row with too few fields lacks is read as empty.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        rows = datasets.load_dataset(
            "csv",
            data_files=str(data),
            split="train",
            cache_dir=str(cache),
            features=datasets.Features({column: datasets.Value("string") for column in COLUMNS}),
            na_filter=False,
            on_bad_lines="warn",
        )
    return rows, sum(str(warning.message).count("Skipping line") for warning in caught)


def write(rows: datasets.Dataset, path: Path) -> None:
    """Write the records among the columns as JSONL."""
    records = rows.select_columns(["id", "text", "labels", "meta"])
    records.to_json(path, batch_size=BATCH_ROWS, num_proc=PROCESSES, force_ascii=False)


def build(data: Path, output: Path) -> dict[str, int | dict[str, float]]:
    """Write splits by hash, sorted by digest, and a file of each kind of rejected rows; return counts and seconds."""
    clock = Clock()
    rows, too_many_fields = read(data, output.parent / "cache")
    clock.done("read")
    rows = rows.map(prepare, batched=True, batch_size=BATCH_ROWS, num_proc=PROCESSES, remove_columns=["source"])
    clock.done("map")
    # In one process, as what becomes of a row depends on all others. A map rather than filters: a filter leaves a
    # list of indices, and every later step, the sort first, then fetches whole rows one by one.
    rows = rows.map(marker(conflicting_digests(rows)), batched=True, batch_size=BATCH_ROWS, remove_columns=["label"])
    clock.done("validate and dedupe")
    rows = rows.sort(["mark", "digest"])
    clock.done("sort")
    # The rows of one mark stand together now.
    counts = rows.data.column("mark").to_pandas().value_counts()
    start = 0
    for mark in sorted(counts.index):
        if mark != "merged":
            write(rows.select(range(start, start + counts[mark])), output / f"{mark}.jsonl")
        start += counts[mark]
    clock.done("write")
    kept, merged = int(sum(counts.get(split, 0) for split in SPLITS)), int(counts.get("merged", 0))
    return {
        "rows_read": len(rows) + too_many_fields,
        "rows_kept": kept,
        "rows_merged": merged,
        "rows_quarantined": len(rows) - kept - merged + too_many_fields,
        "seconds": clock.seconds,
    }


def build_with_random_splits(data: Path, output: Path) -> dict[str, int | dict[str, float]]:
    """Write random splits of the same rows, and the rejected rows; return counts and seconds."""
    clock = Clock()
    rows, too_many_fields = read(data, output.parent / "cache")
    clock.done("read")
    rows = rows.map(prepare, batched=True, batch_size=BATCH_ROWS, num_proc=PROCESSES, remove_columns=["source"])
    clock.done("map")
    mark = marker(conflicting_digests(rows))
    rows = rows.map(mark, batched=True, batch_size=BATCH_ROWS, remove_columns=["label", "digest"])
    clock.done("validate and dedupe")

    def filtered(marks: tuple[str, ...]) -> datasets.Dataset:
        return rows.filter(
            lambda batch: [each in marks for each in batch],
            input_columns=["mark"],
            batched=True,
            batch_size=BATCH_ROWS,
            num_proc=PROCESSES,
        )

    kept, rejected = filtered(SPLITS), filtered(("empty", "conflicting_labels"))
    clock.done("filter")
    held_out = TEST_FRACTION + VALID_FRACTION
    outer = kept.train_test_split(test_size=held_out, seed=0)
    inner = outer["test"].train_test_split(test_size=TEST_FRACTION / held_out, seed=0)
    clock.done("train_test_split")
    parts = {"train": outer["train"], "valid": inner["train"], "test": inner["test"], "rejected": rejected}
    for name, part in parts.items():
        write(part, output / f"{name}.jsonl")
    clock.done("write")
    return {
        "rows_read": len(rows) + too_many_fields,
        "rows_kept": len(kept),
        "rows_merged": len(rows) - len(kept) - len(rejected),
        "rows_quarantined": len(rejected) + too_many_fields,
        "seconds": clock.seconds,
    }


def main() -> None:
    data, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    built = build_with_random_splits if "--random-splits" in sys.argv else build
    print(json.dumps(built(data, output)))


if __name__ == "__main__":
    main()
