"""The canonical record: one labelled text, as every stage reads it."""

import re
import unicodedata
from typing import Any, Literal

import msgspec

from tunelane_serving.files import sha256_bytes

_WHITE_SPACE = re.compile(r"\s+")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One labelled text. A single-label task has exactly one entry in `labels`.

    `meta["source"]`, where given, names where the row came from; evaluation reports it as a slice. The version is
    written only when it is not 1.
    """

    id: str
    text: str
    labels: tuple[str, ...]
    image_uri: str = ""
    meta: dict[str, Any] = {}
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id: a record needs an id")
        if not self.text.strip():
            raise ValueError("text: is empty")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: a label stands twice")


def normalized(text: str) -> str:
    """`text` as duplicates are compared: Unicode NFKC, lower case, white space folded."""
    return _WHITE_SPACE.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()


def text_digest(text: str) -> str:
    """Hex SHA-256 of the normalised text: equal for exact duplicates, stable for ever."""
    return sha256_bytes(normalized(text).encode())
