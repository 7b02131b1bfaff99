"""The daemon: what starts when, how many at once, and what it survives."""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunelane_pipelines.scheduling.daemon import Daemon
from tunelane_pipelines.scheduling.journalled import Schedules
from tunelane_pipelines.scheduling.local import DaemonKeeper
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.scheduling.starting import take_slot
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_serving.errors import InputError

_MINUTE = timedelta(minutes=1)


class Run:
    """A run that ends at a time, or when it is told to."""

    def __init__(self, machine: "Machine", log: Path, slot: int, ends_at: object, code: int) -> None:
        self._machine, self._ends_at, self._code = machine, ends_at, code
        self._slot = os.dup(slot)
        self._ended: int | None = None
        log.write_bytes(b"Began.\nIt went wrong.\n" if code else b"")

    def poll(self) -> int | None:
        if self._ended is None and self._machine.clock.now() >= self._ends_at:
            self._end(self._code)
        return self._ended

    def terminate(self) -> None:
        if self._ended is None:
            self._end(130)

    def kill(self) -> None:
        self.terminate()

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - as Popen's
        return self._ended or 0

    def _end(self, code: int) -> None:
        self._ended = code
        os.close(self._slot)
        self._machine.going_on -= 1


class Machine:
    """Where runs go on for a while: how many at once is written down."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.lasts = timedelta(minutes=10)
        self.code = 0
        self.starts: list[Any] = []
        self.going_on = self.most = 0
        self.refuses = False

    def launch(self, _record: ScheduleRecord, log: Path, slot: int) -> Run:
        if self.refuses:
            raise OSError(11, "Resource temporarily unavailable")
        self.going_on += 1
        self.most = max(self.most, self.going_on)
        self.starts.append(self.clock.now())
        return Run(self, log, slot, self.clock.now() + self.lasts, self.code)


class Bench:
    """A daemon with what it looks at and what it says."""

    def __init__(self, store: ScheduleStore, clock: Any) -> None:
        self.store, self.clock = store, clock
        self.machine = Machine(clock)
        self.said: list[str] = []
        self.daemon = self.another()

    def another(self) -> Daemon:
        return Daemon(self.store, self.clock, self.said.append, self.machine.launch)

    def let_pass(self, time: timedelta) -> None:
        """Let the daemon look every half minute; it looks every second in truth."""
        until = self.clock.now() + time
        while self.clock.now() < until:
            self.daemon.look()
            self.clock.sleep(30)
        self.daemon.look()

    def starts(self) -> list[str]:
        return [f"{start:%H:%M}" for start in self.machine.starts]


@pytest.fixture
def bench(store: ScheduleStore, clock: Any) -> Bench:
    return Bench(store, clock)


def test_a_schedule_fires_three_times(bench: Bench, hourly: Callable[..., ScheduleRecord]) -> None:
    bench.store.add(hourly())
    bench.let_pass(timedelta(hours=3))
    assert bench.starts() == ["11:00", "12:00", "13:00"]
    record = bench.store.record("nightly")
    assert (record.started_runs, record.last_run_at) == (3, bench.machine.starts[-1])


@pytest.mark.parametrize(("limit", "most", "starts"), [(1, 1, 2), (2, 2, 3)])
def test_no_more_than_the_allowed_number_run_at_once_and_the_rest_is_left_out(
    limit: int, most: int, starts: int, bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.machine.lasts = timedelta(minutes=90)
    bench.store.add(hourly(max_concurrent_runs=limit))
    bench.let_pass(timedelta(hours=3))
    assert (bench.machine.most, len(bench.machine.starts)) == (most, starts)
    assert any("left out, 1 going on" in line for line in bench.said) == (limit == 1)


def test_a_schedule_that_catches_up_waits_for_its_turn(bench: Bench, hourly: Callable[..., ScheduleRecord]) -> None:
    bench.machine.lasts = timedelta(minutes=90)
    bench.store.add(hourly(catch_up=True))
    bench.let_pass(timedelta(hours=3))
    assert bench.starts() == ["11:00", "12:30"]
    assert bench.machine.most == 1


@pytest.mark.parametrize(("catch_up", "starts"), [(False, ["14:00"]), (True, ["13:30", "14:00"])])
def test_what_fell_due_while_no_daemon_ran_is_caught_up_with_in_one_run_or_left_out(
    catch_up: bool, starts: list[str], bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.store.add(hourly(catch_up=catch_up))
    bench.clock.time += timedelta(hours=3)
    bench.let_pass(timedelta(hours=1))
    assert bench.starts() == starts


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_pause_is_caught_up_with_only_if_that_is_said(
    catch_up: bool, bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    schedules = Schedules(bench.store, DaemonKeeper(), bench.clock)
    schedules.create(hourly(catch_up=True))
    schedules.pause("nightly")
    bench.let_pass(timedelta(hours=3))
    assert bench.machine.starts == []
    schedules.resume("nightly", catch_up=catch_up)
    bench.daemon.look()
    assert len(bench.machine.starts) == catch_up


def test_a_failing_run_is_said_and_survived(bench: Bench, hourly: Callable[..., ScheduleRecord]) -> None:
    bench.machine.code = 1
    bench.store.add(hourly())
    bench.let_pass(timedelta(hours=1))
    assert "failed, exit code 1: It went wrong." in bench.said[-1]
    assert "It went wrong." in bench.store.record("nightly").last_error
    bench.machine.refuses = True
    bench.let_pass(timedelta(hours=1))
    assert "it did not start" in bench.store.record("nightly").last_error
    bench.machine.refuses, bench.machine.code = False, 0
    bench.let_pass(timedelta(hours=1))
    assert (len(bench.machine.starts), bench.store.record("nightly").last_error) == (2, "")


def test_a_schedule_ends_after_its_runs_and_at_its_end(bench: Bench, hourly: Callable[..., ScheduleRecord]) -> None:
    bench.store.add(hourly("few", max_runs=2))
    bench.store.add(hourly("short", ends_at="2090-11-02T11:30+00:00"))
    bench.let_pass(timedelta(hours=5))
    assert {record.name: (record.state, record.started_runs) for record in bench.store.records()} == {
        "few": ("completed", 2),
        "short": ("completed", 1),
    }


def test_what_a_timer_starts_or_is_pending_is_not_the_daemons(
    bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.store.add(replace(hourly("timed"), starter="systemd"))
    bench.store.add(replace(hourly("remote"), starter="", target="vertex"))
    bench.store.add(replace(hourly("half"), pending="update"))
    bench.let_pass(timedelta(hours=3))
    assert bench.machine.starts == []


def test_a_run_that_another_starter_left_counts(bench: Bench, hourly: Callable[..., ScheduleRecord]) -> None:
    bench.store.add(hourly())
    slot = take_slot(bench.store, hourly())
    assert slot is not None
    bench.let_pass(timedelta(hours=1))
    assert bench.machine.starts == []
    os.close(slot.handle)
    bench.let_pass(timedelta(hours=1))
    assert len(bench.machine.starts) == 1


def test_a_lower_limit_counts_the_runs_that_a_higher_one_left(
    bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.machine.lasts = timedelta(minutes=90)
    bench.store.add(hourly(cron="*/10 * * * *", max_concurrent_runs=2))
    bench.let_pass(timedelta(minutes=30))
    lower = changed(hourly(cron="*/10 * * * *").recurrence, max_concurrent_runs=1)
    Schedules(bench.store, DaemonKeeper(), bench.clock).update("nightly", lower)
    bench.let_pass(timedelta(minutes=100))
    # The first of the two ended at 12:10, when the other still went on.
    assert bench.starts() == ["10:40", "10:50", "12:20"]


def test_stopping_ends_the_runs_and_two_daemons_are_refused(
    bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.store.add(hourly())
    bench.machine.lasts = timedelta(days=1)
    refused: list[str] = []

    def until_it_runs() -> None:
        if bench.machine.going_on and not refused:
            try:
                bench.another().run()
            except InputError as error:
                refused.append(str(error))
            bench.daemon.stop()

    bench.clock.on_sleep = until_it_runs
    bench.clock.time += 29 * _MINUTE
    bench.daemon.run()
    assert "runs below" in refused[0]
    assert (bench.machine.going_on, bench.said[-1]) == (0, "nightly: ended with the daemon")


def test_a_journal_that_cannot_be_read_now_is_read_later(bench: Bench, hourly: Callable[..., ScheduleRecord]) -> None:
    bench.store.add(hourly())
    kept = bench.store.path.read_bytes()
    bench.store.path.write_bytes(b"no database" * 100)
    bench.daemon.look()
    assert "is no journal of runs" in bench.said[-1]
    bench.store.path.write_bytes(kept)
    bench.let_pass(timedelta(hours=1))
    assert len(bench.machine.starts) == 1


def test_a_failure_that_lasts_is_said_once_and_again_when_it_comes_back(
    bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.store.add(hourly())
    kept = bench.store.path.read_bytes()
    for content in (b"no database" * 100, b"no database" * 100, kept, b"no database" * 100):
        bench.store.path.write_bytes(content)
        bench.daemon.look()
    assert ["is no journal of runs" in line for line in bench.said] == [True, True]


def test_a_schedule_that_cannot_start_keeps_no_other_from_its_runs(
    bench: Bench, hourly: Callable[..., ScheduleRecord]
) -> None:
    bench.store.add(hourly("broken"))
    bench.store.add(hourly("nightly"))
    # Its slots cannot be made.
    (bench.store.root / "schedules").mkdir()
    (bench.store.root / "schedules" / "broken").touch()
    bench.let_pass(timedelta(hours=1))
    assert [record.started_runs for record in bench.store.records()] == [0, 1]
    assert any(line.startswith("broken: Cannot write ") for line in bench.said)


def test_what_was_paused_or_changed_since_the_daemon_read_it_is_left_alone(
    bench: Bench, hourly: Callable[..., ScheduleRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.add(hourly())
    bench.store.add(replace(hourly("few", max_runs=1), started_runs=1))
    bench.clock.time += timedelta(minutes=30)
    read_before = bench.store.records()
    schedules = Schedules(bench.store, DaemonKeeper(), bench.clock)
    schedules.pause("nightly")
    schedules.update("few", changed(hourly().recurrence, max_runs=2))
    monkeypatch.setattr(bench.store, "records", lambda: read_before)
    bench.daemon.look()
    monkeypatch.undo()
    assert (bench.machine.starts, bench.said) == ([], [])
    assert {record.name: (record.state, record.started_runs) for record in bench.store.records()} == {
        "few": ("active", 1),
        "nightly": ("paused", 0),
    }


@given(
    limit=st.integers(1, 3),
    catch_up=st.booleans(),
    lasts=st.lists(st.integers(1, 45), min_size=1, max_size=4),
    pauses=st.lists(st.integers(0, 120), max_size=3),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_long_runs_last_the_limit_holds_and_no_time_starts_two(
    limit: int,
    catch_up: bool,
    lasts: list[int],
    pauses: list[int],
    store: ScheduleStore,
    clock: Any,
    hourly: Callable[..., ScheduleRecord],
) -> None:
    with suppress(InputError):
        store.forget("nightly")
    machine = Machine(clock)
    daemon = Daemon(store, clock, lambda _: None, machine.launch)
    store.add(hourly(cron="*/10 * * * *", max_concurrent_runs=limit, catch_up=catch_up))
    begin = clock.now()
    for minute in range(120):
        machine.lasts = lasts[minute % len(lasts)] * _MINUTE
        if minute not in pauses:
            daemon.look()
        clock.sleep(60)
    assert machine.most <= limit
    assert len(set(machine.starts)) == len(machine.starts)
    assert len(machine.starts) <= (clock.now() - begin) // (10 * _MINUTE)
    # The slots are open files of this process.
    store.change("nightly", lambda record: replace(record, state="paused"))
    clock.time += timedelta(days=1)
    daemon.look()
    assert machine.going_on == 0
