"""What was found of a source: part of a dataset's summary, and read wherever that is."""

import msgspec


class SourceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was read, and how.

    Attributes:
        name: as in `SourceFile`, like `uri`, `format` and `compression`.
        size_bytes: as it is stored; for a transformer the size of its records as MessagePack.
        sha256: of the stored bytes; for a transformer of its records as MessagePack.
        encoding: "utf-8", "utf-8-sig" where there is a byte order mark, or what was asked for; empty for formats that
            have none.
        delimiter: of a delimited file.
        columns: of a delimited or a Parquet file.
    """

    name: str
    format: str
    size_bytes: int
    sha256: str
    uri: str = ""
    compression: str = ""
    encoding: str = ""
    delimiter: str = ""
    columns: tuple[str, ...] | None = None
