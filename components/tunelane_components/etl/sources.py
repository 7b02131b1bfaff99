"""Reading labelled text from CSV, TSV, JSON and JSONL files, row by row, with the line each row stands on."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tunelane_serving.errors import InputError

# The csv module refuses fields over 128 KiB unless told otherwise; a C long bounds what it can be told.
_FIELD_LIMIT_CHARACTERS = 2**31 - 1


@dataclass(frozen=True)
class Row:
    """One row: the line it starts on (from 1) and its values by column."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class MalformedRow:
    """A row that could not be read: the line it starts on, why, and what stands there."""

    line: int
    detail: str
    content: str


def read_rows(path: Path) -> Iterator[Row | MalformedRow]:
    """Yield the rows of a UTF-8 file (a byte order mark is fine) by its suffix: .csv, .tsv, .json, .jsonl or .ndjson.

    A CSV or TSV file has a header; a JSON file holds one array of objects. Blank lines are skipped. A row that cannot
    be read comes as a MalformedRow; a file that cannot be read stops.

    Raises:
        InputError: the file is missing, empty, not UTF-8, of an unknown kind, or broken as a whole.
    """
    reader = _READER_BY_SUFFIX.get(path.suffix.lower())
    if path.is_dir():
        raise InputError(f"{path.name} is a directory. Pass one file: {', '.join(_READER_BY_SUFFIX)}.")
    if reader is None:
        raise InputError(f"{path.name}: unknown kind of file. Pass one that ends in {', '.join(_READER_BY_SUFFIX)}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    text = _decoded(content, path.name)
    if not text.strip():
        raise InputError(f"{path.name} is empty. Pass a file with labelled rows.")
    return reader(text, path.name)


def _decoded(content: bytes, name: str) -> str:
    """`content` as text without its byte order mark."""
    body = content.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name} is not UTF-8: byte 0x{body[error.start]:02x} on line {line}. "
            f"Convert it: iconv -f ENCODING -t UTF-8 {name} > converted{Path(name).suffix}"
        ) from error


def _read_csv(text: str, name: str) -> Iterator[Row | MalformedRow]:
    return _read_delimited(text, name, ",")


def _read_tsv(text: str, name: str) -> Iterator[Row | MalformedRow]:
    return _read_delimited(text, name, "\t")


def _read_delimited(text: str, name: str, delimiter: str) -> Iterator[Row | MalformedRow]:
    """Rows of a delimited file with quotes as spreadsheets write them ("" inside quotes is one quote).

    Strict, because a lenient reader takes an unclosed quote for a field that holds the rest of the file.
    """
    csv.field_size_limit(_FIELD_LIMIT_CHARACTERS)
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        first_line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if str(error) == "unexpected end of data":
                raise InputError(
                    f"{name}:{first_line}: a quote is opened and never closed. Close or double it."
                ) from error
            if not header:
                raise InputError(f"{name}:{first_line}: the header cannot be read: {error}.") from error
            fault = str(error)
        else:
            if fields is None:
                return
            if not fields:
                continue
            if not header:
                header = _checked_header(fields, name)
                continue
            if len(fields) == len(header):
                yield Row(first_line, dict(zip(header, fields, strict=True)))
                continue
            fault = f"{len(fields)} fields where the header has {len(header)}"
        yield MalformedRow(first_line, fault, "".join(lines[first_line - 1 : reader.line_num]).rstrip("\r\n"))


def _checked_header(header: list[str], name: str) -> list[str]:
    """Return the header, unless it names two columns alike (unnamed columns hold an index or nothing)."""
    for position, column in enumerate(header):
        if column and column in header[:position]:
            raise InputError(f"{name}: the header names column {column!r} twice. Rename one.")
    return header


def _read_jsonl(text: str, name: str) -> Iterator[Row | MalformedRow]:  # noqa: ARG001  one signature for all readers
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield _object_row(line, content)


def _read_json(text: str, name: str) -> Iterator[Row | MalformedRow]:
    content = text.encode()
    try:
        items = msgspec.json.decode(content, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise InputError(
            f"{name}: not an array of objects. Write [{{…}}, …], or one object a line as .jsonl."
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON: {error}.") from error
    line, position = 1, 0
    for item in items:
        raw = bytes(item)
        # Between two items stand white space and commas alone, so the next match is the item itself.
        start = content.index(raw, position)
        line += content.count(b"\n", position, start)
        yield _object_row(line, raw.decode())
        position = start + len(raw)
        line += raw.count(b"\n")


def _object_row(line: int, content: str) -> Row | MalformedRow:
    """One JSON object as a row."""
    try:
        values = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        return MalformedRow(line, f"not valid JSON: {error}", content)
    if not isinstance(values, dict):
        return MalformedRow(line, "not a JSON object", content)
    return Row(line, values)


_READER_BY_SUFFIX: dict[str, Callable[[str, str], Iterator[Row | MalformedRow]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}
