"""Reading and writing the contracts: JSON into typed structs, with errors that name file, line and field."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from tunelane_serving.errors import ContractError
from tunelane_serving.files import write_atomically

T = TypeVar("T", bound=msgspec.Struct)


class _Versioned(msgspec.Struct):
    """The part of every contract that is read first, so that a newer file is named as such."""

    version: int = 1


def encode(item: msgspec.Struct) -> bytes:
    """Encode `item` as compact JSON, fields in declared order and mappings by key: equal structs give equal bytes."""
    return msgspec.json.encode(item, order="deterministic")


def formatted(item: msgspec.Struct) -> bytes:
    """Encode `item` as the indented JSON that its file holds: a package's digest is that of its manifest's."""
    return msgspec.json.format(encode(item), indent=2) + b"\n"


def decode(content: bytes, kind: type[T], where: str) -> T:
    """Decode JSON `content` into `kind` and run its own checks (`__post_init__`).

    Args:
        content: one JSON document.
        kind: a contract struct.
        where: file, or file and line, for the error.

    Raises:
        ContractError: the JSON is malformed, newer than this code, or breaks the contract.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise ContractError(f"{where}: {_newer(content, kind) or _explained(error)}") from error
    except msgspec.DecodeError as error:
        raise ContractError(f"{where}: not valid JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise ContractError(f"{where}: not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise ContractError(f"{where}: not valid JSON: nested too deeply") from error


def write(path: Path, item: msgspec.Struct) -> None:
    """Write one contract to `path` as indented JSON, atomically.

    Raises:
        ContractError: it breaks its contract (Python checks no types; JSON has no NaN), so nobody could read it.
    """
    content = formatted(item)
    decode(content, type(item), str(path))
    write_atomically(path, content)


def read(path: Path, kind: type[T]) -> T:
    """Read one contract from `path`; raises ContractError if it is missing or broken."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    return decode(content, kind, str(path))


def write_lines(path: Path, items: Iterable[msgspec.Struct]) -> int:
    """Write `items` to `path` as JSONL, atomically; returns how many.

    Raises:
        ContractError: one breaks its contract, so nobody could read it.
    """
    lines = []
    for number, item in enumerate(items, start=1):
        lines.append(encode(item))
        decode(lines[-1], type(item), f"{path}:{number}")
    write_atomically(path, b"".join(line + b"\n" for line in lines))
    return len(lines)


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """Yield the contracts in a JSONL file; an error names `file:line` and the field."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            yield decode(line, kind, f"{path}:{number}")


def _explained(error: msgspec.ValidationError) -> str:
    """Turn msgspec's "reason - at `$.field`" round: the field first, as a reader looks for it."""
    reason, _, place = str(error).partition(" - at `")
    field = place.rstrip("`").removeprefix("$").removeprefix(".")
    return f"field {field}: {reason}" if field else reason


def _newer(content: bytes, kind: type[msgspec.Struct]) -> str:
    """Say what to do about a file from a newer release; an empty string where it is none."""
    known = next((field.default for field in msgspec.structs.fields(kind) if field.name == "version"), None)
    try:
        found = msgspec.json.decode(content, type=_Versioned).version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    if known is None or found <= known:
        return ""
    return f"field version: written as version {found}, this release reads up to {known}; upgrade tunelane"
