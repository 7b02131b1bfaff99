"""Reading sources: a file is cut into chunks in one process, and a chunk gives its rows in any process."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import (
    CHUNK_BYTES,
    Chunk,
    DelimitedChunk,
    JsonItemsChunk,
    JsonLinesChunk,
    ParquetChunk,
    RecordsChunk,
)
from tunelane_components.etl.sources.delimited import open_delimited, rows_of_delimited
from tunelane_components.etl.sources.detection import checked_delimiter, detected_delimiter
from tunelane_components.etl.sources.encoding import UTF_8
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.sources.find import SourceFile
from tunelane_components.etl.sources.formats import ENDINGS, FORMATS, format_and_compression
from tunelane_components.etl.sources.json_array import json_items, rows_of_json_items
from tunelane_components.etl.sources.json_lines import cut_json_lines, rows_of_json_lines
from tunelane_components.etl.sources.opening import OpenedText, RawFile, open_text
from tunelane_components.etl.sources.parquet import parquet_chunks, parquet_columns, rows_of_parquet
from tunelane_components.etl.sources.transformers import transformed
from tunelane_serving.errors import InputError

_HASH_STEP_BYTES = 2**20
_ITEM_BYTES = 128  # what an element of a JSON array takes besides its content
_SOMETHING = re.compile(rb"[^\r\n]")


class SourceReader:
    """A source, opened: it is read once, from its beginning to its end, within the memory of a few chunks.

    Attributes:
        columns: of a delimited or a Parquet file; None for JSON and transformers, whose columns are seen in the rows
            alone, and for a delimited file with nothing in it.
        is_blank: whether the file holds nothing but white space.
    """

    def __init__(
        self,
        source: SourceFile,
        *,
        file: int = 0,
        delimiter: str = "",
        encoding: str = UTF_8,
        wanted_columns: tuple[str, ...] = (),
        allow_empty: bool = False,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Open a source.

        Args:
            source: what `find_sources` gives.
            file: its place in the list of sources, for the chunks.
            delimiter: of a delimited file; empty: a tab for .tsv, and detected otherwise.
            encoding: of a text file.
            wanted_columns: the columns or paths that will be asked for: the delimiter is detected by them, and in them
                the bytes of a Parquet file must be UTF-8.
            allow_empty: a file without rows is fine, as one among others.
            chunk_bytes: about how much a chunk holds; more where a row does.

        Raises:
            InputError: the file cannot be read, or not so.
        """
        self.columns: tuple[str, ...] | None = None
        self.is_blank = False
        self._source = source
        self._file = file
        self._allow_empty = allow_empty
        self._chunk_bytes = chunk_bytes
        self._encoding = ""
        self._delimiter = ""
        self._facts: SourceFacts | None = None
        self._raw: RawFile | None = None
        if source.format not in FORMATS:
            self._chunks: Iterator[Chunk] = transformed(source.format, source.uri, file)
            return
        if source.format == "parquet":
            self.columns = parquet_columns(source.uri, source.name)
            texts = tuple(column for column in self.columns if _is_wanted(column, wanted_columns))
            self._chunks = parquet_chunks(source.uri, source.name, file, texts)
            return
        self._raw = RawFile(source.uri)
        try:
            self._chunks = self._opened(self._raw, delimiter, encoding, wanted_columns)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def read_bytes(self) -> int:
        """How many of the source's `size_bytes` have been read so far."""
        return self._raw.read_bytes if self._raw else 0

    @property
    def facts(self) -> SourceFacts:
        """What was read; there once the last chunk has been taken."""
        if self._facts is None:
            raise RuntimeError("facts are known after the last chunk")
        return self._facts

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks, once.

        Raises:
            InputError: the file is broken as a whole, or it has no rows and that is not allowed.
        """
        digest, size_bytes = hashlib.sha256(), 0
        found = False
        for chunk in self._chunks:
            found = True
            if isinstance(chunk, RecordsChunk):
                records = msgspec.msgpack.encode(chunk.records)
                digest.update(records)
                size_bytes += len(records)
            yield chunk
        if not found and not self._allow_empty:
            if self.is_blank:
                raise InputError(f"{self._source.name} is empty. Pass a file with labelled rows.")
            raise InputError(f"{self._source.name} has no rows. Pass a file with labelled rows.")
        if self._source.format == "parquet":
            # Arrow has read parts of it, here and there; the digest is that of the whole.
            self._raw = RawFile(self._source.uri)
        while self._raw and self._raw.read(_HASH_STEP_BYTES):
            pass
        self._facts = SourceFacts(
            name=self._source.name,
            format=self._source.format,
            size_bytes=self._raw.read_bytes if self._raw else size_bytes,
            sha256=self._raw.sha256() if self._raw else digest.hexdigest(),
            uri=self._source.uri,
            compression=self._source.compression,
            encoding=self._encoding,
            delimiter=self._delimiter,
            columns=self.columns,
        )

    def close(self) -> None:
        """Close the file."""
        if self._raw:
            self._raw.close()

    def _opened(self, raw: RawFile, delimiter: str, encoding: str, wanted_columns: tuple[str, ...]) -> Iterator[Chunk]:
        source = self._source
        text = open_text(raw, source, encoding, self._chunk_bytes)
        self.is_blank = not text.head.strip()
        self._encoding = text.encoding
        if source.format in ("csv", "tsv"):
            return self._delimited(text, delimiter, wanted_columns)
        if source.format == "jsonl":
            return self._json_lines(text)
        return self._json_array(text)

    def _delimited(self, text: OpenedText, delimiter: str, wanted_columns: tuple[str, ...]) -> Iterator[Chunk]:
        if delimiter:
            self._delimiter = checked_delimiter(delimiter)
        elif self._source.format == "tsv":
            self._delimiter = "\t"
        else:
            self._delimiter = detected_delimiter(text.head, wanted_columns)
        encoding = _chunk_encoding(text)
        opened = open_delimited(text.blocks, self._delimiter, self._source.name, encoding)
        if opened is None:
            return iter(())
        self.columns = opened.header
        return (
            DelimitedChunk(self._file, first_line, opened.header, self._delimiter, content, encoding)
            for first_line, content in opened.pieces
            if _SOMETHING.search(content)
        )

    def _json_lines(self, text: OpenedText) -> Iterator[Chunk]:
        encoding = _chunk_encoding(text)
        return (
            JsonLinesChunk(self._file, first_line, content, encoding)
            for first_line, content in cut_json_lines(text.blocks, self._source.name)
            if not content.isspace()
        )

    def _json_array(self, text: OpenedText) -> Iterator[Chunk]:
        encoding = _chunk_encoding(text)
        items: list[tuple[int, bytes]] = []
        size_bytes = 0
        for line, content in json_items(text.blocks, self._source.name):
            items.append((line, content))
            size_bytes += len(content) + _ITEM_BYTES
            if size_bytes >= self._chunk_bytes:
                yield JsonItemsChunk(self._file, items, encoding)
                items, size_bytes = [], 0
        if items:
            yield JsonItemsChunk(self._file, items, encoding)


def rows_of(chunk: Chunk) -> Iterator[Row | MalformedRow]:
    """Yield the rows of a chunk, in any process that can open its files.

    Raises:
        InputError: a Parquet row group cannot be read.
    """
    if isinstance(chunk, DelimitedChunk):
        return rows_of_delimited(chunk)
    if isinstance(chunk, JsonLinesChunk):
        return rows_of_json_lines(chunk)
    if isinstance(chunk, JsonItemsChunk):
        return rows_of_json_items(chunk)
    if isinstance(chunk, ParquetChunk):
        return rows_of_parquet(chunk)
    return _rows_of_records(chunk)


def read_rows(path: Path) -> Iterator[Row | MalformedRow]:
    """Yield the rows of one UTF-8 file (a byte order mark is fine) in this process, by its ending.

    A CSV or TSV file has a header; a JSON file holds one array of objects. Blank lines are skipped. A row that cannot
    be read comes as a MalformedRow; a file that cannot be read stops.

    Raises:
        InputError: the file is missing, empty, of an unknown kind, in another encoding, or broken as a whole.
    """
    if path.is_dir():
        raise InputError(f"{path.name} is a directory. Pass one file: {ENDINGS}.")
    file_format, compression = format_and_compression(path.name)
    if not file_format:
        raise InputError(f"{path.name}: unknown kind of file. Pass one that ends in {ENDINGS}.")
    if not path.exists():
        raise InputError(f"Cannot read {path}: No such file or directory.")
    source = SourceFile(str(path), path.name, file_format, compression, 0)
    with SourceReader(source, allow_empty=True) as reader:
        for chunk in reader.chunks():
            yield from rows_of(chunk)
        if reader.is_blank:
            raise InputError(f"{path.name} is empty. Pass a file with labelled rows.")


def _rows_of_records(chunk: RecordsChunk) -> Iterator[Row | MalformedRow]:
    for number, record in enumerate(chunk.records, start=chunk.first_line):
        if isinstance(record, str):
            yield MalformedRow(number, "malformed_row", "the transformer gives no record here", record)
        else:
            yield Row(number, record)


def _is_wanted(column: str, paths: tuple[str, ...]) -> bool:
    """Whether one of the columns or paths that are asked for begins with this column."""
    return any(path == column or path.startswith((f"{column}.", f"{column}[")) for path in paths)


def _chunk_encoding(text: OpenedText) -> str:
    return UTF_8 if text.encoding == "utf-8-sig" else text.encoding
