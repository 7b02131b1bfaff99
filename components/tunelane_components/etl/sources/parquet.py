"""Parquet files: row groups as chunks, and their columns as plain values."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import ParquetChunk
from tunelane_components.etl.sources.encoding import UTF_8, bad_encoding, visible
from tunelane_components.storage import local_path, one_line, open_binary
from tunelane_serving.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 8192
_BATCH_BYTES = 8 * 2**20
_SHOWN_CHARACTERS = 100
# Column chunks are read in steps of this, so that a large row group is never whole in memory.
_BUFFER_BYTES = 2**20


def parquet_columns(uri: str, name: str) -> tuple[str, ...]:
    """The columns of the Parquet file at `uri`.

    Raises:
        InputError: the file is no Parquet file or broken, has no columns, or two of one name.
    """
    with _opened(uri, name) as file:
        columns = tuple(file.schema_arrow.names)
    if not columns:
        raise InputError(f"{name} has no columns. Pass a file with labelled rows.")
    for position, column in enumerate(columns):
        if column in columns[:position]:
            raise InputError(f"{name}: column {column!r} stands twice. Rename one.")
    return columns


def parquet_chunks(uri: str, name: str, file: int, texts: tuple[str, ...] = ()) -> Iterator[ParquetChunk]:
    """Yield a chunk for each row group that has rows; `texts` as in `ParquetChunk`.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(uri, name) as opened:
        counts = [opened.metadata.row_group(group).num_rows for group in range(opened.metadata.num_row_groups)]
    first_row = 1
    for group, rows in enumerate(counts):
        if rows:
            yield ParquetChunk(file, uri, group, first_row, texts)
        first_row += rows


def rows_of_parquet(chunk: ParquetChunk) -> Iterator[Row | MalformedRow]:
    r"""Yield the rows of a row group; a row's line is its number in the file, from 1.

    Numbers, true and false, texts, lists and structs (as dicts) come as they are; maps as lists of pairs; dictionary
    columns as their values; dates, times, decimals and UUIDs as text (ISO 8601; in UTC where there is a time zone);
    durations as whole numbers of their unit; binary columns as the UTF-8 text that they hold. Bytes that are no UTF-8
    make a malformed row in one of the chunk's `texts`, and are shown as \xNN, not all of many, in another column.

    Raises:
        InputError: the row group is broken, or a column has a type that cannot be read.
    """
    row = chunk.first_row
    with _opened(chunk.uri, chunk.uri) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
        group = file.metadata.row_group(chunk.row_group)
        # Rows of a megabyte, such as those with images, come a few at a time.
        batch_rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))
        for batch in file.iter_batches(batch_rows, row_groups=[chunk.row_group], use_threads=False):
            yield from _rows_of_batch(batch, kinds, row, chunk.texts or tuple(kinds))
            row += batch.num_rows


def _rows_of_batch(
    batch: "pa.RecordBatch", kinds: dict[str, "pa.DataType"], row: int, texts: tuple[str, ...]
) -> Iterator[Row | MalformedRow]:
    suspect = any(_holds(kind, _is_binary) for kind in kinds.values())
    try:
        columns = [_values(column, raw_text=False) for column in batch.columns]
    except UnicodeDecodeError:
        # Arrow does not check that texts are UTF-8.
        suspect = True
        columns = [_values(column, raw_text=True) for column in batch.columns]
    for values in zip(*columns, strict=True):
        by_column = dict(zip(kinds, values, strict=True))
        yield _checked(row, by_column, texts) if suspect else Row(row, by_column)
        row += 1


def _checked(row: int, values: dict[str, Any], texts: tuple[str, ...]) -> Row | MalformedRow:
    """The row of values in which bytes may be no UTF-8: malformed where they are in one of `texts`."""
    try:
        msgspec.json.encode(values)
    except UnicodeEncodeError:
        in_texts = json.dumps([values[column] for column in texts], ensure_ascii=False, default=str)
        bad = bad_encoding(row, in_texts, UTF_8)
        if bad:
            content = visible(json.dumps(values, ensure_ascii=False, default=str))
            return MalformedRow(row, bad.reason, bad.detail, content)
        return Row(row, {column: _visible(value) for column, value in values.items()})
    return Row(row, values)


