"""The tasks of a build: pure functions of what they say and of the workspace, for any process on any machine."""

import msgspec

from tunelane_components.etl.shuffle.map import MapOutcome, map_chunk
from tunelane_components.etl.shuffle.plan import Decisions, Plan
from tunelane_components.etl.shuffle.read import SourceOutcome, map_source
from tunelane_components.etl.shuffle.reduce import ReduceOutcome, reduce_partition
from tunelane_components.etl.sources.chunks import Chunk
from tunelane_components.etl.sources.find import SourceFile


class MapTask(msgspec.Struct, frozen=True, tag="map"):
    """Check the rows of a chunk and spill its candidates."""

    number: int
    chunk: Chunk


class SourceTask(msgspec.Struct, frozen=True, tag="source"):
    """Read a whole source and map it: for machines that share no pipe with the one that asks."""

    file: int
    source: SourceFile


class ReduceTask(msgspec.Struct, frozen=True, tag="reduce"):
    """Decide on the candidates of a partition; `slices` are (chunk, start, end) in the spills."""

    partition: int
    slices: list[tuple[int, int, int]]
    decisions: Decisions


class NearTask(msgspec.Struct, frozen=True, tag="near"):
    """Find the training texts of a partition that nearly repeat a held-out one."""

    partition: int


class NearOutcome(msgspec.Struct, frozen=True, tag="near"):
    """How many were found."""

    partition: int
    found: int


Task = MapTask | SourceTask | ReduceTask | NearTask
Outcome = MapOutcome | SourceOutcome | ReduceOutcome | NearOutcome


def perform(task: Task, plan: Plan) -> Outcome:
    """Perform a task."""
    if isinstance(task, MapTask):
        return map_chunk(task.chunk, task.number, plan)
    if isinstance(task, SourceTask):
        return map_source(task.source, task.file, plan)
    if isinstance(task, ReduceTask):
        return reduce_partition(task.partition, task.slices, plan, task.decisions)
    # Imported where it is wanted: it loads what only this step needs.
    from tunelane_components.etl.shuffle.near import find_near_duplicates

    return NearOutcome(task.partition, find_near_duplicates(task.partition, plan))
