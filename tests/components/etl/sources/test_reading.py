import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import zstandard

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.sources.find import find_sources
from tunelane_components.etl.sources.reading import SourceReader, read_rows, rows_of
from tunelane_serving.errors import InputError

Written = Callable[..., Path]
Read = Callable[..., Any]

TABLE = b"text,label\n" + b"".join(b"text %d,x\n" % number for number in range(5000))


def compressed(content: bytes, ending: str, parts: int = 1) -> bytes:
    step = -(-len(content) // parts)
    pack = gzip.compress if ending == "gz" else zstandard.ZstdCompressor().compress
    return b"".join(pack(content[start : start + step]) for start in range(0, len(content), step))


def test_a_file_is_described_by_its_bytes_and_how_they_were_read(written: Written, read: Read) -> None:
    path = written("a.csv", b"\xef\xbb\xbftext;label\none;x\n")
    _, facts = read(path)
    assert facts == SourceFacts(
        name="a.csv",
        format="csv",
        size_bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        uri=str(path),
        encoding="utf-8-sig",
        delimiter=";",
        columns=("text", "label"),
    )
    _, facts = read(written("b.jsonl", '{"text":"one"}\n'))
    assert (facts.encoding, facts.delimiter, facts.columns) == ("utf-8", "", None)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(written: Written, read: Read, name: str) -> None:
    content = {"a.jsonl": '{"text":"café"}', "a.json": '[{"text":"café"}]'}.get(name, "text\ncafé\n")
    for chunk_bytes in (1, 2**20):
        [row], facts = read(written(name, b"\xef\xbb\xbf" + content.encode()), chunk_bytes=chunk_bytes)
        assert row.values == {"text": "café"}
        assert facts.encoding == "utf-8-sig"


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("parts", [1, 3])
def test_compressed_files_read_as_plain_ones_in_one_part_or_several(
    written: Written, read: Read, ending: str, parts: int
) -> None:
    plain, _ = read(written("a.csv", TABLE))
    content = compressed(TABLE, ending, parts)
    for chunk_bytes in (1000, 2**20):
        rows, facts = read(written(f"a.csv.{ending}", content), chunk_bytes=chunk_bytes)
        assert rows == plain
        assert (facts.compression, facts.size_bytes) == (ending, len(content))
        assert facts.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_compressed_file_that_is_cut_off_or_corrupt_stops(
    written: Written, read: Read, message_of: Any, ending: str
) -> None:
    content = compressed(TABLE, ending, 2)
    for length in (5, len(content) // 3, len(content) - 1):
        with message_of() as message:
            read(written(f"a.csv.{ending}", content[:length]))
        assert message == [f"a.csv.{ending} is cut off: its compressed data ends too early. Copy it again."]
    broken = content[: len(content) // 3] + b"\0\0\0\0" + content[len(content) // 3 + 4 :]
    for corrupt in (broken, TABLE, content + b"more"):
        with message_of() as message:
            read(written(f"a.csv.{ending}", corrupt))
        assert message[0].startswith(f"a.csv.{ending} is corrupt: it cannot be decompressed (")


def test_what_zlib_alone_wrote_is_no_gzip(written: Written, read: Read, message_of: Any) -> None:
    with message_of() as message:
        read(written("a.csv.gz", zlib.compress(TABLE)))
    assert message[0].startswith("a.csv.gz is corrupt")


def test_much_from_few_bytes_stays_within_bounds(written: Written, read: Read) -> None:
    content = b"text\n" + b"a\n" * 20_000_000
    path = written("a.csv.zst", compressed(content, "zst"))
    [source] = find_sources(str(path)).files
    with SourceReader(source) as reader:
        assert max(len(chunk.content) for chunk in reader.chunks()) < 32 * 2**20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\n".encode("utf-16"), "a.csv is UTF-16, not UTF-8. Pass --set encoding=utf-16."),
        ("text\n".encode("utf-32"), "a.csv is UTF-32, not UTF-8. Pass --set encoding=utf-32."),
        ("text\n".encode("utf-16-le"), "a.csv looks like UTF-16, not UTF-8. Pass --set encoding=utf-16-le."),
        ("text\n".encode("utf-16-be"), "a.csv looks like UTF-16, not UTF-8. Pass --set encoding=utf-16-be."),
        (gzip.compress(b"text\n", mtime=0), "a.csv is compressed by gzip. Name it with the ending .gz."),
        (compressed(b"text\n", "zst"), "a.csv is compressed by Zstandard. Name it with the ending .zst."),
        (b"PK\x03\x04more", "a.csv is a zip archive or a spreadsheet. Save it as CSV or unpack it."),
    ],
)
def test_what_is_no_utf_8_from_its_beginning_is_told_apart(
    written: Written, read: Read, message_of: Any, content: bytes, message: str
) -> None:
    with message_of() as caught:
        read(written("a.csv", content))
    assert caught == [message]


def test_an_unknown_encoding_or_one_that_does_not_fit_stops(written: Written, read: Read, message_of: Any) -> None:
    path = written("a.csv", "text\none\n")
    for encoding in ("utf-9", "hex", "rot13", "a\0b"):
        with message_of() as message:
            read(path, encoding=encoding)
        assert message == [
            f"Unknown encoding {encoding!r}. Pass one that Python knows: utf-8, utf-16, cp1252, latin-1, …"
        ]
    with message_of() as message:
        read(path, encoding="utf-16")
    assert message[0].startswith("a.csv cannot be read as utf-16: UTF-16 stream does not start with BOM")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\n"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_an_empty_file_stops_unless_it_is_one_of_several(
    written: Written, read: Read, message_of: Any, content: bytes, suffix: str
) -> None:
    path = written(f"a{suffix}", content)
    with message_of() as message:
        read(path)
    assert message == [f"a{suffix} is empty. Pass a file with labelled rows."]
    rows, facts = read(path, allow_empty=True)
    assert (rows, facts.size_bytes, facts.columns) == ([], len(content), None)
    with pytest.raises(InputError, match="is empty"):
        list(read_rows(path))


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n\n"), ("a.json", "[ ]")])
def test_a_file_without_rows_stops_unless_it_is_one_of_several(
    written: Written, read: Read, message_of: Any, name: str, content: str
) -> None:
    path = written(name, content)
    with message_of() as message:
        read(path)
    assert message == [f"{name} has no rows. Pass a file with labelled rows."]
    assert read(path, allow_empty=True)[0] == []
    assert list(read_rows(path)) == []


