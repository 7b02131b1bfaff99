"""Ending a run before its end: doing it again changes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.added import add_remote, add_run
from tests.pipelines.service import FakeClock, Service, at_work, away, no_target
from tunelane_pipelines.runs.cancelling import NEVER_STARTED, cancel_run
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import LOCK, Remote, RunState, read_record, write_record
from tunelane_pipelines.targets.clock import SystemClock
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked

_HOLDER = """
import sys, time
from pathlib import Path
from tunelane_serving.files import locked

with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("fault", ["", "before", "after"])
def test_a_run_is_cancelled_once_however_often_it_is_asked_for(
    fault: str, tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    run = service.add(at_work(run="running", build_dataset="running")(service.new_run("run")))
    add_remote(tmp_path, "run", "running", run.resource)
    if fault:
        service.step = away("cancel", fault)
    for _ in range(2):
        record = cancel_run(tmp_path, find_run(tmp_path, "run"), service, clock)
        assert record.state == "cancelled"
    assert service.calls.count("cancel") == (2 if fault else 1)
    assert [task.state for task in record.tasks] == ["succeeded", "interrupted", "skipped"]
    assert list_runs(tmp_path)[0].state == "cancelled"


def test_a_run_that_has_ended_stays_as_it_is(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    run = service.add(at_work(run="succeeded")(service.new_run("run")))
    add_remote(tmp_path, "run", "running", run.resource)
    assert cancel_run(tmp_path, find_run(tmp_path, "run"), service, clock).state == "succeeded"
    assert "cancel" not in service.calls
    assert cancel_run(tmp_path, find_run(tmp_path, "run"), no_target, clock).state == "succeeded"


def test_a_submission_that_was_cut_short_is_cancelled_where_it_arrived(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    add_remote(tmp_path, "sent", "submitting")
    add_remote(tmp_path, "not-sent", "submitting")
    service.add(service.new_run("sent"))
    assert cancel_run(tmp_path, find_run(tmp_path, "sent"), service, clock).state == "cancelled"
    assert service.all_runs[0].state == "cancelled"
    record = cancel_run(tmp_path, find_run(tmp_path, "not-sent"), service, clock)
    assert (record.state, record.error) == ("cancelled", NEVER_STARTED)
    assert find_run(tmp_path, "not-sent").state == "cancelled"


def test_a_submission_that_goes_on_is_not_cancelled(tmp_path: Path, clock: FakeClock) -> None:
    add_remote(tmp_path, "sent", "submitting")
    with (
        locked(tmp_path / "runs" / "sent" / LOCK),
        pytest.raises(InputError, match="is being submitted by another command"),
    ):
        cancel_run(tmp_path, find_run(tmp_path, "sent"), no_target, clock)


@pytest.mark.parametrize("state", ["submitting", "needs-resume"])
def test_a_run_that_is_resumed_at_this_moment_is_not_cancelled(
    state: RunState, tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    """Whoever resumes it has looked for it already: it would be sent after it was called off."""
    entry = add_remote(tmp_path, "cut", state)
    with (
        locked(tmp_path / "runs" / "cut" / LOCK),
        pytest.raises(InputError, match="is being submitted by another command"),
    ):
        cancel_run(tmp_path, entry, service, clock)
    assert service.calls == []


def test_a_run_that_was_resumed_meanwhile_is_cancelled_where_it_is(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    entry = add_remote(tmp_path, "cut", "needs-resume")
    run = service.add(service.new_run("cut"))
    record = read_record(Path(entry.place))
    record.state, record.remote = "pending", Remote(run.resource)
    write_record(Path(entry.place), record)
    Journal(tmp_path).enter(record, entry.place)
    assert cancel_run(tmp_path, entry, service, clock).state == "cancelled"
    assert "find" not in service.calls and service.all_runs[0].state == "cancelled"


def test_a_request_that_may_still_arrive_is_not_said_to_have_never_started(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    entry = add_remote(tmp_path, "cut", "needs-resume")
    record = read_record(Path(entry.place))
    record.sent_at = clock.now()
    write_record(Path(entry.place), record)
    clock.sleep(90)
    words = r"p/europe-west4 does not have cut, but its request may still be on its way\. Cancel it again in 9 min\."
    with pytest.raises(TunelaneError, match=words):
        cancel_run(tmp_path, entry, service, clock)
    assert find_run(tmp_path, "cut").state == "needs-resume"
    clock.sleep(600)
    assert cancel_run(tmp_path, entry, service, clock).error == NEVER_STARTED


def test_a_run_of_another_service_is_not_cancelled(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    for state in ("running", "needs-resume"):
        entry = add_remote(tmp_path, state, state, "r")._replace(service="vertex q/us-central1")
        Journal(tmp_path).put([entry])
        with pytest.raises(InputError, match="is at vertex q/us-central1"):
            cancel_run(tmp_path, entry, service, clock)
        assert find_run(tmp_path, state) == entry
    assert service.calls == []


def test_the_command_of_a_local_run_is_ended(tmp_path: Path) -> None:
    add_run(tmp_path, "local", "running")
    lock = tmp_path / "runs" / "local" / LOCK
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        record = cancel_run(tmp_path, find_run(tmp_path, "local"), no_target, SystemClock())
        assert record.state == "interrupted"
        assert holder.wait(timeout=10) != 0
    finally:
        holder.kill()
        holder.communicate()


def test_a_local_run_whose_command_the_system_does_not_name_is_the_user_s_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelane_pipelines.runs.cancelling._LOCKS", tmp_path / "missing")
    add_run(tmp_path, "local", "running")
    with locked(tmp_path / "runs" / "local" / LOCK), pytest.raises(InputError, match=r"not to be found\..*Ctrl-C"):
        cancel_run(tmp_path, find_run(tmp_path, "local"), no_target, SystemClock())
