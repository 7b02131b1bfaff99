import datetime as dt
import decimal
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import ParquetChunk
from tunelane_components.etl.sources.find import find_sources
from tunelane_components.etl.sources.reading import SourceReader, rows_of

Written = Callable[..., Path]
Read = Callable[..., Any]


def table(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_row_groups_are_chunks_and_rows_are_numbered_through_the_file(tmp_path: Path, read: Read) -> None:
    path = table(tmp_path / "a.parquet", {"text": [f"t{n}" for n in range(25)], "n": range(25)}, row_group_size=10)
    rows, facts = read(path)
    assert rows == [Row(number + 1, {"text": f"t{number}", "n": number}) for number in range(25)]
    assert (facts.columns, facts.format, facts.encoding) == (("text", "n"), "parquet", "")
    assert facts.size_bytes == path.stat().st_size
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    [source] = find_sources(str(path)).files
    with SourceReader(source, file=3) as reader:
        assert reader.columns == ("text", "n")
        assert list(reader.chunks()) == [
            ParquetChunk(3, str(path), 0, 1),
            ParquetChunk(3, str(path), 1, 11),
            ParquetChunk(3, str(path), 2, 21),
        ]
        assert reader.read_bytes == source.size_bytes


def test_more_rows_than_a_batch_keep_their_numbers(tmp_path: Path, read: Read) -> None:
    rows, _ = read(table(tmp_path / "a.parquet", {"n": range(20_000)}))
    assert rows == [Row(number + 1, {"n": number}) for number in range(20_000)]


DAY = dt.date(2024, 2, 29)
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)  # noqa: DTZ001  a plain timestamp has no time zone
WORD = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["a", None, "é"], pa.string(), ["a", None, "é"]),
        (["a"], pa.large_string(), ["a"]),
        (["a"], pa.string_view(), ["a"]),
        (["a", "b", None], pa.dictionary(pa.int8(), pa.string()), ["a", "b", None]),
        ([["a"], ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a"], ["b"]]),
        ([1, None], pa.int8(), [1, None]),
        ([2**64 - 1], pa.uint64(), [2**64 - 1]),
        ([1.5], pa.float16(), [1.5]),
        ([True, None], pa.bool_(), [True, None]),
        ([None], pa.null(), [None]),
        ([MOMENT], pa.timestamp("us"), ["2024-02-29T12:30:15.123456"]),
        ([1], pa.timestamp("ns"), ["1970-01-01T00:00:00.000000001"]),
        ([0], pa.timestamp("ms", "Europe/Paris"), ["1970-01-01T00:00:00.000Z"]),
        ([0], pa.timestamp("ms", "Nowhere/At_All"), ["1970-01-01T00:00:00.000Z"]),
        ([DAY], pa.date32(), ["2024-02-29"]),
        ([dt.time(1, 2, 3)], pa.time32("ms"), ["01:02:03.000"]),
        ([dt.timedelta(seconds=2)], pa.duration("ms"), [2000]),
        ([decimal.Decimal("1.50")], pa.decimal128(10, 2), ["1.50"]),
        ([b"caf\xc3\xa9"], pa.binary(), ["café"]),
        ([WORD.bytes], pa.uuid(), [str(WORD)]),
        ([["a", None], []], pa.list_(pa.string()), [["a", None], []]),
        ([[1, 2]], pa.list_(pa.int32(), 2), [[1, 2]]),
        ([[1]], pa.list_view(pa.int32()), [[1]]),
        ([[MOMENT]], pa.large_list(pa.timestamp("us")), [["2024-02-29T12:30:15.123456"]]),
        ([{"a": 1, "b": {"c": b"x"}}, None], None, [{"a": 1, "b": {"c": "x"}}, None]),
        ([[("k", MOMENT), ("l", None)]], pa.map_(pa.string(), pa.timestamp("us")), None),
        ([{"d": DAY, "e": [decimal.Decimal("0.1")]}], None, [{"d": "2024-02-29", "e": ["0.1"]}]),
    ],
)
def test_every_type_reads_as_plain_values(
    tmp_path: Path, read: Read, values: list[Any], kind: pa.DataType | None, expected: list[Any] | None
) -> None:
    if expected is None:
        expected = [[["k", "2024-02-29T12:30:15.123456"], ["l", None]]]
    rows, _ = read(table(tmp_path / "a.parquet", {"x": pa.array(values, kind)}))
    assert [row.values["x"] for row in rows] == expected
    assert [type(row.values["x"]) for row in rows] == [type(value) for value in expected]


