"""JSON rows: one object a line, and what one JSON value gives as a row."""

from collections.abc import Iterator

import msgspec

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import JsonLinesChunk
from tunelane_components.etl.sources.cutting import cut
from tunelane_components.etl.sources.encoding import bad_encoding, decoded

_decode = msgspec.json.Decoder().decode


def cut_json_lines(blocks: Iterator[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield pieces of whole lines of a stream of UTF-8, each with its first line.

    Raises:
        InputError: a line is longer than 64 MiB.
    """

    def too_long(line: int) -> str:
        return f"{name}:{line}: the line is longer than 64 MiB. Write one object a line."

    return cut(blocks, lambda piece: piece.rfind(b"\n") + 1, lambda piece: piece.count(b"\n"), too_long)


def rows_of_json_lines(chunk: JsonLinesChunk) -> Iterator[Row | MalformedRow]:
    """Yield the rows of a chunk; blank lines are none."""
    for line, content in enumerate(chunk.content.split(b"\n"), start=chunk.first_line):
        if content and not content.isspace():
            row = json_row(line, content, chunk.encoding)
            if row is not None:
                yield row


def json_row(line: int, content: bytes, encoding: str) -> Row | MalformedRow | None:
    """One JSON value as a row, of a file in `encoding`; None for nothing but white space."""
    try:
        values = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text, clean = decoded(content, encoding)
        if not clean:
            return bad_encoding(line, text, encoding)
        return MalformedRow(line, "malformed_row", f"not valid JSON: {error}", text) if text.strip() else None
    if isinstance(values, dict):
        return Row(line, values)
    return MalformedRow(line, "malformed_row", "not a JSON object", content.decode())
