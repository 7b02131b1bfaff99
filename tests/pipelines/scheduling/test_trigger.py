"""What a timer calls, and the daemon, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.scheduling.daemon import Daemon, Process, launch_run
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.scheduling.showing import runs_of
from tunelane_pipelines.scheduling.starting import KEPT_VARIABLES, take_slot
from tunelane_pipelines.scheduling.store import ScheduleStore

_TUNELANE = (sys.executable, "-m", "tunelane_pipelines.cli")


@pytest.fixture
def waiting(tmp_path: Path, hourly: Callable[..., ScheduleRecord]) -> ScheduleRecord:
    """A schedule whose runs wait for data; one run is due at once."""
    os.mkfifo(tmp_path / "data.csv")
    (tmp_path / "encoder").mkdir()
    command = ("run", "train-classifier", "--plain", "--root", f"{tmp_path}/root")
    parameters = ("--set", f"data={tmp_path}/data.csv", "--set", f"base_model={tmp_path}/encoder")
    return replace(
        hourly(catch_up=True),
        command=(*command, *parameters),
        settled_until=datetime.now(UTC) - timedelta(hours=2),
    )


def _trigger(store: ScheduleStore) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*_TUNELANE, "schedule", "trigger", "nightly", "--root", str(store.root)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "paused"}, "Nothing started: nightly is paused."),
        ({"state": "completed"}, "Nothing started: nightly is completed."),
        ({"started_runs": 2}, "Nothing started: nightly has started its 2 runs."),
        ({"pending": "update"}, "Nothing started: nightly needs to be resumed first: tunelane schedule continue"),
        ({"starter": "", "target": "vertex"}, "Nothing started: nightly is kept by vertex"),
    ],
)
def test_a_timer_of_a_schedule_that_starts_nothing_does_nothing(
    fields: dict[str, Any], words: str, store: ScheduleStore, hourly: Callable[..., ScheduleRecord]
) -> None:
    record = replace(hourly(max_runs=2), **fields)
    store.add(record)
    done = _trigger(store)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(words)
    assert store.record("nightly") == record


def test_a_timer_starts_nothing_beyond_the_limit(store: ScheduleStore, hourly: Callable[..., ScheduleRecord]) -> None:
    store.add(hourly())
    slot = take_slot(store, hourly())
    assert slot is not None
    assert "has 1 going on, which is its limit" in _trigger(store).stdout
    os.close(slot.handle)


def test_a_timer_becomes_the_run_which_holds_the_slot(
    store: ScheduleStore, hourly: Callable[..., ScheduleRecord], tmp_path: Path
) -> None:
    """The "run" is `tunelane doctor --help`: what it is told and holds is what counts here."""
    store.add(replace(hourly(), command=("doctor", "--help")))
    done = _trigger(store)
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout
    record = store.record("nightly")
    assert record.started_runs == 1 and record.last_run_at is not None
    # It has ended: the slot is free.
    slot = take_slot(store, record)
    assert slot is not None
    os.close(slot.handle)
    store.change("nightly", lambda record: replace(record, directory=str(tmp_path / "gone")))
    done = _trigger(store)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_the_daemon_starts_a_run_that_says_its_schedule_and_ends_it_on_sigterm(
    store: ScheduleStore, waiting: ScheduleRecord
) -> None:
    store.add(waiting)
    daemon = subprocess.Popen(
        [*_TUNELANE, "schedule", "daemon", "--root", str(store.root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            runs = list_runs(store.root)
            if runs and runs[0].state == "running":
                break
            time.sleep(0.1)
        [run] = list_runs(store.root)
        assert (run.state, run.schedule) == ("running", "nightly")
        assert take_slot(store, waiting) is None
    finally:
        daemon.send_signal(signal.SIGTERM)
        said, complaints = daemon.communicate(timeout=60)
    assert (daemon.returncode, complaints) == (0, "")
    assert "nightly: started, next" in said and said.rstrip().endswith("Stopped.")
    [run] = list_runs(store.root)
    assert (run.state, run.schedule) == ("interrupted", "nightly")
    slot = take_slot(store, waiting)
    assert slot is not None
    os.close(slot.handle)


@pytest.mark.slow
def test_a_schedule_that_retrains_fires_three_times_and_one_run_goes_on_at_a_time(
    store: ScheduleStore, waiting: ScheduleRecord, clock: Any
) -> None:
    said: list[str] = []
    processes: list[Process] = []

    def launch(record: ScheduleRecord, log: Path, slot: int) -> Process:
        processes.append(launch_run(record, log, slot))
        return processes[-1]

    def going_on() -> list[str]:
        return [run.run_id for run in list_runs(store.root) if run.state == "running"]

    store.add(replace(waiting, recurrence=changed(waiting.recurrence, catch_up=False), settled_until=clock.now()))
    daemon = Daemon(store, clock, said.append, launch)
    try:
        for fired in range(1, 4):
            clock.time += timedelta(hours=1)
            clock.time = clock.time.replace(minute=0)
            daemon.look()
            assert len(processes) == fired
            for _ in range(600):
                if going_on():
                    break
                time.sleep(0.1)
            # Due again while it goes on.
            clock.time += timedelta(hours=1)
            daemon.look()
            assert (len(processes), len(going_on())) == (fired, 1)
            processes[-1].terminate()
            processes[-1].wait(timeout=60)
            daemon.look()
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=60)
    runs = list_runs(store.root)
    assert [(run.schedule, run.state) for run in runs] == [("nightly", "interrupted")] * 3
    assert [run.run_id for run in runs_of(store.root, store.record("nightly"))] == [run.run_id for run in runs]
    assert sum("left out" in line for line in said) == 3


def test_a_run_keeps_the_settings_that_its_parameters_come_from() -> None:
    wanted = {"TUNELANE_DATA__URI", "TUNELANE_MODEL__NAME", "TUNELANE_EVALUATION__MINIMUM_F1", "TUNELANE_REGISTRY_URI"}
    assert wanted <= set(KEPT_VARIABLES)
    # What stands in a unit's file is no secret.
    assert not any(name.startswith(("TUNELANE_GCP", "TUNELANE_KUBEFLOW")) for name in KEPT_VARIABLES)
