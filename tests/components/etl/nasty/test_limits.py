"""Memory stays bounded, whatever stands in a file: one line of 50 MB, one that never ends, and 200 MB of rows."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tunelane_components.etl.dataset import read_split, read_summary
from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_components.etl.split import SPLITS
from tunelane_serving.contract import read_lines

MEGABYTE = 10**6
# Builds, and says how much memory it and the largest of its workers had at most. A process's own figure is read from
# /proc: that of getrusage begins with what the process had that started it.
BUILD = """
import json, resource, sys
from pathlib import Path
from tunelane_components.etl.build import build_dataset
from tunelane_serving.errors import InputError
data, output, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
try:
    build_dataset(data, output, **options)
    said = ""
except InputError as error:
    said = str(error)
own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([said, int(own.split()[1]) / 1000, workers / 1000]))
"""
OPTIONS = {"minimum_rows": 0, "max_rejected_fraction": 1.0, "near_duplicate_threshold": 0.0, "workers": 1}
OTHER_ROWS = [{"text": "two", "label": "x"}, {"text": "three", "label": "y"}]


class Built(NamedTuple):
    """What a build in a process of its own gave, and the most memory that it and one of its workers held."""

    error: str
    peak_mb: float
    worker_mb: float


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Built]:
    """Build in a process of its own into tmp_path / "dataset"."""

    def build(data: Path, **options: Any) -> Built:
        arguments = [str(data), str(tmp_path / "dataset"), json.dumps(OPTIONS | options)]
        finished = subprocess.run(
            [sys.executable, "-c", BUILD, *arguments], capture_output=True, check=False, encoding="utf-8"
        )
        assert finished.returncode == 0, finished.stderr
        return Built(*json.loads(finished.stdout))

    return build


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], dict[str, str]]:
    """Give texts and labels of what was built."""

    def kept() -> dict[str, str]:
        output = tmp_path / "dataset"
        return {record.text: record.labels[0] for split in SPLITS for record in read_split(output, split)}

    return kept


@pytest.fixture
def quarantined(tmp_path: Path) -> Callable[[], list[QuarantinedRow]]:
    """Give the quarantine of what was built."""
    return lambda: list(read_lines(tmp_path / "dataset" / "quarantine.jsonl", QuarantinedRow))


def long_text() -> str:
    """50 MB of words, with quotes and line breaks among them."""
    return ('A sentence, with a comma, "a quote"\nand a line break. ' * MEGABYTE)[: 50 * MEGABYTE - 1] + "."


def written(path: Path, text: str) -> Path:
    """Write the long text and the other rows in the form that the file's name says; the long one is the second row."""
    rows = [OTHER_ROWS[0], {"text": text, "label": "y"}, OTHER_ROWS[1]]
    if path.suffix == ".csv":
        quoted = (f'"{row["text"].replace(chr(34), chr(34) * 2)}",{row["label"]}\n' for row in rows)
        path.write_text("text,label\n" + "".join(quoted))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize(("name", "line"), [("a.jsonl", 2), ("a.csv", 3), ("a.json", 1)])
def test_a_row_of_50_megabytes_goes_to_quarantine_whole(
    name: str,
    line: int,
    tmp_path: Path,
    build: Callable[..., Built],
    kept: Callable[[], dict[str, str]],
    quarantined: Callable[[], list[QuarantinedRow]],
) -> None:
    text = long_text()
    built = build(written(tmp_path / name, text))
    assert built.error == ""
    assert kept() == {"two": "x", "three": "y"}
    [row] = quarantined()
    assert (row.file, row.line, row.reason) == (name, line, "too_long")
    assert row.row == {"text": text, "label": "y"}
    assert built.peak_mb < 700


def test_a_text_of_50_megabytes_is_kept_where_any_length_may_be(
    tmp_path: Path, build: Callable[..., Built], kept: Callable[[], dict[str, str]]
) -> None:
    text = long_text()
    built = build(written(tmp_path / "a.csv", text), max_characters=0)
    assert built.error == ""
    assert kept() == {"two": "x", "three": "y", text: "y"}
    assert built.peak_mb < 1300


