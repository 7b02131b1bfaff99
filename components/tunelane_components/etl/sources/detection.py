"""Which delimiter a file uses, where nobody says."""

import csv
import io
from collections.abc import Collection

from tunelane_components.etl.sources.encoding import UTF_8
from tunelane_serving.errors import InputError

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_BYTES = 64 * 2**10
_SAMPLE_ROWS = 100
_SPELT = {"\\t": "\t", "tab": "\t"}


def checked_delimiter(delimiter: str) -> str:
    r"""Give the character that `delimiter` names: itself, or a tab for "\t" and "tab".

    Raises:
        InputError: it is no single ASCII character, or one that has another meaning.
    """
    character = _SPELT.get(delimiter, delimiter)
    if len(character) != 1 or not character.isascii() or character in '"\r\n\0':
        raise InputError(f"Delimiter {delimiter!r} cannot be used. Pass one ASCII character, as , or ; or tab.")
    return character


def detected_delimiter(head: bytes, wanted_columns: Collection[str]) -> str:
    """Give the delimiter of the file that begins with `head`: a comma, semicolon, tab or vertical bar.

    It is the one under which most of `wanted_columns` stand in the header; among equals the one under which most of the
    first rows have as many fields as the header; then the one that gives most fields; a comma where none stands in the
    header.
    """
    sample = head[:_SAMPLE_BYTES]
    # A row that is cut in two would count as an odd one.
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    text = sample.decode(UTF_8, "replace")
    return max(_DELIMITERS, key=lambda delimiter: _fitness(text, delimiter, wanted_columns))


def _fitness(text: str, delimiter: str, wanted_columns: Collection[str]) -> tuple[int, int, int]:
    header: list[str] = []
    rows = alike = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while rows < _SAMPLE_ROWS:
        try:
            fields = next(reader, None)
        except csv.Error:
            fields = [""]
        if fields is None:
            break
        if not header and any(field.strip() for field in fields):
            header = fields
        elif header and fields:
            rows += 1
            alike += len(fields) == len(header)
    if len(header) < 2:
        return len(set(header) & set(wanted_columns)), 0, 0
    return len(set(header) & set(wanted_columns)), alike, len(header)
