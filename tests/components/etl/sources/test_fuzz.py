"""Whatever bytes a file holds, reading gives rows, malformed rows or an InputError of one line, and nothing else."""

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_serving.errors import InputError

Read = Callable[..., Any]

bounded = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def _parquet() -> bytes:
    stream = io.BytesIO()
    columns = {
        "text": ["one", "two", None],
        "labels": [["a"], [], ["b", "c"]],
        "when": pa.array([0, 1, 2], pa.date32()),
    }
    pq.write_table(pa.table(columns), stream, row_group_size=2)
    return stream.getvalue()


ITEMS = [{"text": 'a "quote", é', "labels": ["x", "y"], "meta": {"n": [1, {}]}}, {"text": "two\nlines \\ ]"}]
SEEDS = {
    "a.csv": b'text,label\n"one, ""two""\nlines",x\nthree,y\r\n\r\n\xc3\xa9;,z\n',
    "a.tsv": b"text\tlabel\none\tx\n",
    "a.jsonl": "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS).encode(),
    "a.json": json.dumps(ITEMS, ensure_ascii=False, indent=1).encode(),
    "a.parquet": _parquet(),
}
SEEDS |= {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in SEEDS.items() if name != "a.parquet"}
SEEDS |= {
    f"{name}.zst": zstandard.ZstdCompressor(write_checksum=True).compress(content)
    for name, content in SEEDS.items()
    if name in ("a.csv", "a.json")
}
ENCODINGS = ("utf-8", "cp1252", "utf-16", "utf-32-le", "gb18030", "utf-7", "idna", "unicode_escape", "shift_jis")


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """`seed` with a few bytes changed, taken out, put in or cut off."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        change = draw(st.sampled_from(["flip", "remove", "insert", "repeat", "cut"]))
        if change == "flip" and content:
            content[place] ^= draw(st.integers(1, 255))
        elif change == "remove":
            del content[place : place + draw(st.integers(1, 8))]
        elif change == "insert":
            content[place:place] = draw(st.binary(max_size=8) | st.sampled_from([b'"', b"[", b"}", b",", b"\\", b"\r"]))
        elif change == "repeat":
            content[place:place] = content[place : place + 20]
        else:
            del content[place:]
    return bytes(content)


def reads_or_stops(read: Read, name: str, content: bytes, **options: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            rows, facts = read(path, **options)
        except InputError as error:
            assert str(error).isprintable() or "\n" not in str(error)
            return
    assert facts.size_bytes == len(content)
    for row in rows:
        if isinstance(row, Row):
            json.dumps(row.values, ensure_ascii=False).encode()
        else:
            assert isinstance(row, MalformedRow)
            assert row.reason in ("malformed_row", "bad_encoding")
            row.content.encode()


@bounded
@given(
    name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json", "a.csv.gz", "a.json.zst", "a.parquet"]),
    content=st.binary(max_size=300),
    encoding=st.sampled_from(ENCODINGS),
    chunk_bytes=st.integers(1, 100),
)
def test_any_bytes_are_read_or_refused(read: Read, name: str, content: bytes, encoding: str, chunk_bytes: int) -> None:
    reads_or_stops(read, name, content, encoding=encoding, chunk_bytes=chunk_bytes)


@bounded
@given(
    name=st.sampled_from(["a.csv", "a.jsonl", "a.json"]),
    parts=st.lists(
        st.sampled_from(
            [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\r", b'"text"', b"1", b"\xe9", b" "]
        ),
        max_size=40,
    ),
    chunk_bytes=st.integers(1, 20),
)
def test_any_marks_in_any_order_are_read_or_refused(
    read: Read, name: str, parts: list[bytes], chunk_bytes: int
) -> None:
    head = {"a.csv": b"text,label\n", "a.json": b"[", "a.jsonl": b""}[name]
    reads_or_stops(read, name, head + b"".join(parts), chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("name", SEEDS)
@bounded
@given(data=st.data(), chunk_bytes=st.integers(1, 100))
def test_valid_files_with_a_few_bytes_changed_are_read_or_refused(
    read: Read, name: str, data: st.DataObject, chunk_bytes: int
) -> None:
    reads_or_stops(read, name, data.draw(mutated(SEEDS[name])), chunk_bytes=chunk_bytes)