def test_chunks_say_their_file_and_reading_says_how_far_it_is(written: Written) -> None:
    path = written("a.csv", TABLE + b"more,x\n" * 50_000)
    [source] = find_sources(str(path)).files
    with SourceReader(source, file=7, chunk_bytes=70_000) as reader:
        assert reader.columns == ("text", "label")
        steps = [(chunk.file, reader.read_bytes) for chunk in reader.chunks()]
    assert {file for file, _ in steps} == {7}
    assert [read for _, read in steps] == sorted(read for _, read in steps)
    assert steps[0][1] < steps[-1][1] == path.stat().st_size


def test_facts_are_not_known_before_the_last_chunk(written: Written) -> None:
    [source] = find_sources(str(written("a.csv", TABLE))).files
    with SourceReader(source, chunk_bytes=1000) as reader:
        next(reader.chunks())
        with pytest.raises(RuntimeError, match="after the last chunk"):
            _ = reader.facts


def test_remote_files_are_read_as_streams(remote: fsspec.AbstractFileSystem) -> None:
    remote.pipe_file("/bucket/a.csv.gz", gzip.compress(TABLE, mtime=0))
    [source] = find_sources("memory://bucket/a.csv.gz").files
    with SourceReader(source) as reader:
        rows = [row for chunk in reader.chunks() for row in rows_of(chunk)]
        assert len(rows) == 5000
        assert reader.facts.sha256 == hashlib.sha256(gzip.compress(TABLE, mtime=0)).hexdigest()
        assert reader.facts.uri == "memory://bucket/a.csv.gz"


def test_a_remote_file_that_breaks_off_is_named(
    remote: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, message_of: Any
) -> None:
    def broken(_self: object, _size: int) -> bytes:
        raise ConnectionError("connection\nreset")

    remote.pipe_file("/bucket/a.csv", TABLE)
    [source] = find_sources("memory://bucket/a.csv").files
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", broken, raising=False)
    with message_of() as message:
        SourceReader(source)
    assert message == ["Cannot read memory://bucket/a.csv: connection reset."]


def test_a_file_that_went_away_is_named(written: Written, message_of: Any) -> None:
    path = written("a.csv", TABLE)
    [source] = find_sources(str(path)).files
    path.unlink()
    with message_of() as message:
        SourceReader(source)
    assert message[0].startswith(f"No such file or directory: {path}.")


def test_one_file_reads_row_by_row_without_a_build(tmp_path: Path, written: Written, message_of: Any) -> None:
    rows = list(read_rows(written("a.csv", b"text;label\none;x\nno\n")))
    assert rows == [
        Row(2, {"text": "one", "label": "x"}),
        MalformedRow(3, "malformed_row", "1 fields where the header has 2", "no"),
    ]
    endings = ".csv, .tsv, .json, .jsonl, .ndjson, .parquet (text also as .gz or .zst)"
    for path, expected in {
        written("a.xlsx", "PK"): f"a.xlsx: unknown kind of file. Pass one that ends in {endings}.",
        tmp_path / "no.csv": f"Cannot read {tmp_path / 'no.csv'}: No such file or directory.",
        tmp_path: f"{tmp_path.name} is a directory. Pass one file: {endings}.",
    }.items():
        with message_of() as message:
            list(read_rows(path))
        assert message == [expected]
