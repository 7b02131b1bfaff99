"""The start of a run that a schedule of this machine is due for: a slot, a command, an environment."""

import fcntl
import os
import sys
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from tunelane_pipelines.defaults import PARAMETER_BY_SETTING
from tunelane_pipelines.runs.record import SCHEDULE_VARIABLE
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import is_over
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_serving.errors import InputError

KEPT_VARIABLES = (
    "TUNELANE_REGISTRY_URI",
    "TUNELANE_DEPLOYMENT_URI",
    "TUNELANE_BASE_MODEL",
    *(f"TUNELANE_{section}__{field}".upper() for section, field in PARAMETER_BY_SETTING),
)
"""Settings of a run that a shell may have and a timer has not."""


class Slot(NamedTuple):
    """One of the places of runs that may go on at once; `handle` is the open file that holds it."""

    number: int
    handle: int


def take_slot(store: ScheduleStore, record: ScheduleRecord) -> Slot | None:
    """Take a place for a run, or None where all are taken.

    A place is free again when every process that has the file open has ended, however that happens: it is handed on to
    the run, so that a run whose starter was killed still counts.

    Raises:
        InputError: the file cannot be written.
    """
    directory = store.lock(record.name).parent
    for number in range(record.recurrence.max_concurrent_runs):
        path = directory / f"slot-{number}.lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror}. Choose another root: --root.") from error
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Slot(number, handle)
        os.close(handle)
    return None


def arguments(record: ScheduleRecord) -> list[str]:
    """Give the command that a run is."""
    return [sys.executable, "-m", "tunelane_pipelines.cli", *record.command]


def environment(record: ScheduleRecord) -> dict[str, str]:
    """Give the environment of a run."""
    return {**os.environ, **record.environment, SCHEDULE_VARIABLE: record.name}


def started(record: ScheduleRecord, now: datetime) -> ScheduleRecord:
    """Give the record with one more run."""
    count = record.started_runs + 1
    state = "completed" if is_over(record.recurrence, count, now) else record.state
    return replace(record, started_runs=count, last_run_at=now, settled_until=now, last_error="", state=state)


def why_not(record: ScheduleRecord, now: datetime) -> str:
    """Give why a schedule starts no run now, or nothing."""
    recurrence = record.recurrence
    if record.starter == "":
        return f"is kept by {record.target}; start a run there with: tunelane submit {record.pipeline}"
    if record.pending:
        return f"needs to be resumed first: tunelane schedule continue {record.name}"
    if record.state != "active":
        return f"is {record.state}"
    if recurrence.starts_at is not None and now < recurrence.starts_at:
        return f"starts at {recurrence.starts_at.isoformat()}"
    if recurrence.ends_at is not None and now > recurrence.ends_at:
        return f"ended at {recurrence.ends_at.isoformat()}"
    return ""
