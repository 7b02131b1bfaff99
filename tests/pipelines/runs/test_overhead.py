"""What of a run's time was no stage's own work: its parts sum to the whole."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.runs.overhead import overhead
from tunelane_pipelines.runs.record import RunRecord, TaskRecord

_STARTED_AT = datetime(2026, 1, 2, tzinfo=UTC)
_SECONDS = st.floats(0, 1000).map(lambda seconds: round(seconds, 3))


def _task(
    name: str, start_s: float, wall_s: float, stage_s: float, state: Any = "succeeded", *, exit_s: float = 0.0
) -> TaskRecord:
    started_at = _STARTED_AT + timedelta(seconds=start_s)
    times = {"wall_s": wall_s, "stage_s": stage_s, "exit_s": exit_s}
    return TaskRecord(name, name, name, state=state, started_at=started_at, **times)


def _record(wall_s: float, *tasks: TaskRecord) -> RunRecord:
    return RunRecord("r", "p", "P", "local", _STARTED_AT, "", {}, {}, {}, tasks, wall_s=wall_s)


def test_each_part_is_told() -> None:
    found = overhead(
        _record(20.0, _task("a", 2.0, 5.0, 4.0), _task("b", 8.0, 10.0, 7.0, exit_s=2.5), TaskRecord("c", "c", "c"))
    )
    assert found is not None
    assert (found.start_s, found.tasks_s, found.longest_task_s, found.exits_s) == (2.0, 1.5, 1.0, 2.5)
    assert (found.between_s, found.end_s, found.total_s) == (1.0, 2.0, 9.0)


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_the_work_of_a_task_that_did_not_get_through_is_no_overhead(state: str) -> None:
    record = _record(100.0, _task("a", 1.0, 1.0, 0.5), _task("b", 2.0, 0.0, 0.0, "running"))
    record.finish(state)  # type: ignore[arg-type]
    found = overhead(record)
    assert found is not None
    assert (found.start_s, found.tasks_s, found.between_s, found.end_s, found.total_s) == (1.0, 0.5, 0.0, 0.0, 1.5)


def test_a_run_without_a_task_has_none() -> None:
    assert overhead(_record(3.0, TaskRecord("a", "a", "a"))) is None


@given(st.lists(st.tuples(_SECONDS, _SECONDS, st.floats(0, 1)), min_size=1, max_size=6), _SECONDS, st.booleans())
def test_the_parts_sum_to_the_whole(parts: list[tuple[float, float, float]], end_s: float, failed: bool) -> None:
    at_s, tasks = 0.0, []
    for number, (gap_s, wall_s, share) in enumerate(parts):
        at_s += gap_s
        stage_s = round(share * wall_s, 3)
        tasks.append(_task(str(number), at_s, wall_s, stage_s, exit_s=round(share * (wall_s - stage_s), 3)))
        at_s += wall_s
    if failed:
        tasks[-1].state = "failed"
    found = overhead(_record(at_s + end_s, *tasks))
    assert found is not None
    told = (found.start_s, found.tasks_s, found.exits_s, found.between_s, found.end_s)
    assert sum(told) == pytest.approx(found.total_s, abs=0.003)
    assert min(told) >= -0.001
    assert found.longest_task_s <= found.tasks_s + 0.001
