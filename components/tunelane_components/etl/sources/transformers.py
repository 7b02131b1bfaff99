"""Transformers: a team's own readers of odd sources, found by entry points."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import msgspec

from tunelane_components.etl.record import Record
from tunelane_components.etl.sources.chunks import RecordsChunk
from tunelane_components.storage import one_line
from tunelane_serving.errors import InputError, TunelaneError

GROUP = "tunelane.sources"
Transformer = Callable[[str], Iterable[Record | Mapping[str, Any]]]

_RECORDS_A_CHUNK = 2000
_SHOWN_CHARACTERS = 1000


def transformer_names() -> tuple[str, ...]:
    """The names of the transformers that are installed, sorted."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_transformer(name: str) -> Transformer:
    """Load the transformer that stands under `name` in the entry points `tunelane.sources`.

    It is called with the data as the user wrote it, and yields canonical records: `Record`, or mappings of the same
    form ({"id", "text", "labels", "image_uri", "meta"}), which are checked later, row by row.

    Raises:
        InputError: there is none of this name, it cannot be imported, or it is no function.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        installed = ", ".join(transformer_names()) or "none"
        raise InputError(f"No transformer {name!r} is installed. Installed: {installed}.")
    try:
        transform = found[0].load()
    except Exception as error:
        raise InputError(
            f"The transformer {name!r} cannot be imported from {found[0].value}: {_named(error)}. Correct its package."
        ) from error
    if not callable(transform):
        raise InputError(
            f"The transformer {name!r} is {found[0].value}, which is no function. Correct its entry point."
        )
    return transform  # type: ignore[no-any-return]


def transformed(name: str, data: str, file: int) -> Iterator[RecordsChunk]:
    """Yield what the transformer `name` makes of `data`, in chunks.

    Raises:
        InputError: the transformer raises; the message names it and its error.
    """
    transform = load_transformer(name)
    records: list[dict[str, Any] | str] = []
    first = 1
    try:
        for record in transform(data):
            records.append(_plain(record))
            if len(records) == _RECORDS_A_CHUNK:
                yield RecordsChunk(file, first, records)
                first += len(records)
                records = []
    except TunelaneError:
        raise
    except Exception as error:
        place = first + len(records)
        raise InputError(
            f"The transformer {name!r} failed at record {place}: {_named(error)}. Correct the transformer or its data."
        ) from error
    if records:
        yield RecordsChunk(file, first, records)


def _plain(record: Record | Mapping[str, Any]) -> dict[str, Any] | str:
    """`record` as a dict that can be sent to another process, or why it is none."""
    if not isinstance(record, Record | Mapping):
        return f"not a record but {type(record).__name__}: {record!r}"[:_SHOWN_CHARACTERS]
    try:
        plain: dict[str, Any] = msgspec.to_builtins(record if isinstance(record, Record) else dict(record))
        # What msgpack cannot hold (numbers past 64 bits, broken Unicode) is refused here, not on its way.
        msgspec.msgpack.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"a record that cannot be written ({one_line(error)}): {record!r}"[:_SHOWN_CHARACTERS]
    return plain


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
