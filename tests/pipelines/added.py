"""Runs below a root, as they lie there."""

from datetime import UTC, datetime
from pathlib import Path

from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import LOCK, RunRecord, RunState, TaskRecord, read_record, write_record


def add_run(root: Path, run_id: str, state: RunState = "succeeded", minute: int = 0) -> RunRecord:
    """Make a run's directory, its record and its row.

    It started so many minutes after ten. Its first task succeeded; its second ended with it, or runs while it does.
    """
    started_at = datetime(2026, 1, 2, 10, minute, tzinfo=UTC)
    first = TaskRecord("resolve-champion", "Resolve champion", "resolve_champion", started_at=started_at)
    first.state, first.wall_s, first.stage_s = "succeeded", 1.0, 0.5
    second = TaskRecord("build-dataset", "Build dataset", "build_dataset", needs=("resolve-champion",))
    second.state, second.started_at = "running", datetime(2026, 1, 2, 10, minute, 2, tzinfo=UTC)
    record = RunRecord(
        run_id,
        "train-classifier",
        "Train classifier",
        "local",
        started_at,
        "tunelane run train-classifier",
        {"model_name": "tickets", "data": "/data/tickets.csv"},
        {"python": "3.11.0"},
        {"cores": 2},
        (first, second, TaskRecord("gate-model", "Gate", "gate_model", needs=("build-dataset",))),
        wall_s=12.0,
    )
    if state == "succeeded":
        second.state, second.wall_s = "succeeded", 4.0
        record.tasks = record.tasks[:2]
    if state != "running":
        record.finish(state, "" if state == "succeeded" else "It went wrong.")
    directory = root / "runs" / run_id
    directory.mkdir(parents=True)
    (directory / LOCK).touch()
    write_record(directory, record)
    Journal(root).enter(record, str(directory))
    return read_record(directory)
