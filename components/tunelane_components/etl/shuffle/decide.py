"""From mapped chunks to the final parts: reduce, decide what depends on all rows, and reduce again if need be."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec
import numpy as np
import numpy.typing as npt

from tunelane_components.etl.shuffle.local import Runner
from tunelane_components.etl.shuffle.map import MapOutcome
from tunelane_components.etl.shuffle.plan import REPEATED_IDS, Decisions, Plan, ids_name
from tunelane_components.etl.shuffle.reduce import ReduceOutcome, total
from tunelane_components.etl.shuffle.tasks import NearOutcome, NearTask, ReduceTask, Task
from tunelane_components.etl.shuffle.workspace import Workspace

# Hashes of ids are compared in this many turns, so that memory stays a fraction of them.
_TURNS = 16

OnPhase = Callable[[str, int, int], None]
"""Told the phase, and how many of its tasks are done of how many."""


class Decided(msgspec.Struct, frozen=True):
    """The outcome, and all labels that usable texts have, whether or not `rows` left texts with them."""

    outcome: ReduceOutcome
    label_names: tuple[str, ...]


def decide(mapped: Sequence[MapOutcome], plan: Plan, runner: Runner, on_phase: OnPhase) -> Decided:
    """Reduce every partition, as often as the options need it; the parts of the last time stand in the workspace."""
    options = plan.options
    numbers = [chunk.number for chunk in mapped]
    # (chunks, partitions + 1)
    offsets = np.frombuffer(b"".join(chunk.offsets for chunk in mapped), dtype=np.uint64)
    offsets = offsets.reshape(len(mapped), plan.partitions + 1)

    def reduced(decisions: Decisions, phase: str) -> ReduceOutcome:
        tasks = (
            ReduceTask(partition, _slices(numbers, offsets, partition), decisions)
            for partition in range(plan.partitions)
        )
        outcomes = _performed(tasks, plan.partitions, runner, partial(on_phase, phase))
        return total(
            (outcome for outcome in outcomes if isinstance(outcome, ReduceOutcome)),
            rows=options.rows,
            max_per_label=options.max_per_label,
        )

    decisions = Decisions()
    outcome = reduced(decisions, "merge")
    if options.min_per_label and plan.taxonomy is None:
        rare = frozenset(name for name, count in _counts(outcome).items() if count < options.min_per_label)
        if rare:
            decisions = msgspec.structs.replace(decisions, rare_labels=rare)
            outcome = reduced(decisions, "leave out rare labels")
    label_names = tuple(sorted(_counts(outcome)))

    found = decisions
    if _find_repeated_ids(plan):
        found = msgspec.structs.replace(found, ids_repeat=True)
    if options.rows and outcome.texts > options.rows:
        found = msgspec.structs.replace(found, last_kept=max(outcome.first_kept))
    if found != decisions:
        decisions = found
        outcome = reduced(decisions, "cut")

    if options.near_duplicate_threshold:
        tasks = (NearTask(partition) for partition in range(plan.partitions))
        outcomes = _performed(tasks, plan.partitions, runner, partial(on_phase, "near-duplicates"))
        if sum(near.found for near in outcomes if isinstance(near, NearOutcome)):
            decisions = msgspec.structs.replace(decisions, near_duplicates=True)
            outcome = reduced(decisions, "drop near-duplicates")

    # Counted only now: what a cap leaves must not be dropped for another reason.
    caps = {
        label: max(orders)
        for label, orders in outcome.first_kept_by_label.items()
        if outcome.labels["train"].get(label, 0) > options.max_per_label
    }
    if caps:
        decisions = msgspec.structs.replace(decisions, last_kept_by_label=caps)
        outcome = reduced(decisions, "cap labels")
    return Decided(outcome, label_names)


def _slices(numbers: Sequence[int], offsets: npt.NDArray[np.uint64], partition: int) -> list[tuple[int, int, int]]:
    """Give (chunk, start, end) where a chunk has candidates of the partition."""
    spans = zip(numbers, offsets[:, partition].tolist(), offsets[:, partition + 1].tolist(), strict=True)
    return [(number, start, end) for number, start, end in spans if end > start]


def _performed(
    tasks: Iterable[Task], count: int, runner: Runner, on_done: Callable[[int, int], None]
) -> Iterator[object]:
    on_done(0, count)
    for done, outcome in enumerate(runner.run(tasks), start=1):
        yield outcome
        on_done(done, count)


def _counts(outcome: ReduceOutcome) -> Counter[str]:
    """Count texts by label over all splits."""
    counts: Counter[str] = Counter()
    for by_label in outcome.labels.values():
        counts.update(by_label)
    return counts


def _find_repeated_ids(plan: Plan) -> bool:
    """Leave the hashes of ids that several texts have in the workspace; say whether there are any."""
    workspace = Workspace(plan.workspace)
    turns = _TURNS if plan.partitions > 1 else 1
    repeated = []
    for turn in range(turns):
        pieces = []
        for partition in range(plan.partitions):
            hashes = np.frombuffer(workspace.read(ids_name(partition)), dtype=np.uint64)
            pieces.append(hashes[hashes % np.uint64(turns) == turn])
        ordered = np.sort(np.concatenate(pieces))
        repeated.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    found = np.concatenate(repeated)
    if found.size:
        workspace.write(REPEATED_IDS, found.tobytes())
    return bool(found.size)
