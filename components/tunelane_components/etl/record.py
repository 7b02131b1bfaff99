"""The canonical record: one labelled text, as every stage reads it."""

import unicodedata
from hashlib import sha256
from typing import Any, Literal

import msgspec


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
    # This runs once a row. ASCII is its own NFKC, and the only white space that is printable is the plain space.
    same = (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()
    return same.strip() if same.isprintable() and "  " not in same else " ".join(same.split())


def digest_of_normalized(same: str) -> bytes:
    """SHA-256 of a text that is normalised already, 32 bytes."""
    return sha256(same.encode()).digest()


def text_digest(text: str) -> str:
    """Hex SHA-256 of the normalised text: equal for exact duplicates, stable for ever."""
    return digest_of_normalized(normalized(text)).hex()