def test_a_day_past_all_calendars_is_no_crash(tmp_path: Path, read: Read) -> None:
    rows, _ = read(table(tmp_path / "a.parquet", {"x": pa.array([2**31 - 1, 0], pa.int32()).cast(pa.date32())}))
    assert [type(row.values["x"]) for row in rows] == [str, str]


def test_bytes_that_are_no_utf_8_take_only_their_rows(tmp_path: Path, read: Read) -> None:
    binary = pa.array([b"fine", b"caf\xe9", None])
    # Arrow does not check the texts that it is given.
    text = pa.array([b"\xff", b"fine", b"fine"]).view(pa.binary())
    text = pa.StringArray.from_buffers(3, *text.buffers()[1:])
    nested = pa.array([["a"], ["b"], ["c"]])
    rows, _ = read(table(tmp_path / "a.parquet", {"binary": binary, "text": text, "nested": nested}))
    assert rows == [
        MalformedRow(
            1, "bad_encoding", "byte 0xff is not UTF-8", '{"binary": "fine", "text": "\\xff", "nested": ["a"]}'
        ),
        MalformedRow(
            2, "bad_encoding", "byte 0xe9 is not UTF-8", '{"binary": "caf\\xe9", "text": "fine", "nested": ["b"]}'
        ),
        Row(3, {"binary": None, "text": "fine", "nested": ["c"]}),
    ]


def test_two_columns_of_one_name_stop(tmp_path: Path, read: Read, message_of: Any) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]), tmp_path / "a.parquet")
    with message_of() as message:
        read(tmp_path / "a.parquet")
    assert message == ["a.parquet: column 'x' stands twice. Rename one."]


def test_a_file_without_rows_or_columns_says_so(tmp_path: Path, read: Read, message_of: Any) -> None:
    path = table(tmp_path / "a.parquet", {"x": pa.array([], pa.string())})
    with message_of() as message:
        read(path)
    assert message == ["a.parquet has no rows. Pass a file with labelled rows."]
    assert read(path, allow_empty=True)[0] == []
    with message_of() as message:
        read(table(path, {}))
    assert message == ["a.parquet has no columns. Pass a file with labelled rows."]


def test_what_is_no_parquet_or_cut_off_stops(tmp_path: Path, written: Written, read: Read, message_of: Any) -> None:
    content = table(tmp_path / "a.parquet", {"x": ["one"] * 100}).read_bytes()
    for broken in (b"", b"PAR1", b"text,label\n" * 10, content[:-1], content[: len(content) // 2], content[10:]):
        with message_of() as message:
            read(written("b.parquet", broken))
        assert "b.parquet cannot be read as Parquet: " in message[0]


def test_a_broken_row_group_stops_where_it_is_read(tmp_path: Path, read: Read, message_of: Any) -> None:
    path = table(tmp_path / "a.parquet", {"x": [f"text {n}" for n in range(1000)]}, compression="zstd")
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(content)
    with message_of() as message:
        read(path)
    assert message[0].startswith(f"{path} cannot be read as Parquet: ")


def test_remote_row_groups_are_read_by_column(remote: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    content = table(tmp_path / "a.parquet", {"x": ["one", "two"]}).read_bytes()
    remote.pipe_file("/bucket/a.parquet", content)
    [source] = find_sources("memory://bucket/a.parquet").files
    with SourceReader(source) as reader:
        assert [row for chunk in reader.chunks() for row in rows_of(chunk)] == [
            Row(1, {"x": "one"}),
            Row(2, {"x": "two"}),
        ]
        assert reader.facts.sha256 == hashlib.sha256(content).hexdigest()
