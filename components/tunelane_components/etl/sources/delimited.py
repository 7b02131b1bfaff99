"""Delimited files (CSV, TSV) with quotes as spreadsheets write them ("" inside quotes is one quote).

Strict, because a lenient reader takes an unclosed quote for a field that holds the rest of the file.
"""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import DelimitedChunk
from tunelane_components.etl.sources.cutting import cut
from tunelane_components.etl.sources.encoding import bad_encoding, decoded
from tunelane_serving.errors import InputError

# The csv module refuses fields over 128 KiB unless told otherwise; a C long bounds what it can be told.
_FIELD_LIMIT_CHARACTERS = 2**31 - 1
_UNCLOSED = "unexpected end of data"  # what the csv module says


class Delimited(NamedTuple):
    """A delimited file after its header: the columns, and the rows in pieces, each with its first line."""

    header: tuple[str, ...]
    pieces: Iterator[tuple[int, bytes]]


def open_delimited(blocks: Iterator[bytes], delimiter: str, name: str, encoding: str) -> Delimited | None:
    """Read the header of a stream of UTF-8, the first line that is not blank; None where there is none.

    Raises:
        InputError: the header cannot be read or names a column twice. The pieces raise it for a quote that is never
            closed, and for a row of more than 64 MiB.
    """
    csv.field_size_limit(_FIELD_LIMIT_CHARACTERS)
    pieces = _whole_rows(blocks, delimiter, name)
    for first_line, piece in pieces:
        found = _header(piece, first_line, delimiter, name, encoding)
        if found:
            header, lines, size_bytes = found
            return Delimited(header, _after_header(pieces, first_line + lines, piece[size_bytes:]))
    return None


def rows_of_delimited(chunk: DelimitedChunk) -> Iterator[Row | MalformedRow]:
    """Yield the rows of a chunk; blank lines are none."""
    text, clean = decoded(chunk.content, chunk.encoding)
    if not clean:
        return _rows_with_bad_bytes(chunk, text)
    if "\r" in text:
        plain = text.replace("\r\n", "\n")
        if '"' in plain or "\r" in plain:
            return _parsed_rows(chunk, _lines(text))
        text = plain
    elif '"' in text:
        return _parsed_rows(chunk, _lines(text))
    return _split_rows(chunk, text)


def _whole_rows(blocks: Iterator[bytes], delimiter: str, name: str) -> Iterator[tuple[int, bytes]]:
    def too_long(line: int) -> str:
        return f"{name}:{line}: the row is longer than 64 MiB. Is a quote opened there and never closed?"

    def check_closed(line: int, rest: bytes) -> None:
        lines = _latin_lines(rest)
        whole = _lines_of_whole_rows(lines, delimiter)
        if whole < len(lines):
            raise InputError(f"{name}:{line + whole}: a quote is opened and never closed. Close or double it.")

    return cut(blocks, lambda piece: _end_of_rows(piece, delimiter), _count_lines, too_long, check_closed)


def _end_of_rows(piece: bytes, delimiter: str) -> int:
    """Where the last row of `piece` ends that is whole whatever follows."""
    if b'"' not in piece:
        # A lone carriage return ends a row as well, but at the very end a line feed may follow it.
        return piece.rfind(b"\n") + 1 or piece.rfind(b"\r", 0, -1) + 1
    end = _end_by_quotes(piece, delimiter)
    if end is None or (end == 0 and b"\r" in piece):
        return _end_by_parsing(piece, delimiter)
    return end


