"""From rows as they were read to canonical records: what is kept, what is merged, what is quarantined and why."""

import difflib
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tunelane_components.etl.record import Record, normalized, text_digest
from tunelane_components.etl.sources import MalformedRow, Row
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Taxonomy

Reason = Literal["malformed_row", "empty_text", "missing_label", "conflicting_labels"]

# An id made from a text: 64 bits of its digest.
_ID_CHARACTERS = 16
_SHOWN_COLUMNS_CHARACTERS = 300


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The columns that hold text, label, id and source; an empty `id` or `source` means that there is none."""

    text: str = "text"
    label: str = "label"
    id: str = ""
    source: str = ""


class QuarantinedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A row that did not get into the dataset: its file and line, why (code and detail), and the row as it was read."""

    file: str
    line: int
    reason: Reason
    detail: str
    row: Any
    version: Literal[1] = 1


@dataclass(frozen=True)
class Cleaned:
    """What became of the rows: each was kept, merged into a kept one, or quarantined.

    Attributes:
        records: what is kept, by `text_digest`.
        quarantined: in the order of their lines.
        merged: rows whose normalised text and label a kept record already has.
        conflicting_texts: normalised texts that stand under several labels; all their rows are quarantined.
        repeated_ids: records whose id in the data other texts had too, so that it was made unique.
    """

    records: dict[str, Record]
    quarantined: list[QuarantinedRow]
    merged: int
    conflicting_texts: int
    repeated_ids: int


@dataclass(frozen=True)
class _Usable:
    """A row with a text and a label, before it is compared with the others."""

    row: Row
    text: str
    label: str
    id: str
    source: str


def clean_rows(rows: Sequence[Row | MalformedRow], file: str, fields: Fields, taxonomy: Taxonomy | None) -> Cleaned:
    """Make records of `rows`. The order of the rows changes nothing in the records.

    Text and label lose the white space around them; an alias becomes its label. Rows whose normalised texts are equal
    are merged where their labels agree and all quarantined where not. A record's id is its id column's value; without
    one the start of its text's digest, which is also added to an id that several texts share.

    Args:
        rows: as `sources.read_rows` gives them.
        file: the name of their file, for errors and quarantine.
        fields: the columns to read.
        taxonomy: the labels that may stand in the data, or None where any label may.

    Raises:
        InputError: there is no such column, or a label is not in the taxonomy.
    """
    _require_columns(rows, file, fields)
    quarantined: list[QuarantinedRow] = []
    usable: list[_Usable] = []
    for row in rows:
        found = _usable_or_quarantined(row, file, fields)
        if isinstance(found, QuarantinedRow):
            quarantined.append(found)
        else:
            usable.append(found)
    label_by_spelling = _label_by_spelling(usable, file, taxonomy)

    by_digest: dict[str, list[_Usable]] = {}
    for found in usable:
        by_digest.setdefault(text_digest(found.text), []).append(found)
    kept: dict[str, _Usable] = {}
    conflicting_texts = merged = 0
    for digest, same_text in by_digest.items():
        labels = sorted({label_by_spelling[found.label] for found in same_text})
        if len(labels) > 1:
            conflicting_texts += 1
            detail = f"the same text stands under {', '.join(map(repr, labels))}"
            quarantined.extend(_quarantine(found.row, file, "conflicting_labels", detail) for found in same_text)
        else:
            kept[digest] = min(same_text, key=lambda found: (found.text, found.id, found.source))
            merged += len(same_text) - 1

    texts_by_id = Counter(found.id for found in kept.values() if found.id)
    records = {
        digest: Record(
            id=_unique_id(found.id, digest, texts_by_id),
            text=found.text,
            labels=(label_by_spelling[found.label],),
            meta={"source": found.source} if found.source else {},
        )
        for digest, found in kept.items()
    }
    return Cleaned(
        records=records,
        quarantined=sorted(quarantined, key=lambda row: row.line),
        merged=merged,
        conflicting_texts=conflicting_texts,
        repeated_ids=sum(count for count in texts_by_id.values() if count > 1),
    )


def _require_columns(rows: Iterable[Row | MalformedRow], file: str, fields: Fields) -> None:
    """Stop where a column that was asked for stands in no row."""
    columns = list(dict.fromkeys(column for row in rows if isinstance(row, Row) for column in row.values))
    if not columns:
        # Nothing could be read, so nothing can be said of its columns; the caller counts what is left.
        return
    asked = {"text": fields.text, "label": fields.label, "id": fields.id, "source": fields.source}
    for role, column in asked.items():
        if column not in columns and (column or role in ("text", "label")):
            there = textwrap.shorten(", ".join(columns), _SHOWN_COLUMNS_CHARACTERS, placeholder=" …")
            raise InputError(f"No column {column!r} in {file}. Pass --set {role}_field=NAME; the file has: {there}.")


def _usable_or_quarantined(row: Row | MalformedRow, file: str, fields: Fields) -> _Usable | QuarantinedRow:
    """Take the row's text, label, id and source, or say why it has none."""
    if isinstance(row, MalformedRow):
        return QuarantinedRow(file, row.line, "malformed_row", row.detail, row.content)
    values: dict[str, str] = {}
    for column in filter(None, (fields.text, fields.label, fields.id, fields.source)):
        value = _as_text(row.values.get(column))
        if value is None:
            return _quarantine(row, file, "malformed_row", f"field {column!r} holds a list or an object, not a text")
        if "\0" in value:
            return _quarantine(row, file, "malformed_row", f"field {column!r} holds a NUL character")
        values[column] = value.strip()
    text, label = values[fields.text], values[fields.label]
    if not normalized(text):
        return _quarantine(row, file, "empty_text", f"field {fields.text!r} is empty")
    if not label:
        return _quarantine(row, file, "missing_label", f"field {fields.label!r} is empty")
    return _Usable(row, text, label, values.get(fields.id, ""), values.get(fields.source, ""))


def _as_text(value: Any) -> str | None:
    """Give a cell as text (JSON holds labels and ids as numbers, too), None for what is no single value."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _quarantine(row: Row, file: str, reason: Reason, detail: str) -> QuarantinedRow:
    return QuarantinedRow(file, row.line, reason, detail, row.values)


def _label_by_spelling(usable: Sequence[_Usable], file: str, taxonomy: Taxonomy | None) -> dict[str, str]:
    """Each spelling in the data to its label; raises InputError for the first that a given taxonomy lacks."""
    spellings = {found.label for found in usable}
    if taxonomy is None:
        return {spelling: spelling for spelling in spellings}
    known = taxonomy.name_by_spelling
    unknown = [found for found in usable if found.label not in known]
    if unknown:
        first = min(unknown, key=lambda found: found.row.line)
        # Compared in lower case, as a different case is the likeliest slip.
        spelling_by_lower = {spelling.lower(): spelling for spelling in known}
        nearest = difflib.get_close_matches(first.label.lower(), spelling_by_lower, n=1, cutoff=0.0)[0]
        others = f" ({len(unknown)} such rows)" if len(unknown) > 1 else ""
        raise InputError(
            f"{file}:{first.row.line}: label {first.label!r} is not in the taxonomy{others}; the nearest is "
            f"{spelling_by_lower[nearest]!r}. Correct the row, or add the label or an alias to the taxonomy."
        )
    return known


def _unique_id(found: str, digest: str, texts_by_id: Counter[str]) -> str:
    """Make the id of one record, whatever the order of the rows."""
    short_digest = digest[:_ID_CHARACTERS]
    if not found:
        return short_digest
    return found if texts_by_id[found] == 1 else f"{found}-{short_digest}"