def test_an_array_of_50_megabytes_on_one_line_is_read_item_by_item(
    tmp_path: Path,
    build: Callable[..., Built],
    quarantined: Callable[[], list[QuarantinedRow]],
) -> None:
    # Few and long rows: what is measured is the line, not the number of rows.
    rows = [{"text": f"{number} {'word ' * 10_000}end", "label": "xy"[number % 2]} for number in range(1_000)]
    (tmp_path / "a.json").write_text(json.dumps([*rows, {"text": "", "label": "x"}]))
    built = build(tmp_path / "a.json")
    assert built.error == ""
    summary = read_summary(tmp_path / "dataset")
    assert (summary.rows_read, summary.rows_kept) == (1_001, 1_000)
    assert [(row.line, row.reason) for row in quarantined()] == [(1, "empty_text")]
    assert built.peak_mb < 500


# Longer than any row may be: a quote that is never closed at the beginning, a field, an object, an array's element.
ENDLESS = [
    ("a.csv", b'text,label\none,x\n"', b"two,y\n", "a.csv:3"),
    ("a.csv", b"text,label\none,x\n", b"two and ", "a.csv:3"),
    ("a.jsonl", b'{"text":"one","label":"x"}\n{"text":"', b"two and ", "a.jsonl:2"),
    ("a.json", b'[{"text":"one","label":"x"},\n{"text":"', b"two and ", "a.json"),
    ("a.json", b'[{"text":"one","label":"x"},\n', b'{"a":["' + b"word " * 200 + b'"],"b":', "a.json"),
]


@pytest.mark.parametrize(("name", "beginning", "repeated", "place"), ENDLESS)
def test_a_row_that_never_ends_is_refused_before_it_fills_the_memory(
    name: str, beginning: bytes, repeated: bytes, place: str, tmp_path: Path, build: Callable[..., Built]
) -> None:
    # A gigabyte that takes little on the disk: nothing that looks at the size of the file can know.
    megabyte = gzip.compress(repeated * (MEGABYTE // len(repeated)))
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(beginning) + megabyte * 1_000)
    built = build(tmp_path / f"{name}.gz")
    assert place.replace(name, f"{name}.gz") in built.error
    assert "\n" not in built.error
    assert not (tmp_path / "dataset").exists()
    assert built.peak_mb < 500


def lines(megabytes: int) -> Iterator[bytes]:
    """Rows of about 100 bytes, a tenth of them with quotes and line breaks, one in a thousand without a label."""
    first = size_bytes = 0
    while size_bytes < megabytes * MEGABYTE:
        rows = []
        for number in range(first, first + 1_000):
            text = f"Ticket {number}: the café's parcel has not come; nobody answers; please call me back"
            rows.append(f'"{text}, ""today""\nor soon",late\r\n' if number % 10 == 0 else f"{text},open\n")
        rows[1] = f"Ticket {first + 1} has no label and waits for somebody who looks at it,\n"
        first += 1_000
        piece = "".join(rows).encode()
        size_bytes += len(piece)
        yield piece


def build_of_many_rows(megabytes: int, tmp_path: Path, build: Callable[..., Built]) -> Built:
    thousands = 0
    with (tmp_path / "a.csv").open("wb") as stream:
        stream.write(b"text,label\n")
        for piece in lines(megabytes):
            stream.write(piece)
            thousands += 1
    built = build(tmp_path / "a.csv", workers=2)
    assert built.error == ""
    summary = read_summary(tmp_path / "dataset")
    assert (summary.rows_read, summary.rows_kept) == (1_000 * thousands, 999 * thousands)
    assert summary.quarantined == {"missing_label": thousands}
    return built


def test_20_megabytes_of_rows_are_read_in_little_memory(tmp_path: Path, build: Callable[..., Built]) -> None:
    built = build_of_many_rows(20, tmp_path, build)
    assert built.peak_mb < 200
    assert built.worker_mb < 200


@pytest.mark.slow
def test_200_megabytes_of_rows_are_read_in_hardly_more(tmp_path: Path, build: Callable[..., Built]) -> None:
    built = build_of_many_rows(200, tmp_path, build)
    assert built.peak_mb < 250
    assert built.worker_mb < 250


def test_large_rows_of_one_parquet_row_group_are_read_a_few_at_a_time(
    tmp_path: Path, build: Callable[..., Built]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # As of images: bytes that are no text, in a column that nobody asked for.
    images = [os.urandom(MEGABYTE) for _ in range(60)]
    columns = {"text": [f"row {number}" for number in range(60)], "label": ["x", "y"] * 30, "image": images}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", compression="none", use_dictionary=False)
    built = build(tmp_path / "a.parquet")
    assert built.error == ""
    assert read_summary(tmp_path / "dataset").rows_kept == 60
    assert built.peak_mb < 700
