"""From a row as it was read to a candidate for the dataset, or to quarantine with the reason."""

import difflib
import unicodedata
from collections import Counter
from datetime import date, datetime, time
from typing import Any, Literal

import msgspec

from tunelane_components.etl.options import DatasetOptions, Fields
from tunelane_components.etl.record import Record, digest_of_normalized, normalized
from tunelane_components.etl.rows.image_types import MIME_TYPE_BY_SUFFIX, mime_type_of
from tunelane_components.etl.rows.mapping import CANONICAL, NotText, as_text, label_texts, mapping_of
from tunelane_components.etl.rows.personal_data import mask_text, mask_values
from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.split import SPLITS
from tunelane_serving.taxonomy import Taxonomy

Reason = Literal[
    "malformed_row",
    "bad_encoding",
    "empty_text",
    "missing_label",
    "unknown_label",
    "several_labels",
    "too_long",
    "too_many_tokens",
    "unsupported_image",
    "unknown_split",
    "conflicting_labels",
    "rare_label",
]

# An id made from a text: 64 bits of its digest.
_ID_BYTES = 8
# Of cells with labels: enough for every label there is, and for some thousand combinations of them.
_REMEMBERED_CELLS = 10_000
# Looking for the nearest label costs as much as a hundred rows; whole columns of unknown labels must not.
_NEAREST_LABELS = 200


class QuarantinedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A row that did not get into the dataset: its file and line, why (code and detail), and the row as it was read."""

    file: str
    line: int
    reason: Reason
    detail: str
    row: Any
    version: Literal[1] = 1


class Candidate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row that can become a record, before it is compared with the others.

    Attributes:
        digest: the 32 bytes of `record.text_digest`.
        split: train, valid or test where the data says so, else empty.
        labels: in the taxonomy's order, or sorted where none is given.
        id: as it stands in the data, or empty.
        source: `meta["source"]`, or empty.
        line: the canonical line of the record.
        file: the index of the source.
        line_number: where the row stands in it.
        values: the row as it was read, as JSON; empty for a row that `plain_values` gives back.
    """

    digest: bytes
    split: str
    labels: tuple[str, ...]
    id: str
    source: str
    line: bytes
    file: int
    line_number: int
    values: bytes


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A record whose contract `CandidateMaker.make` has checked already."""

    id: str
    text: str
    labels: tuple[str, ...]
    image_uri: str = ""
    meta: dict[str, Any] = {}


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """Why a row cannot become a record."""

    reason: Reason
    detail: str


class CandidateMaker:
    """Turns rows into candidates or quarantined rows. Made once for a chunk: it holds no state that outlives one.

    Attributes:
        personal_data: what was masked so far, by kind.
    """

    def __init__(
        self,
        options: DatasetOptions,
        taxonomy: Taxonomy | None,
        *,
        given_split: str = "",
        canonical: bool = False,
    ) -> None:
        """Prepare for rows of the user's own form, or for canonical records as a transformer yields them.

        `given_split` is that of the whole source, whatever its rows say.
        """
        self.personal_data: Counter[str] = Counter()
        self._options = options
        self._fields = CANONICAL if canonical else options.fields
        self._mapping = mapping_of(self._fields)
        self._is_canonical = canonical
        self._given_split = given_split
        self._taxonomy = taxonomy
        self._known = taxonomy.name_by_spelling if taxonomy else None
        self._places = {name: place for place, name in enumerate(taxonomy.names)} if taxonomy else {}
        self._with_ancestors = taxonomy.with_ancestors if taxonomy and options.multi_label else {}
        self._nearest: dict[str, str] = {}
        self._labels_by_cell: dict[str, tuple[str, ...] | Rejected] = {}
        self._has_metadata = bool(self._mapping.metadata) or canonical
        self._encode = msgspec.json.Encoder(order="deterministic").encode
        # A row keeps the order of its columns, unlike a record.
        self._encode_row = msgspec.json.Encoder(enc_hook=_plain).encode

    def make(self, row: Row, file: int) -> Candidate | Rejected:
        """Check one row and give its candidate."""
        options, values = self._options, row.values
        try:
            text, identity, source, image, split = self._texts(values)
        except NotText as error:
            return Rejected("malformed_row", str(error))
        if options.mask_personal_data:
            text, identity, source = (mask_text(part, self.personal_data) for part in (text, identity, source))
        if "\0" in text or "\0" in identity or "\0" in source or "\0" in image:
            return Rejected("malformed_row", "holds a NUL character")
        # Before it is normalised: that takes ten times the memory of the text.
        if options.max_characters and len(text) > options.max_characters:
            return Rejected("too_long", f"{len(text):,} characters, {options.max_characters:,} are allowed")
        same = normalized(text)
        if not same:
            return Rejected("empty_text", f"field {self._fields.text!r} is empty")
        if not (same[0].isalnum() or _is_visible(same)):
            return Rejected("empty_text", f"field {self._fields.text!r} holds nothing that can be seen")
        labels = self._labels(self._mapping.labels(values))
        if isinstance(labels, Rejected):
            return labels
        if image and not mime_type_of(image):
            known = ", ".join(sorted(MIME_TYPE_BY_SUFFIX))
            return Rejected("unsupported_image", f"{image[-80:]!r} does not end in one of {known}")
        if split and split not in SPLITS:
            field = self._fields.split
            return Rejected("unknown_split", f"field {field!r} holds {split[:40]!r}, not {', '.join(SPLITS)}")
        try:
            digest = digest_of_normalized(same)
            meta = self._meta(values, source) if self._has_metadata else {"source": source} if source else {}
            line = self._encode(_Line(identity or digest[:_ID_BYTES].hex(), text, labels, image, meta)) + b"\n"
            is_plain = plain_values(self._fields, text, labels[0], identity, source) == values
            raw = b"" if is_plain else self._encode_row(self._shown(values))
        except UnicodeEncodeError:
            return Rejected("bad_encoding", "holds half of a surrogate pair, which is no character")
        return Candidate(digest, split, labels, identity, source, line, file, row.line, raw)

    def _texts(self, values: dict[str, Any]) -> tuple[str, str, str, str, str]:
        """Give the row's text, id, source, image and split, each empty where there is none.

        Raises:
            NotText: one of them is a list or an object; says which.
        """
        mapping, field = self._mapping, self._fields.text
        try:
            text = as_text(mapping.text(values)).strip()
            field = self._fields.id
            identity = as_text(mapping.id(values)).strip() if mapping.id else ""
            field = self._fields.source
            source = as_text(mapping.source(values)).strip() if mapping.source else ""
            field = self._fields.image
            image = as_text(mapping.image(values)).strip() if mapping.image else ""
            field = self._fields.split
            split = as_text(mapping.split(values)).strip() if mapping.split else ""
        except NotText as error:
            raise NotText(f"field {field!r} {error}") from error
        if self._is_canonical and isinstance(meta := values.get("meta"), dict):
            source = str(meta.get("source", ""))
        return text, identity, source, image, self._given_split or split

    def quarantined(self, row: Row | MalformedRow, file: str, rejected: Rejected) -> QuarantinedRow:
        """Give the quarantine's row for a row that cannot become a record."""
        values = self._shown(row.content if isinstance(row, MalformedRow) else row.values)
        detail = mask_text(rejected.detail, Counter()) if self._options.mask_personal_data else rejected.detail
        return QuarantinedRow(file, row.line, rejected.reason, detail, msgspec.to_builtins(values, enc_hook=_plain))

    def _shown(self, values: Any) -> Any:
        """Give a row as it may be written: as it was read, or masked. What is masked here is counted nowhere."""
        return mask_values(values, Counter()) if self._options.mask_personal_data else values

    def _labels(self, cell: Any) -> tuple[str, ...] | Rejected:
        """Give the labels in a cell, each once and in order, or say what is wrong with them."""
        if not isinstance(cell, str):
            return self._resolved(cell)
        # Few cells are different from all before.
        labels = self._labels_by_cell.get(cell)
        if labels is None:
            labels = self._resolved(cell)
            if len(self._labels_by_cell) < _REMEMBERED_CELLS:
                self._labels_by_cell[cell] = labels
        return labels

    def _resolved(self, cell: Any) -> tuple[str, ...] | Rejected:
        field = self._fields.label
        try:
            spellings = label_texts(cell, self._fields.label_separator)
        except NotText as error:
            return Rejected("malformed_row", f"field {field!r} {error}")
        if not spellings:
            return Rejected("missing_label", f"field {field!r} is empty")
        if any("\0" in spelling for spelling in spellings):
            return Rejected("malformed_row", f"field {field!r} holds a NUL character")
        names = set(spellings)
        if self._known is not None:
            unknown = next((spelling for spelling in spellings if spelling not in self._known), None)
            if unknown is not None:
                return Rejected("unknown_label", self._unknown(unknown))
            names = {self._known[spelling] for spelling in spellings}
        if len(names) > 1 and not self._options.multi_label:
            shown = ", ".join(map(repr, sorted(names)[:4]))
            return Rejected("several_labels", f"{len(names)} labels ({shown}) where one is expected; see multi_label")
        if self._with_ancestors:
            names = {above for name in names for above in self._with_ancestors[name]}
        return tuple(sorted(names, key=self._places.__getitem__ if self._places else None))

    def _unknown(self, spelling: str) -> str:
        """Word an unknown label with the nearest known one, in lower case, as another case is the likeliest slip."""
        said = self._nearest.get(spelling)
        if said is None:
            said = f"{spelling[:80]!r} is not in the taxonomy"
            if len(self._nearest) < _NEAREST_LABELS and self._known:
                spelling_by_lower = {known.lower(): known for known in self._known}
                near = difflib.get_close_matches(spelling[:80].lower(), spelling_by_lower, n=1, cutoff=0.0)[0]
                said += f"; the nearest is {spelling_by_lower[near]!r}"
                self._nearest[spelling] = said
        return said

    def _meta(self, values: dict[str, Any], source: str) -> dict[str, Any]:
        meta: dict[str, Any] = {}
        if self._is_canonical and isinstance(values.get("meta"), dict):
            meta = values["meta"]
        elif self._mapping.metadata:
            found = ((name, get(values)) for name, get in self._mapping.metadata)
            meta = {name: value for name, value in found if value is not None and value != ""}
        if meta:
            meta = msgspec.to_builtins(meta, enc_hook=_plain)
            if self._options.mask_personal_data:
                meta = mask_values(meta, self.personal_data)
        # The name of a slice, which is what evaluation looks for.
        return {**meta, "source": source} if source else meta


def plain_values(fields: Fields, text: str, label: str, identity: str, source: str) -> dict[str, Any]:
    """Give the row that holds nothing but these: most rows do, so they need not be kept beside their record."""
    values = {fields.text: text, fields.label: label}
    if fields.id:
        values[fields.id] = identity
    if fields.source:
        values[fields.source] = source
    return values


def row_of(candidate: Candidate, fields: Fields) -> msgspec.Raw:
    """Give the row that a candidate was made of, as JSON."""
    if candidate.values:
        return msgspec.Raw(candidate.values)
    record = msgspec.json.decode(candidate.line, type=Record)
    values = plain_values(fields, record.text, record.labels[0], candidate.id, candidate.source)
    return msgspec.Raw(msgspec.json.encode(values))


def _is_visible(text: str) -> bool:
    """Say whether a text has more than spaces, controls and format characters, such as zero-width spaces."""
    return any(unicodedata.category(character) not in ("Cc", "Cf", "Zs") for character in text)


def malformed(row: MalformedRow) -> Rejected:
    """Say of a row that could not be read what its reader found."""
    return Rejected(row.reason, row.detail)  # type: ignore[arg-type]  # the readers know two reasons


def _plain(value: Any) -> str:
    """Give what JSON has no form for as text."""
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)