def _visible(value: Any) -> Any:
    """A value, with bytes in it that are no UTF-8 made visible; of many, as of an image, the first."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            more = f"… ({len(value):,} characters)" if len(value) > _SHOWN_CHARACTERS else ""
            return visible(value[:_SHOWN_CHARACTERS]) + more
        return value
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return {name: _visible(item) for name, item in value.items()} if isinstance(value, dict) else value


def _values(column: "pa.Array", *, raw_text: bool) -> list[Any]:
    """The values of a column; with `raw_text` texts are taken as bytes, of which some may be no UTF-8."""
    import pyarrow as pa

    kind = column.type
    # A time zone that this machine does not know would stop the next step.
    in_utc = _mapped(kind, lambda leaf: pa.timestamp(leaf.unit, "UTC") if _is_zoned(leaf) else leaf)
    readable = _mapped(kind, lambda leaf: _readable(leaf, raw_text))
    for target in (in_utc, readable):
        if target != column.type:
            column = column.cast(target)
    values: list[Any] = column.to_pylist()
    if raw_text or _holds(kind, _needs_finish):
        return [_finished(value, kind) for value in values]
    return values


def _readable(kind: "pa.DataType", raw_text: bool) -> "pa.DataType":
    """The type that has a plain Python value, in place of `kind`."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_duration(kind):
        return pa.int64()
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind) or types.is_decimal(kind):
        return pa.string()
    if raw_text and (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        return pa.large_binary()
    return kind


def _finished(value: Any, kind: "pa.DataType") -> Any:
    """A value of the type `kind`, after the casts, as it stands in a row."""
    from pyarrow import types

    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode(UTF_8, "surrogateescape")
    if types.is_dictionary(kind):
        return _finished(value, kind.value_type)
    if types.is_timestamp(kind):
        return value.replace(" ", "T", 1)
    if types.is_map(kind):
        return [[_finished(key, kind.key_type), _finished(item, kind.item_type)] for key, item in value]
    if types.is_struct(kind):
        return {field.name: _finished(value[field.name], field.type) for field in kind}
    if isinstance(value, list):
        return [_finished(item, kind.value_type) for item in value]
    return value if isinstance(value, str | int | float) else str(value)


def _mapped(kind: "pa.DataType", leaf: Callable[["pa.DataType"], "pa.DataType"]) -> "pa.DataType":
    """`kind` with every type in it that holds no other replaced; a dictionary by its values' type."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind):
        return _mapped(kind.value_type, leaf)
    if types.is_map(kind):
        return pa.map_(_mapped(kind.key_type, leaf), _mapped(kind.item_type, leaf))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_mapped(field.type, leaf)) for field in kind])
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_mapped(kind.value_type, leaf)), kind.list_size)
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_mapped(kind.value_type, leaf)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_mapped(kind.value_type, leaf)))
    return leaf(kind)


def _holds(kind: "pa.DataType", asked: Callable[["pa.DataType"], bool]) -> bool:
    """Whether `asked` holds for `kind` or for a type in it."""
    from pyarrow import types

    if asked(kind):
        return True
    if types.is_dictionary(kind):
        return _holds(kind.value_type, asked)
    return any(_holds(kind.field(place).type, asked) for place in range(kind.num_fields))


def _is_binary(kind: "pa.DataType") -> bool:
    from pyarrow import types

    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _is_zoned(kind: "pa.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_timestamp(kind) and kind.tz)


def _needs_finish(kind: "pa.DataType") -> bool:
    """Whether the Python value of this type, or of one in it, is not yet what stands in a row."""
    import pyarrow as pa
    from pyarrow import types

    return _is_binary(kind) or types.is_timestamp(kind) or types.is_map(kind) or isinstance(kind, pa.BaseExtensionType)


@contextmanager
def _opened(uri: str, name: str) -> Iterator["pq.ParquetFile"]:
    """Open the file, and turn what Arrow raises for a broken one, errors of many kinds, into an InputError."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"Cannot read {name}: install pyarrow (pip install pyarrow).") from error

    path = local_path(uri)
    source = open_binary(uri, what="data") if path is None else str(path)
    try:
        file = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
        try:
            yield file
        finally:
            file.close(force=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} cannot be read as Parquet: {one_line(error).rstrip('.')}. Write it again.") from error
