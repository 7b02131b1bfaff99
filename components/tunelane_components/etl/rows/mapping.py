"""Where the parts of a record stand in a row: columns, paths into nested values, and templates of them."""

import re
import string
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tunelane_components.etl.options import Fields
from tunelane_serving.errors import InputError

_SHOWN_COLUMNS_CHARACTERS = 300
_EACH = "[]"
_STEP = re.compile(r"[^.\[\]]+|\[\d*\]")

Getter = Callable[[dict[str, Any]], Any]


class NotText(ValueError):
    """A field holds something that is no single value; the message says which."""


@dataclass(frozen=True)
class Mapping:
    """How the parts of a record are taken from the values of a row.

    Attributes:
        columns: the top-level columns that must be there, each with the parameter that asked for it.
        text, labels, id, source, image, split: each gives its part of a row; None for a part that was not asked for.
        metadata: name and getter of each entry of `meta`.
    """

    columns: tuple[tuple[str, str], ...]
    text: Getter
    labels: Getter
    id: Getter | None
    source: Getter | None
    image: Getter | None
    split: Getter | None
    metadata: tuple[tuple[str, Getter], ...]

    def require_columns(self, columns: Iterable[str], file: str) -> None:
        """Stop where a column that was asked for is not among those of the file.

        Raises:
            InputError: names the column, the parameter, and what the file has.
        """
        found = tuple(columns)
        for parameter, column in self.columns:
            # A path's first step, or a flat column whose name holds the dots of a path.
            if column not in found and _first_step(column) not in found:
                there = textwrap.shorten(", ".join(found), _SHOWN_COLUMNS_CHARACTERS, placeholder=" …")
                raise InputError(f"No column {column!r} in {file}. Pass --set {parameter}=NAME; the file has: {there}.")


def mapping_of(fields: Fields) -> Mapping:
    """Compile `fields`.

    Raises:
        InputError: a template cannot be read, or text or label is not named.
    """
    asked: list[tuple[str, str]] = []

    def getter(parameter: str, path: str) -> Getter:
        asked.append((parameter, path))
        return _path(path)

    def optional(parameter: str, path: str) -> Getter | None:
        return getter(parameter, path) if path else None

    for parameter, value in (("text_field", fields.text), ("label_field", fields.label)):
        if not value.strip():
            raise InputError(f"{parameter} is empty. Pass --set {parameter}=NAME of a column.")
    text = _template(fields.text, getter) if "{" in fields.text else getter("text_field", fields.text)
    return Mapping(
        text=text,
        labels=getter("label_field", fields.label),
        id=optional("id_field", fields.id),
        source=optional("source_field", fields.source),
        image=optional("image_field", fields.image),
        split=optional("split_field", fields.split),
        metadata=tuple((name, getter("metadata_fields", path)) for name, path in _metadata(fields.metadata)),
        columns=tuple(asked),
    )


CANONICAL = Fields(text="text", label="labels", id="id", image="image_uri")
"""The parts of a record that a transformer yields; its `meta` is taken as it is."""


def as_text(value: Any) -> str:
    """Give a cell as text: JSON holds labels and ids as numbers, too.

    Raises:
        NotText: it is a list or an object.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    raise NotText("holds a list or an object, not a text")


def label_texts(value: Any, separator: str) -> list[str]:
    """Give the labels in a cell, without white space around them and without empty ones.

    A list gives one for each element; a text is split where there is a separator.

    Raises:
        NotText: an element is itself a list or an object.
    """
    parts: Sequence[str]
    if isinstance(value, str):
        parts = value.split(separator) if separator else (value,)
    elif isinstance(value, list):
        parts = [part for item in value for part in label_texts(item, separator)] if value else ()
        if any(isinstance(item, dict | list) for item in value):
            raise NotText("holds objects; name the field of theirs, like domains[].name")
    else:
        parts = (as_text(value),)
    return [label for part in parts if (label := part.strip())]


def _path(path: str) -> Getter:
    """Compile a column's name or a path of names, `[]` (every element) and `[2]` (one element)."""
    steps = _STEP.findall(path)
    is_path = "".join(step if step.startswith("[") else f".{step}" for step in steps) == f".{path}"
    if len(steps) < 2 or not is_path:
        return lambda values: values.get(path)

    def walk(values: dict[str, Any]) -> Any:
        # A flat file may have a column of that very name.
        return values[path] if path in values else _walk(values, steps)

    return walk


def _walk(value: Any, steps: list[str]) -> Any:
    """Follow `steps` into nested values; None where they lead nowhere."""
    for place, step in enumerate(steps):
        if step == _EACH:
            items = value if isinstance(value, list) else []
            rest = steps[place + 1 :]
            found = [_walk(item, rest) for item in items]
            # `[]` twice gives one flat list.
            return [inner for item in found for inner in item] if _EACH in rest else found
        if step.startswith("["):
            index = int(step[1:-1])
            value = value[index] if isinstance(value, list) and index < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _template(template: str, getter: Callable[[str, str], Getter]) -> Getter:
    """Compile `{title}: {note}`; a field that a row lacks is an empty text."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            f"text_field={template!r} is no template: {error}. Write it like '{{title}}: {{note}}'."
        ) from error
    if any(name == "" or spec or conversion for _, name, spec, conversion in parts):
        raise InputError(f"text_field={template!r} is no template. Write it like '{{title}}: {{note}}'.")
    pieces = [(literal, getter("text_field", name) if name else None) for literal, name, _, _ in parts]

    def fill(values: dict[str, Any]) -> str:
        filled = [as_text(get(values)).strip() if get else "" for _, get in pieces]
        # A template whose fields are all empty is no text, whatever stands between them.
        return "".join(piece[0] + value for piece, value in zip(pieces, filled, strict=True)) if any(filled) else ""

    return fill


def _metadata(names: str) -> list[tuple[str, str]]:
    """Read `age_group, room=child.room` as names and paths."""
    entries = [entry.strip() for entry in names.split(",") if entry.strip()]
    pairs = [entry.partition("=") for entry in entries]
    return [(name.strip(), path.strip() or name.strip()) for name, _, path in pairs]


def _first_step(path: str) -> str:
    steps = _STEP.findall(path)
    return steps[0] if steps else path
