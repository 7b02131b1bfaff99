"""Texts to answer: one from the command line, or those of a file or of standard input, each with its line."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tunelane_serving.errors import InputError

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_ID_FIELD = "id"


class Item(NamedTuple):
    """A text, the line that it stands on (0 where it stands in no file), and its row's `id` where it has one."""

    text: str
    line: int = 0
    id: str = ""


class Texts(NamedTuple):
    """The texts of a file in its order, and how many of its rows have none."""

    items: list[Item]
    without_text: int


def check_text(text: str) -> Item:
    """The text of the command line; raises InputError where it is empty or not UTF-8."""
    if not text.strip():
        raise InputError("The text is empty. Pass one, - to read standard input, or --file FILE.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # Bytes that are none stand in an argument as lone surrogates.
        raise InputError("The text is not UTF-8. Let the terminal send UTF-8, or pass --file FILE.") from error
    return Item(text)


def stream_texts(stream: BinaryIO) -> Iterator[Item]:
    """Yield one text a line as the lines come; blank ones are passed over.

    Raises:
        InputError: a line is not UTF-8, or there is no text at all.
    """
    found = False
    for number, line in enumerate(stream, start=1):
        item = _line_item(line, number, "standard input")
        if item is not None:
            found = True
            yield item
    if not found:
        raise InputError("Standard input holds no text. Pipe in one text a line.")


def file_texts(path: Path, text_field: str) -> Texts:
    """The texts of a UTF-8 file: of a .txt file one a line, of a table those in the column `text_field`.

    The whole file is read and checked first, so that a broken one gives no half of its answers.

    Raises:
        InputError: the file is missing, empty, not UTF-8, of an unknown kind or broken; has no such column; or has no
            text.
    """
    if path.is_dir():
        raise InputError(f"{path} is a directory. Pass one file: .txt, {', '.join(TABLES)}.")
    suffix = path.suffix.lower()
    if suffix not in (".txt", *TABLES):
        raise InputError(f"{path}: unknown kind of file. Pass one that ends in .txt, {', '.join(TABLES)}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    if not content.strip():
        raise InputError(f"{path} is empty. Pass a file with texts.")
    if suffix != ".txt":
        _check_utf_8(content, str(path))
    found = _lines(content, str(path)) if suffix == ".txt" else _rows(path, text_field)
    items = [item for item in found if item is not None]
    if not items:
        raise InputError(f"{path} has no text. Pass a file with at least one.")
    return Texts(items, len(found) - len(items))


def _lines(content: bytes, name: str) -> list[Item | None]:
    lines = content.splitlines()
    return [_line_item(line, number, name) for number, line in enumerate(lines, start=1)]


def _line_item(line: bytes, number: int, name: str) -> Item | None:
    try:
        # The first line may begin with a byte order mark.
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf_8(name, line[error.start], number) from error
    return Item(text, number) if text.strip() else None


def _check_utf_8(content: bytes, name: str) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf_8(name, content[error.start], content.count(b"\n", 0, error.start) + 1) from error


def _not_utf_8(name: str, byte: int, line: int) -> InputError:
    return InputError(f"{name} is not UTF-8: byte 0x{byte:02x} on line {line}. Convert it: iconv -f ENCODING -t UTF-8")


def _rows(path: Path, text_field: str) -> list[Item | None]:
    from tunelane_components.etl.rows.row import MalformedRow
    from tunelane_components.etl.sources.reading import read_rows

    items: list[Item | None] = []
    columns: dict[str, None] = {}
    for row in read_rows(path):
        if isinstance(row, MalformedRow):
            raise InputError(f"{path}:{row.line}: {row.detail}. Correct the row.")
        columns |= dict.fromkeys(row.values)
        text = row.values.get(text_field)
        if text is not None and not isinstance(text, str):
            raise InputError(f"{path}:{row.line}: field {text_field!r} holds {text!r}, not a text. Correct the row.")
        identity = row.values.get(_ID_FIELD)
        identity = "" if identity is None else str(identity)
        items.append(Item(text, row.line, identity) if text and text.strip() else None)
    if columns and text_field not in columns:
        raise InputError(f"No column {text_field!r} in {path}. Pass --text-field; the file has: {', '.join(columns)}.")
    return items
