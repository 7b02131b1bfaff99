"""The map step over all sources: read here and mapped chunk by chunk, or read where the tasks run."""

from collections.abc import Iterator, Sequence
from functools import partial

from tunelane_components.etl.progress import BuildProgress, OnProgress
from tunelane_components.etl.shuffle.local import Runner
from tunelane_components.etl.shuffle.map import MapOutcome
from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.shuffle.read import SourceOutcome, numbered_chunks
from tunelane_components.etl.shuffle.tasks import MapTask, SourceTask
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.sources.find import SourceFile

Mapped = tuple[list[MapOutcome], list[SourceFacts]]
"""What became of every chunk, in the order of their numbers, and what was found of every source."""


def map_chunks(sources: Sequence[SourceFile], plan: Plan, runner: Runner, progress: OnProgress) -> Mapped:
    """Read every source in this process, and have its chunks mapped."""
    facts: list[SourceFacts] = []
    total = sum(source.size_bytes for source in sources)

    def tasks() -> Iterator[MapTask]:
        before = 0
        for file, source in enumerate(sources):
            said = partial(_say_read, progress, before, total)
            for item in numbered_chunks(source, file, plan.options, is_alone=len(sources) == 1, on_read=said):
                if isinstance(item, SourceFacts):
                    facts.append(item)
                else:
                    yield MapTask(*item)
            before += source.size_bytes

    mapped = [outcome for outcome in runner.run(tasks()) if isinstance(outcome, MapOutcome)]
    return sorted(mapped, key=lambda outcome: outcome.number), facts


def map_sources(sources: Sequence[SourceFile], _: Plan, runner: Runner, progress: OnProgress) -> Mapped:
    """Have every source read and mapped where the tasks run."""
    progress(BuildProgress("read", 0, len(sources), "files"))
    tasks = (SourceTask(file, source) for file, source in enumerate(sources))
    outcomes = [outcome for outcome in runner.run(tasks) if isinstance(outcome, SourceOutcome)]
    outcomes.sort(key=lambda outcome: outcome.file)
    return [chunk for outcome in outcomes for chunk in outcome.chunks], [outcome.facts for outcome in outcomes]


def _say_read(progress: OnProgress, before: int, total: int, read_bytes: int) -> None:
    progress(BuildProgress("read", before + read_bytes, total, "bytes"))
