"""JSON files: the elements of one array, found in the stream by their brackets and quotes, one by one.

What stands between its brackets is not looked at here: a broken element becomes one malformed row.
"""

import re
from collections.abc import Iterator

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import JsonItemsChunk
from tunelane_components.etl.sources.cutting import check_row_bytes
from tunelane_components.etl.sources.json_lines import json_row
from tunelane_components.etl.sources.opening import next_block
from tunelane_serving.errors import InputError

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
# Up to the next bracket, over whole strings. Possessive, so that a long text needs no memory for going back.
_UP_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+', re.DOTALL)
_UP_TO_COMMA = re.compile(rb'(?:[^",\]]++|' + _STRING + rb")*+", re.DOTALL)
_WHITE = re.compile(rb"[ \t\r\n]*+")
_STEP_BYTES = 16 * 2**20


class _Window:
    """What has been read of a stream and is still needed: `data` from `position`, which stands on line `line`."""

    def __init__(self, blocks: Iterator[bytes], name: str) -> None:
        self.name = name
        self.data = b""
        self.position = 0
        self.line = 1
        self._blocks = blocks

    def move(self, position: int) -> None:
        """Go on to `position`."""
        self.line += self.data.count(b"\n", self.position, position)
        self.position = position

    def grow(self) -> bool:
        """Read on; False at the end. `position` is 0 afterwards."""
        rest = self.data[self.position :]
        check_row_bytes(len(rest), self.line, self.too_long)
        block = next_block(self._blocks, min(len(rest), _STEP_BYTES))
        self.data = rest + block
        self.position = 0
        return bool(block)

    def next_byte(self) -> bytes:
        """Go to the next byte that is no white space and give it; b"" at the end."""
        while True:
            self.move(_end_of(_WHITE, self.data, self.position))
            if self.position < len(self.data):
                return self.data[self.position : self.position + 1]
            if not self.grow():
                return b""

    def too_long(self, line: int) -> str:
        """Word the error for an element that begins on `line` and outgrows what is kept in memory."""
        return f"{self.name}:{line}: the element is longer than 64 MiB. Is a quote or a bracket never closed?"

    def broken(self, fault: str) -> InputError:
        """The error for a file that cannot be read on from here."""
        return InputError(f"{self.name} is not valid JSON: {fault} on line {self.line}. Correct the file.")


def json_items(blocks: Iterator[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of the array that a stream of UTF-8 holds, each with the line that it begins on.

    Nothing but white space gives nothing.

    Raises:
        InputError: the file holds no array, or is broken between its elements; or an element is longer than 64 MiB.
    """
    window = _Window(blocks, name)
    first = window.next_byte()
    if not first:
        return
    if first != b"[":
        raise InputError(f"{name}: not an array of objects. Write [{{…}}, …], or one object a line as .jsonl.")
    window.move(window.position + 1)
    at = window.next_byte()
    while at != b"]" or at == b"":
        if at == b"":
            raise _cut_off(name)
        if at in b",:":
            raise window.broken(f"{at.decode()!r} where an element was expected")
        yield window.line, _element(window, nested=at in b"[{")
        at = window.next_byte()
        if at == b",":
            window.move(window.position + 1)
            at = window.next_byte()
            if at == b"]":
                raise window.broken("a comma before ']'")
        elif at not in (b"]", b""):
            raise window.broken("no comma between two elements")
    window.move(window.position + 1)
    if window.next_byte():
        raise window.broken("something after the array")


def rows_of_json_items(chunk: JsonItemsChunk) -> Iterator[Row | MalformedRow]:
    """Yield the rows of a chunk."""
    for line, content in chunk.items:
        row = json_row(line, content, chunk.encoding)
        if row is not None:
            yield row


def _element(window: _Window, *, nested: bool) -> bytes:
    """Take the element at the window's position: up to its closing bracket, or up to a comma or the array's end."""
    depth = 0
    end = window.position
    pattern = _UP_TO_BRACKET if nested else _UP_TO_COMMA
    while True:
        end = _end_of(pattern, window.data, end)
        at = window.data[end : end + 1]
        if at in (b"", b'"'):
            # The data read so far ends here, or in a string that begins here.
            known = end - window.position
            if not window.grow():
                raise _cut_off(window.name)
            end = known
            continue
        if not nested:
            break
        depth += 1 if at in b"[{" else -1
        end += 1
        if depth == 0:
            break
    element = window.data[window.position : end]
    window.move(end)
    return element.rstrip()


def _end_of(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start


def _cut_off(name: str) -> InputError:
    return InputError(f"{name} is not valid JSON: Input data was truncated.")
