"""Runs below a root, as they lie there."""

from datetime import UTC, datetime
from pathlib import Path

from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.record import LOCK, Remote, RunRecord, RunState, TaskRecord, read_record, write_record

SERVICE = "vertex p/europe-west4"
"""The service that remote runs are at: the one of `tests.pipelines.service`."""


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


def add_remote(root: Path, run_id: str, state: RunState = "running", resource: str = "", minute: int = 0) -> Entry:
    """Make the directory, record and row of a run at a service, which started so many minutes after ten."""
    record = add_run(root, run_id, "running", minute)
    record.target, record.state, record.service = "vertex", state, SERVICE
    record.remote = Remote(resource, f"https://console/{run_id}") if resource else None
    write_record(root / "runs" / run_id, record)
    journal = Journal(root)
    journal.enter(record, "")
    return next(entry for entry in journal.entries() if entry.run_id == run_id)
