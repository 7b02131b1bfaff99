"""Ending a run before its end, wherever it runs. Doing it again changes nothing."""

import os
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tunelane_pipelines.runs.finding import find_run
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.looking import look, recorded
from tunelane_pipelines.runs.quiet import quiet_left_min
from tunelane_pipelines.runs.record import ENDED, LOCK, RunRecord, write_record
from tunelane_pipelines.runs.services import Opener, opened
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteTarget
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked_if_free

NEVER_STARTED = "It never started."

_LOCKS = Path("/proc/locks")
_GRACE = timedelta(seconds=30)
_POLL_S = 0.2


def cancel_run(root: Path, entry: Entry, opener: Opener, clock: Clock) -> RunRecord:
    """Have a run ended; gives its record, as which it may go on for a while. Nothing happens where it has ended.

    Raises:
        Elsewhere: it belongs to another service than the settings in force name.
        InputError: it is being submitted at this moment, or its local command is not to be found.
        TunelaneError: the service does not answer, or its answer is no; or its request may still be on its way.
    """
    if entry.state in ENDED:
        return recorded(entry)
    if not entry.is_remote:
        return _end_command(root, entry, clock)
    if entry.state not in ("submitting", "needs-resume"):
        return _cancel(root, entry, opened(entry, entry.run_id, opener), clock)
    # Who submits or resumes it holds the lock: a run that is sent after it was looked for would go on.
    with locked_if_free(Path(entry.place) / LOCK) as is_free:
        if not is_free:
            raise InputError(f"{entry.run_id} is being submitted by another command. Cancel it when that has ended.")
        found = find_run(root, entry.run_id)
        if found.state in ENDED:
            return recorded(found)
        return _cancel(root, found, opened(found, found.run_id, opener), clock)


def _cancel(root: Path, entry: Entry, target: RemoteTarget, clock: Clock) -> RunRecord:
    # Looked at first: a submission that was cut short may have started a run, and one that goes on may have ended.
    record = look(root, entry, target, clock)
    if record.state in ENDED:
        return record
    resource = record.remote.resource if record.remote else ""
    if not resource:
        left_min = quiet_left_min(record, clock.now())
        if left_min:
            raise TunelaneError(
                f"{target.service} does not have {entry.run_id}, but its request may still be on its way. Cancel it "
                f"again in {left_min} min."
            )
        record.finish("cancelled", NEVER_STARTED)
        write_record(Path(entry.place), record)
        Journal(root).enter(record, entry.place)
        return record
    retried(lambda: target.cancel(resource), clock)
    return look(root, entry._replace(resource=resource), target, clock)


def _end_command(root: Path, entry: Entry, clock: Clock) -> RunRecord:
    """End the command that carries a local run on; it ends the run's tasks."""
    pid = _holder(Path(entry.place) / LOCK)
    if pid is None:
        raise InputError(f"The command of {entry.run_id} is not to be found. End it where it runs, with Ctrl-C.")
    # It may end by itself just now.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = clock.now() + _GRACE
    while clock.now() < until:
        found = find_run(root, entry.run_id)
        if found.state in ENDED:
            return recorded(found)
        clock.sleep(_POLL_S)
    return recorded(find_run(root, entry.run_id))


def _holder(lock: Path) -> int | None:
    """The process that holds the lock on a file, or None where the system does not say.

    https://man7.org/linux/man-pages/man5/proc_locks.5.html: number, kind, advisory or not, access, process,
    major:minor:inode, range.
    """
    try:
        inode = str(lock.stat().st_ino)
        lines = [line.split() for line in _LOCKS.read_text().splitlines()]
        held = [int(fields[4]) for fields in lines if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode]
        # An inode is one of its device's only, and devices of layered file systems go by two numbers.
        return next((pid for pid in held if _has_open(pid, lock)), None)
    except (OSError, ValueError, IndexError):
        return None


def _has_open(pid: int, path: Path) -> bool:
    try:
        return any(link.exists() and link.samefile(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
