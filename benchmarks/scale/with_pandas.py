"""What a user would write with pandas: reviews as CSV to checked, deduplicated, split JSONL.

python benchmarks/scale/with_pandas.py REVIEWS.csv OUTPUT

The last line of its output is JSON: the counts, and the seconds of each step.
"""

import json
import sys
import time
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

TEST_FRACTION = VALID_FRACTION = 0.1
PART_ROWS = 100_000


def build(data: Path, output: Path) -> dict[str, int | dict[str, float]]:
    """Write the splits and rejected.jsonl into `output`; return counts, and seconds by step."""
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def done(step: str) -> None:
        nonlocal clock
        seconds[step] = round(time.perf_counter() - clock, 3)
        clock = time.perf_counter()

    output.mkdir(parents=True, exist_ok=True)
    # Rows with too many fields are skipped with a warning each, which is the one way to count them; what a row with
    # too few fields lacks is read as empty.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        rows = pd.read_csv(data, dtype="str", na_filter=False, on_bad_lines="warn")
    too_many_fields = sum(str(warning.message).count("Skipping line") for warning in caught)
    done("read")

    for column in rows.columns:
        rows[column] = rows[column].str.strip()
    # `.str.replace(r"\s+", " ", regex=True)` takes twice as long as splitting and joining.
    same = rows["text"].str.normalize("NFKC").str.lower()
    digests = [sha256(" ".join(text.split()).encode()).digest() for text in same]
    places = np.frombuffer(b"".join(digests), dtype=">u8")[::4] / 2.0**64
    rows["split"] = np.select([places < TEST_FRACTION, places >= 1 - VALID_FRACTION], ["test", "valid"], "train")
    rows["digest"] = [digest.hex() for digest in digests]
    done("normalise and hash")

    is_bad = (rows["text"] == "") | (rows["label"] == "")
    bad, rows = rows[is_bad], rows[~is_bad]
    is_conflict = rows.groupby("digest", sort=False)["label"].transform("nunique") > 1
    conflicting, rows = rows[is_conflict], rows[~is_conflict]
    done("validate")

    # Of several rows the first has the smallest id.
    kept = rows.drop_duplicates("digest").sort_values("digest")
    done("dedupe and sort")

    rejected = pd.concat([bad.assign(reason="empty"), conflicting.assign(reason="conflicting_labels")])
    rejected.drop(columns=["split", "digest"]).to_json(
        output / "rejected.jsonl", orient="records", lines=True, force_ascii=False
    )
    for split in ("train", "valid", "test"):
        part = kept[kept["split"] == split]
        records = pd.DataFrame(
            {
                "id": part["id"],
                "text": part["text"],
                "labels": [[label] for label in part["label"]],
                "meta": [{"source": source} for source in part["source"]],
            }
        )
        # In parts: written as one, the text of them all grows in memory and takes three times as long.
        with (output / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
            for start in range(0, len(records), PART_ROWS):
                records.iloc[start : start + PART_ROWS].to_json(stream, orient="records", lines=True, force_ascii=False)
    done("write")
    return {
        "rows_read": len(bad) + len(conflicting) + len(rows) + too_many_fields,
        "rows_kept": len(kept),
        "rows_merged": len(rows) - len(kept),
        "rows_quarantined": len(bad) + len(conflicting) + too_many_fields,
        "seconds": seconds,
    }


if __name__ == "__main__":
    print(json.dumps(build(Path(sys.argv[1]), Path(sys.argv[2]))))