def _end_by_quotes(piece: bytes, delimiter: str) -> int | None:
    """Where the last whole row ends that a line feed ends, 0 for none; None where the quotes do not tell.

    They tell where each stands at the edge of a field or is doubled: then they open and close fields in turn, and a
    line feed ends a row where an even number of them stands before it. Several times as fast as to parse.
    """
    # A row begins where the piece does. What follows its last byte is not known, and no row end follows it either.
    data = np.frombuffer(b"\n%b\n" % piece, np.uint8)
    is_edge = np.zeros(256, bool)
    is_edge[list(f"{delimiter}\r\n".encode())] = True
    quotes = np.flatnonzero(data == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    doubled = closing[: len(opening) - 1] + 1 == opening[1:]
    opens, closes = is_edge[data[opening - 1]], is_edge[data[closing + 1]]
    opens[1:] |= doubled
    closes[: len(doubled)] |= doubled
    if not (opens.all() and closes.all()):
        return None
    fields = opening[np.append(True, ~doubled)] - 1  # where quoted fields begin in `piece`
    end = len(piece)
    while True:
        end = piece.rfind(b"\n", 0, end) + 1
        if np.searchsorted(quotes, end + 1) % 2 == 0:
            return end
        end = int(fields[np.searchsorted(fields, end) - 1])


def _end_by_parsing(piece: bytes, delimiter: str) -> int:
    lines = _latin_lines(piece)
    if not lines[-1].endswith("\n"):
        lines.pop()
    return sum(map(len, lines[: _lines_of_whole_rows(lines, delimiter)]))


def _lines_of_whole_rows(lines: list[str], delimiter: str) -> int:
    """How many of `lines` belong to whole rows: all, unless a quote stays open."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    whole = 0
    while True:
        try:
            for _ in reader:
                whole = reader.line_num
            return whole
        except csv.Error as error:
            if str(error) == _UNCLOSED:
                return whole
            whole = reader.line_num


def _latin_lines(piece: bytes) -> list[str]:
    """The lines of `piece` as Latin-1: a character a byte, with quotes, delimiters and line ends as in UTF-8."""
    return [str(line, "latin-1") for line in piece.splitlines(keepends=True)]


def _count_lines(piece: bytes) -> int:
    count = piece.count(b"\n")
    return count + piece.count(b"\r") - piece.count(b"\r\n") if b"\r" in piece else count


def _header(
    piece: bytes, first_line: int, delimiter: str, name: str, encoding: str
) -> tuple[tuple[str, ...], int, int] | None:
    """The columns, and how many lines and bytes of `piece` they take with blank lines before; None for blank lines."""
    lines = piece.splitlines(keepends=True)
    reader = csv.reader((str(line, "latin-1") for line in lines), delimiter=delimiter, strict=True)
    before = 0
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{name}:{first_line + before}: the header cannot be read: {error}.") from error
        if fields is None:
            return None
        if len(fields) > 1 or "".join(fields).strip():
            break
        before = reader.line_num
    taken = b"".join(lines[: reader.line_num])
    columns = tuple(field.encode("latin-1") for field in fields)
    return _checked_header(columns, name, first_line + before, encoding), reader.line_num, len(taken)


def _checked_header(columns: tuple[bytes, ...], name: str, line: int, encoding: str) -> tuple[str, ...]:
    """Return the header as text, unless it names two columns alike (unnamed columns hold an index or nothing)."""
    header: list[str] = []
    seen: set[str] = set()
    for column in columns:
        text, _ = decoded(column, encoding)
        bad = bad_encoding(line, text, encoding)
        if bad:
            raise InputError(f"{name}:{line}: the header cannot be read: {bad.detail}. Pass --set encoding=…")
        if text and text in seen:
            raise InputError(f"{name}: the header names column {text!r} twice. Rename one.")
        seen.add(text)
        header.append(text)
    return tuple(header)


def _after_header(pieces: Iterator[tuple[int, bytes]], first_line: int, rest: bytes) -> Iterator[tuple[int, bytes]]:
    if rest:
        yield first_line, rest
    yield from pieces


def _split_rows(chunk: DelimitedChunk, text: str) -> Iterator[Row | MalformedRow]:
    """Rows without a quote: what the csv module gives, several times as fast."""
    header, delimiter, line = chunk.header, chunk.delimiter, chunk.first_line
    width = len(header)
    for content in text.split("\n"):
        fields = content.split(delimiter)
        if content:
            if len(fields) == width:
                yield Row(line, dict(zip(header, fields)))  # noqa: B905  they are equally many; `strict` costs a third
            else:
                yield _wrong_width(line, fields, width, content)
        line += 1


def _parsed_rows(chunk: DelimitedChunk, lines: list[str]) -> Iterator[Row | MalformedRow]:
    csv.field_size_limit(_FIELD_LIMIT_CHARACTERS)
    header, first_line = chunk.header, chunk.first_line
    width = len(header)
    reader = csv.reader(lines, delimiter=chunk.delimiter, strict=True)
    read = 0
    while True:
        try:
            for fields in reader:
                if len(fields) == width:
                    yield Row(first_line + read, dict(zip(header, fields)))  # noqa: B905  as above
                elif fields:
                    yield _wrong_width(first_line + read, fields, width, _content(lines, read, reader.line_num))
                read = reader.line_num
            return
        except csv.Error as error:
            content = _content(lines, read, reader.line_num)
            yield MalformedRow(first_line + read, "malformed_row", str(error), content)
            read = reader.line_num


def _rows_with_bad_bytes(chunk: DelimitedChunk, text: str) -> Iterator[Row | MalformedRow]:
    """As `_parsed_rows`, but a row whose text has bad bytes says so before anything else."""
    lines = _lines(text)
    rows = list(_parsed_rows(chunk, lines))
    starts = [row.line - chunk.first_line for row in rows]
    for row, start, end in zip(rows, starts, [*starts[1:], len(lines)], strict=True):
        yield bad_encoding(row.line, _content(lines, start, end), chunk.encoding) or row


def _wrong_width(line: int, fields: list[str], width: int, content: str) -> MalformedRow:
    return MalformedRow(line, "malformed_row", f"{len(fields)} fields where the header has {width}", content)


def _lines(text: str) -> list[str]:
    """The lines of `text` with their ends; `str.splitlines` would split at characters that end no row."""
    return io.StringIO(text, newline="").readlines()


def _content(lines: list[str], start: int, end: int) -> str:
    return "".join(lines[start:end]).rstrip("\r\n")
