"""The start of a run that a schedule of this machine is due for: a slot, a command, an environment."""

import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from tunelane_pipelines.defaults import PARAMETER_BY_SETTING
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.record import SCHEDULE_VARIABLE
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import is_over
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_serving.errors import InputError
from tunelane_serving.files import locked_if_free

KEPT_VARIABLES = (
    "TUNELANE_REGISTRY_URI",
    "TUNELANE_DEPLOYMENT_URI",
    "TUNELANE_BASE_MODEL",
    *(f"TUNELANE_{section}__{field}".upper() for section, field in PARAMETER_BY_SETTING),
)
"""Settings of a run that a shell may have and a timer has not."""


# A timer comes a moment after the time that it is due.
_LATE = timedelta(minutes=1)


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
    limit = record.recurrence.max_concurrent_runs
    for number in range(limit):
        path = directory / f"slot-{number}.lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror}. Choose another root: --root.") from error
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_full(directory, number, limit):
                return Slot(number, handle)
        os.close(handle)
    return None


def _is_full(directory: Path, taken: int, limit: int) -> bool:
    """Whether enough runs go on beside the slot that was just taken: some may be left from a higher limit."""
    numbers = {int(path.stem.removeprefix("slot-")) for path in directory.glob("slot-*.lock")}
    beyond = sum(_is_held(directory, number) for number in numbers if number >= limit)
    # Others are looked at only where that matters: who looks holds a slot for a moment.
    return beyond > 0 and beyond + sum(_is_held(directory, number) for number in set(range(limit)) - {taken}) >= limit


def _is_held(directory: Path, number: int) -> bool:
    path = directory / f"slot-{number}.lock"
    with locked_if_free(path) as is_free:
        return path.exists() and not is_free


def arguments(record: ScheduleRecord) -> list[str]:
    """Give the command that a run is."""
    return [sys.executable, "-m", "tunelane_pipelines.cli", *record.command]


def environment(record: ScheduleRecord) -> dict[str, str]:
    """Give the environment of a run."""
    return {**os.environ, **record.environment, SCHEDULE_VARIABLE: record.name}


def count_start(
    store: ScheduleStore, name: str, now: datetime, why_not: Callable[[ScheduleRecord], str]
) -> tuple[ScheduleRecord, str]:
    """Count a run before it is started, unless `why_not` gives a reason of the schedule as it is by then.

    Somebody may have paused or changed it since it was read. Gives the record as it is now, and the reason or nothing.
    """
    why = ""

    def edit(fresh: ScheduleRecord) -> ScheduleRecord:
        nonlocal why
        why = why_not(fresh)
        return fresh if why else started(fresh, now)

    return store.change(name, edit), why


def started(record: ScheduleRecord, now: datetime) -> ScheduleRecord:
    """Give the record with one more run."""
    count = record.started_runs + 1
    state = "completed" if is_over(record.recurrence, count, now) else record.state
    return replace(record, started_runs=count, last_run_at=now, settled_until=now, last_error="", state=state)


def why_never(record: ScheduleRecord, root: Path) -> str:
    """Give why a schedule below `root` starts no run on this machine, at whatever time, or nothing."""
    if record.starter == "":
        submit = again(f"submit {record.pipeline} --target {record.target}", root)
        return f"is kept by {record.service or record.target}; start a run there with: {submit}"
    if record.pending:
        return f"needs to be resumed first: {again(f'schedule continue {record.name}', root)}"
    if record.state != "active":
        return f"is {record.state}"
    max_runs = record.recurrence.max_runs
    if max_runs is not None and record.started_runs >= max_runs:
        return f"has started its {max_runs} runs"
    return ""


def why_not(record: ScheduleRecord, now: datetime, root: Path) -> str:
    """Give why a schedule below `root` starts no run on this machine now, or nothing."""
    recurrence = record.recurrence
    if why := why_never(record, root):
        return why
    if recurrence.starts_at is not None and now < recurrence.starts_at:
        return f"starts at {recurrence.starts_at.isoformat()}"
    if recurrence.ends_at is not None and now > recurrence.ends_at + _LATE:
        return f"ended at {recurrence.ends_at.isoformat()}"
    return ""
