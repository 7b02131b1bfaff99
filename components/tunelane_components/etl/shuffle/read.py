"""From sources to chunks with numbers, and what was found of each source on the way."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from tunelane_components.etl.options import DatasetOptions
from tunelane_components.etl.rows.mapping import mapping_of
from tunelane_components.etl.shuffle.map import MapOutcome, map_chunk
from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.sources.chunks import Chunk
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.sources.find import SourceFile
from tunelane_components.etl.sources.reading import SourceReader

# The chunks of a file are numbered on their own, so that files can be read apart; no file has this many.
_CHUNKS_PER_FILE = 10**7


class SourceOutcome(msgspec.Struct, frozen=True, tag="source"):
    """A source that was read and mapped in one go."""

    file: int
    facts: SourceFacts
    chunks: list[MapOutcome]


def numbered_chunks(
    source: SourceFile,
    file: int,
    options: DatasetOptions,
    *,
    is_alone: bool,
    on_read: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Chunk] | SourceFacts]:
    """Yield the chunks of a source with their numbers, and last what was found of the source.

    Args:
        source: the file.
        file: its index among the sources.
        options: how it is to be read.
        is_alone: whether it is the only one, so that it must have rows.
        on_read: told how many bytes were read in all, after each chunk.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    mapping = mapping_of(options.fields)
    with SourceReader(
        source,
        file=file,
        delimiter=options.delimiter,
        encoding=options.encoding,
        wanted_columns=tuple(column for _, column in mapping.columns),
        allow_empty=not is_alone,
    ) as reader:
        if reader.columns is not None:
            mapping.require_columns(reader.columns, source.name)
        for place, chunk in enumerate(reader.chunks()):
            yield file * _CHUNKS_PER_FILE + place, chunk
            if on_read:
                on_read(reader.read_bytes)
        yield reader.facts


def map_source(source: SourceFile, file: int, plan: Plan) -> SourceOutcome:
    """Read and map a source in one process."""
    facts: SourceFacts | None = None
    outcomes = []
    for item in numbered_chunks(source, file, plan.options, is_alone=len(plan.names) == 1):
        if isinstance(item, SourceFacts):
            facts = item
        else:
            number, chunk = item
            outcomes.append(map_chunk(chunk, number, plan))
    assert facts is not None  # noqa: S101  numbered_chunks yields them last
    return SourceOutcome(file, facts, outcomes)


def require_columns_of_rows(outcomes: Sequence[MapOutcome], plan: Plan) -> None:
    """Stop where a column that was asked for stands in no row of a source whose columns only its rows tell.

    Raises:
        InputError: names the column and those that there are.
    """
    mapping = mapping_of(plan.options.fields)
    columns_by_file: dict[int, dict[str, None]] = {}
    for outcome in outcomes:
        columns_by_file.setdefault(outcome.file, {}).update(dict.fromkeys(outcome.columns))
    for file, columns in columns_by_file.items():
        if columns:
            mapping.require_columns(columns, plan.names[file])
