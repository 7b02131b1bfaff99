"""A service's view of a run, put into our record of it. Nothing is asked or written here."""

import re
from datetime import datetime

from tunelane_pipelines.runs.journal import Entry, Journal, entry_of
from tunelane_pipelines.runs.masking import mask, mask_values
from tunelane_pipelines.runs.record import ENDED, Remote, RunRecord, TaskRecord, TaskState
from tunelane_pipelines.targets.target import RemoteRun, RemoteTarget, RemoteTask

# What a task came to that a service calls running after its run has ended.
_LAST_BY_RUN: dict[str, TaskState] = {"succeeded": "succeeded", "failed": "failed"}
_NO_FILE_NAME = re.compile(r"^\.+|[^\w.-]")


def run_id_of(run: RemoteRun) -> str:
    """Our id of a run: its label, or of one that a schedule started, the last part of the service's name of it."""
    return _NO_FILE_NAME.sub("-", run.run_id or run.resource.rpartition("/")[2])


def record_of(run: RemoteRun, target: RemoteTarget, tasks: tuple[TaskRecord, ...]) -> RunRecord:
    """The record of a run that was not submitted from here.

    Args:
        run: as the service sees it.
        target: the service.
        tasks: those of its pipeline, where that is one of ours.
    """
    parameters = {name: value for name, value in run.parameters.items() if isinstance(value, str | int | float | bool)}
    return RunRecord(
        run_id_of(run),
        run.pipeline,
        run.display_name,
        target.name,
        run.created_at,
        command="",
        parameters=mask_values(parameters),
        versions={},
        machine={},
        tasks=tasks,
        service=target.service,
    )


def update(record: RunRecord, run: RemoteRun, now: datetime) -> None:
    """Make a record say what the service says: state, times, tasks."""
    record.remote = Remote(run.resource, run.console_url, run.schedule or (record.remote or Remote("")).schedule)
    record.wall_s = _seconds(record.started_at, run.ended_at or now)
    for seen in run.tasks:
        _update_task(_task_named(record, seen.name), seen, run.ended_at or now)
    if run.state not in ENDED:
        _reopen(record, run)
    record.state, record.error = run.state, mask(run.error)
    if record.state in ENDED:
        for task in record.tasks:
            if task.state == "pending":
                task.state = "skipped"
            elif task.state == "running":
                task.state = _LAST_BY_RUN.get(run.state, "interrupted")
    if run.state == "failed":
        record.error = _failure(record)


def row_of(journal: Journal, run: RemoteRun, target: RemoteTarget, known: Entry | None, now: datetime) -> Entry:
    """The row that a run in a service's list makes, with what was known of it before."""
    if known is not None:
        return known._replace(
            state=run.state,
            wall_s=_seconds(known.started_at, run.ended_at or now),
            # A list is short of the words that a look at the run gives.
            error=mask(run.error) or (known.error if known.state == run.state else ""),
            resource=run.resource,
            console_url=run.console_url,
            schedule=run.schedule or known.schedule,
            service=target.service,
        )
    record = record_of(run, target, ())
    update(record, run, now)
    return entry_of(record, str(journal.place(record.run_id)))


def record_of_row(entry: Entry) -> RunRecord:
    """What is known of a run that was never looked at."""
    return RunRecord(
        entry.run_id,
        entry.pipeline,
        entry.pipeline,
        entry.target,
        entry.started_at,
        command="",
        parameters={"model_name": entry.model} if entry.model else {},
        versions={},
        machine={},
        tasks=(),
        state=entry.state,
        wall_s=entry.wall_s,
        error=entry.error,
        remote=Remote(entry.resource, entry.console_url, entry.schedule),
        service=entry.service,
    )


def overlaid(record: RunRecord, entry: Entry) -> RunRecord:
    """A record with the state of its row: a service's list brings rows up to date, and records are left as they are."""
    if record.state != entry.state:
        record.state, record.wall_s, record.error = entry.state, entry.wall_s, entry.error
    return record


def _reopen(record: RunRecord, run: RemoteRun) -> None:
    """Take back the end of a run that goes on after all: tasks that the service does not name have not begun."""
    named = {seen.name for seen in run.tasks}
    for task in record.tasks:
        if task.state in ("skipped", "interrupted") and task.name not in named:
            task.state = "pending"


def _failure(record: RunRecord) -> str:
    """What ended a run: the first failed task with its error, else the service's words."""
    failed = next((task for task in record.tasks if task.state == "failed" and task.error), None)
    if failed is None:
        return record.error or "The service gives no reason."
    # A task's own words may be many lines, a traceback's for instance; a run's are one.
    return " ".join(f"{failed.name}: {failed.error}".split())


def _update_task(task: TaskRecord, seen: RemoteTask, until: datetime) -> None:
    state: TaskState = "interrupted" if seen.state == "cancelled" else seen.state
    task.state, task.error, task.log_url = state, mask(seen.error), seen.log_url
    task.started_at = seen.started_at
    if seen.started_at is not None and state not in ("pending", "skipped"):
        task.wall_s = _seconds(seen.started_at, seen.ended_at or until)
        task.stage_s = task.wall_s


def _task_named(record: RunRecord, name: str) -> TaskRecord:
    """A task of the record; added at its end where the DAG did not name it (a loop's)."""
    found = record.task(name)
    if found is None:
        found = TaskRecord(name, name, name.replace("-", "_"))
        record.tasks = (*record.tasks, found)
    return found


def _seconds(start: datetime, end: datetime) -> float:
    # Two clocks: the service's, and this machine's.
    return round(max((end - start).total_seconds(), 0.0), 3)
