"""`tunelane schedule trigger`: what a timer calls. The process becomes the run."""

import os
import sys
from datetime import datetime

import typer

from tunelane_pipelines.scheduling.starting import arguments, count_start, environment, take_slot, why_not
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_serving.errors import InputError


def trigger(store: ScheduleStore, name: str, now: datetime) -> None:
    """Start a schedule's run in place of this process, unless it is paused or as many as may be go on already.

    Raises:
        InputError: there is no such schedule, it is no longer on this machine, or its directory is gone.
    """
    record = store.record(name)
    reason = why_not(record, now, store.root)
    slot = None if reason else take_slot(store, record)
    if slot is None:
        reason = reason or f"has {record.recurrence.max_concurrent_runs} going on, which is its limit"
        _say_nothing_started(name, reason)
        return
    try:
        os.chdir(record.directory)
    except OSError as error:
        raise InputError(f"{record.directory}: {error.strerror}. Create schedule {name} anew elsewhere.") from error
    record, reason = count_start(store, name, now, lambda fresh: why_not(fresh, now, store.root))
    if reason:
        _say_nothing_started(name, reason)
        return
    # The run keeps the slot: the kernel frees it when the run ends.
    os.set_inheritable(slot.handle, True)
    sys.stdout.flush()
    os.execve(sys.executable, arguments(record), environment(record))  # noqa: S606 - our own command, and no shell


def _say_nothing_started(name: str, reason: str) -> None:
    # No error: a timer that fails every night would be looked into for nothing.
    typer.echo(f"Nothing started: {name} {reason}.")
