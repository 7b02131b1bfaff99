"""`tunelane schedule daemon`: starts the runs of this machine's schedules while it runs.

A loop over the journal, the clock and the processes. APScheduler's BlockingScheduler was the other way: it would keep a
second list of jobs beside the journal, goes by its own clock, and its limit of runs at once does not hold for a run
that an earlier daemon left behind, or that somebody started by hand.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import due_at, is_over, next_runs
from tunelane_pipelines.scheduling.starting import Slot, arguments, count_start, environment, take_slot, why_never
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.clock import Clock
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked_if_free

_LOOK_EVERY_S = 1.0
_GRACE_S = 30.0


class Process(Protocol):
    """A run that goes on, as `subprocess.Popen` shows it."""

    def poll(self) -> int | None:
        """Its exit code, or None while it goes on."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        ...


Launch = Callable[[ScheduleRecord, Path, int], Process]


def launch_run(record: ScheduleRecord, log: Path, slot: int) -> Process:
    """Start `tunelane run` with what it says going to `log`; it holds the slot until it ends."""
    with log.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603 - our own command
            arguments(record),
            cwd=record.directory,
            env=environment(record),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            pass_fds=(slot,),
            # Ctrl-C is for the daemon, which tells its runs.
            start_new_session=True,
        )


class Daemon:
    """The schedules below a root that no timer starts.

    Args:
        store: the journal.
        clock: the time.
        say: takes a line about what happens.
        launch: starts a run.
    """

    def __init__(
        self, store: ScheduleStore, clock: Clock, say: Callable[[str], None], launch: Launch = launch_run
    ) -> None:
        self._store = store
        self._clock = clock
        self._say = say
        self._launch = launch
        self._running: list[tuple[str, Process, Path]] = []
        self._failures: list[str] = []
        self._is_stopping = False

    def stop(self) -> None:
        """Have `run` end; may be called from a signal's handler."""
        self._is_stopping = True

    def run(self) -> None:
        """Start runs until stopped; runs that still go on then are ended.

        Raises:
            InputError: another daemon runs below this root.
        """
        with _alone(self._store):
            try:
                while not self._is_stopping:
                    self.look()
                    self._clock.sleep(_LOOK_EVERY_S)
            finally:
                self._end_runs()

    def look(self) -> None:
        """Take note of what has ended, and start what is due."""
        now = self._clock.now()
        self._reap()
        failures: list[str] = []
        records: list[ScheduleRecord] = []
        try:
            records = self._store.records()
        except TunelaneError as error:
            # A journal that cannot be read now may be read in a second.
            failures.append(str(error))
        for record in records:
            if record.starter == "daemon" and record.state == "active" and not record.pending:
                try:
                    self._look_at(record, now)
                except TunelaneError as error:
                    # What keeps one schedule from its runs keeps no other from them.
                    failures.append(f"{record.name}: {error}")
        for failure in failures:
            # Not every second as long as it lasts.
            if failure not in self._failures:
                self._say(failure)
        self._failures = failures

    def _look_at(self, record: ScheduleRecord, now: datetime) -> None:
        due = due_at(record.recurrence, record.settled_until or record.created_at, now)
        if due is None:
            if is_over(record.recurrence, record.started_runs, now):
                changed = self._store.change(record.name, partial(_completed, now=now))
                if changed.state == "completed":
                    self._say(f"{record.name}: completed")
            return
        slot = take_slot(self._store, record)
        if slot is not None:
            self._start(record, slot, now)
        elif not record.recurrence.catch_up:
            self._store.change(record.name, partial(_settled, now=now))
            self._say(f"{record.name}: left out, {record.recurrence.max_concurrent_runs} going on, which is its limit")

    def _start(self, record: ScheduleRecord, slot: Slot, now: datetime) -> None:
        log = self._store.lock(record.name).parent / f"run-{slot.number}.log"
        try:
            # Before the start: a run is left out rather than started twice.
            changed, reason = count_start(self._store, record.name, now, partial(self._why_not, now=now))
            if reason:
                return
            process = self._launch(changed, log, slot.handle)
        except OSError as error:
            self._fail(record.name, f"it did not start: {error}")
            return
        finally:
            os.close(slot.handle)
        self._running.append((record.name, process, log))
        following = next_runs(changed.recurrence, now, 1) if changed.state == "active" else []
        self._say(f"{record.name}: started, {f'next {following[0]:%Y-%m-%d %H:%M %Z}' if following else 'the last'}")

    def _why_not(self, record: ScheduleRecord, now: datetime) -> str:
        """Give why nothing is to be started of a record that may have changed since it was due, or nothing."""
        if due_at(record.recurrence, record.settled_until or record.created_at, now) is None:
            return "is due no more"
        return why_never(record, self._store.root)

    def _reap(self) -> None:
        going_on = []
        for name, process, log in self._running:
            code = process.poll()
            if code is None:
                going_on.append((name, process, log))
            elif code == 0:
                self._say(f"{name}: ended well")
            else:
                self._fail(name, f"exit code {code}: {_last_line(log)} (all of it in {log})")
        self._running = going_on

    def _fail(self, name: str, why: str) -> None:
        self._say(f"{name}: failed, {why}")
        # It may have been deleted meanwhile, and what matters was said.
        with suppress(TunelaneError):
            self._store.change(name, lambda record: replace(record, last_error=why))

    def _end_runs(self) -> None:
        for _, process, _ in self._running:
            process.terminate()
        for name, process, _ in self._running:
            try:
                process.wait(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._say(f"{name}: ended with the daemon")


def _settled(record: ScheduleRecord, now: datetime) -> ScheduleRecord:
    # An update settles for itself.
    return record if record.pending else replace(record, settled_until=now)


def _completed(record: ScheduleRecord, now: datetime) -> ScheduleRecord:
    """Give a record that is over as completed; one that somebody changed meanwhile as it is."""
    is_completed = record.state == "active" and not record.pending
    if is_completed and is_over(record.recurrence, record.started_runs, now):
        return replace(record, state="completed")
    return record


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        return f"{log}: {error.strerror}"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


@contextmanager
def _alone(store: ScheduleStore) -> Iterator[None]:
    path = store.root / "schedules" / "daemon.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}. Choose another root: --root.") from error
    with locked_if_free(path) as is_free:
        if not is_free:
            raise InputError(f"A daemon runs below {store.root} already. Stop that one first.")
        yield
