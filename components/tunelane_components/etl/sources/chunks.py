"""Chunks: pieces of a source that hold whole rows, small enough to be sent to another process and read there."""

from typing import Any

import msgspec

CHUNK_BYTES = 4 * 2**20


class _Chunk(msgspec.Struct, frozen=True, tag_field="kind", gc=False):
    """What every chunk says: the place of its file in the list of sources, from 0."""

    file: int


class DelimitedChunk(_Chunk, frozen=True, tag="delimited", gc=False):
    """Whole rows of a delimited file.

    `content` is UTF-8, apart from bytes that the file's encoding does not have; `first_line` is the line it begins on,
    from 1. `encoding` is what the file is written in ("utf-8" for one that is passed on as it is).
    """

    first_line: int
    header: tuple[str, ...]
    delimiter: str
    content: bytes
    encoding: str = "utf-8"


class JsonLinesChunk(_Chunk, frozen=True, tag="json_lines", gc=False):
    """Whole lines of a JSONL file, as in a `DelimitedChunk`."""

    first_line: int
    content: bytes
    encoding: str = "utf-8"


class JsonItemsChunk(_Chunk, frozen=True, tag="json_items", gc=False):
    """Elements of a JSON array, each with the line that it begins on."""

    items: list[tuple[int, bytes]]
    encoding: str = "utf-8"


class ParquetChunk(_Chunk, frozen=True, tag="parquet", gc=False):
    """A row group of the Parquet file at `uri`; its first row is row `first_row` of the file, from 1.

    In the columns `texts` bytes must be UTF-8, in all columns where none is named.
    """

    uri: str
    row_group: int
    first_row: int
    texts: tuple[str, ...] = ()


class RecordsChunk(_Chunk, frozen=True, tag="records", gc=False):
    """What a transformer yields: mappings, or in words why there is none; the first is number `first_line`, from 1."""

    first_line: int
    records: list[dict[str, Any] | str]


Chunk = DelimitedChunk | JsonLinesChunk | JsonItemsChunk | ParquetChunk | RecordsChunk
