"""The journal held against a service's own list."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.pipelines.added import add_remote, add_run
from tests.pipelines.service import START, FakeClock, Service, at_work, away, no_target
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Entry, Journal, entry_of
from tunelane_pipelines.runs.reconciling import LOST, look, recorded, refresh, refresh_all, refresh_quickly, seen
from tunelane_pipelines.runs.record import LOCK, RECORD, RunRecord, read_record
from tunelane_pipelines.settings import load_settings
from tunelane_pipelines.targets.errors import ServiceAway
from tunelane_pipelines.targets.target import RemoteRun
from tunelane_serving.files import locked


@pytest.fixture
def refreshed(tmp_path: Path, service: Service, clock: FakeClock) -> Callable[[], dict[str, Entry]]:
    """Refresh the journal; gives its rows by id."""

    def refreshed() -> dict[str, Entry]:
        refresh(Journal(tmp_path), list_runs(tmp_path), service, clock, attempts=5)
        return {entry.run_id: entry for entry in list_runs(tmp_path)}

    return refreshed


def _at(service: Service, run_id: str, change: Callable[[RemoteRun], RemoteRun] = lambda run: run) -> RemoteRun:
    return service.add(change(service.new_run(run_id)))


def test_runs_have_the_service_s_state_by_one_call(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    for number, state in enumerate(("running", "succeeded", "failed", "cancelled")):
        run = _at(service, f"run-{number}", at_work(run=state))
        add_remote(tmp_path, run.run_id, "running", run.resource)
    rows = refreshed()
    assert [rows[f"run-{number}"].state for number in range(4)] == ["running", "succeeded", "failed", "cancelled"]
    assert service.calls == ["runs"]
    assert rows["run-0"].model == "tickets", "what was known stays"


def test_a_submission_that_was_cut_short_is_found_in_the_list(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    add_remote(tmp_path, "sent", "submitting")
    add_remote(tmp_path, "not-sent", "submitting")
    run = _at(service, "sent", at_work(run="running"))
    rows = refreshed()
    assert (rows["sent"].state, rows["sent"].resource, rows["sent"].error) == ("running", run.resource, "")
    assert rows["not-sent"].state == "needs-resume"


def test_a_submission_that_goes_on_is_left_to_its_command(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    add_remote(tmp_path, "sent", "submitting")
    _at(service, "sent")
    with locked(tmp_path / "runs" / "sent" / LOCK):
        assert refreshed()["sent"].state == "submitting"


def test_runs_of_schedules_and_of_others_are_taken_in(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    _at(service, "by-a-colleague", lambda run: replace(run, parameters={"model_name": "mood"}))
    scheduled = service.new_run("2026-nightly")
    service.add(replace(scheduled, run_id="", schedule="projects/1/schedules/7", state="running"))
    rows = refreshed()
    assert (rows["by-a-colleague"].state, rows["by-a-colleague"].model) == ("pending", "mood")
    assert (rows["2026-nightly"].state, rows["2026-nightly"].schedule) == ("running", "projects/1/schedules/7")
    service.change(scheduled.resource, at_work(run="succeeded"))
    assert refreshed()["2026-nightly"].schedule == "projects/1/schedules/7"
    assert len(list_runs(tmp_path)) == 2, "not taken in twice"


def test_a_name_that_a_service_gives_makes_no_path_outside_the_runs(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    for run_id in ("../../up", "..", "a/b"):
        _at(service, run_id)
    for entry in refreshed().values():
        look(tmp_path, entry, service, clock)
        assert Path(entry.place).resolve().parent == tmp_path / "runs"


def test_a_run_that_the_list_has_no_more_is_asked_for(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    old = _at(service, "old", lambda run: replace(run, created_at=START - timedelta(days=90), state="failed"))
    add_remote(tmp_path, "old", "running", old.resource)
    add_remote(tmp_path, "deleted", "running", "projects/1/pipelineJobs/deleted")
    rows = refreshed()
    assert rows["old"].state == "failed"
    assert (rows["deleted"].state, rows["deleted"].error) == ("interrupted", LOST)


def test_the_second_list_begins_where_the_first_ended(
    refreshed: Callable[[], dict[str, Entry]], service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = []
    listed = service.runs
    monkeypatch.setattr(service, "runs", lambda *, since: seen_since.append(since) or listed(since=since))
    seen_since = since
    refreshed()
    clock.sleep(86400)
    refreshed()
    assert since == [START - timedelta(days=30), START - timedelta(hours=1)]


def test_faults_on_the_way_are_retried(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    run = _at(service, "run", at_work(run="succeeded"))
    add_remote(tmp_path, "run", "running", run.resource)
    service.step = away("runs", "before", times=4)
    assert refreshed()["run"].state == "succeeded"
    service.step = away("runs", "before", times=5)
    with pytest.raises(ServiceAway):
        refreshed()


def test_only_runs_that_go_on_have_a_service_asked_quickly(tmp_path: Path, clock: FakeClock) -> None:
    add_run(tmp_path, "local", "succeeded")
    add_remote(tmp_path, "ended", "succeeded", "r")
    assert refresh_quickly(tmp_path, no_target, clock) == []


def test_a_service_is_asked_quickly_once_in_half_a_minute(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    run = _at(service, "run", at_work(run="running"))
    add_remote(tmp_path, "run", "running", run.resource)
    assert refresh_quickly(tmp_path, service, clock) == []
    assert refresh_quickly(tmp_path, service, clock) == []
    assert service.calls == ["runs"]
    service.change(run.resource, at_work(run="succeeded"))
    clock.sleep(31)
    assert refresh_quickly(tmp_path, service, clock) == []
    assert list_runs(tmp_path)[0].state == "succeeded"


def test_a_service_without_an_answer_is_named_and_not_waited_for_again(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    run = _at(service, "run")
    add_remote(tmp_path, "run", "running", run.resource)
    assert refresh_quickly(tmp_path, service, clock) == []
    clock.sleep(300)
    service.step = away("runs", "before", times=99)
    (line,) = refresh_quickly(tmp_path, service, clock)
    assert line == (
        "vertex: It does not answer. Its runs are as they were 5 min ago. Ask again: tunelane runs list --refresh"
    )
    calls = len(service.calls)
    (line,) = refresh_quickly(tmp_path, service, clock)
    assert "no answer when it was last asked" in line and len(service.calls) == calls


def test_a_service_that_takes_its_time_is_not_waited_for(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    add_remote(tmp_path, "run", "running", _at(service, "run").resource)
    service.step = lambda _verb, _when: time.sleep(0.5)
    (line,) = refresh_quickly(tmp_path, service, clock, wait_s=0.01)
    assert "no answer within 0 s" in line and "as this machine last saw them" in line


def test_every_target_that_is_set_up_is_refreshed_and_the_rest_goes_on_where_one_fails(
    tmp_path: Path, service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNELANE_GCP__PROJECT", "p")
    monkeypatch.setenv("TUNELANE_KUBEFLOW__HOST", "https://kubeflow")
    _at(service, "by-a-colleague")

    def opener(name: str) -> Service:
        if name == "kubeflow":
            raise ServiceAway("It is away.")
        return service

    errors = refresh_all(load_settings(root=tmp_path), opener, clock)
    assert {name: str(error) for name, error in errors.items()} == {"kubeflow": "It is away."}
    assert [entry.run_id for entry in list_runs(tmp_path)] == ["by-a-colleague"]


def test_a_look_puts_the_tasks_into_the_record(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    run = _at(service, "run", at_work(run="failed", resolve_champion="succeeded", build_dataset="failed"))
    entry = add_remote(tmp_path, "run", "running", run.resource)
    record = look(tmp_path, entry, service, clock)
    assert [task.state for task in record.tasks] == ["succeeded", "failed", "skipped"]
    assert record.error == "build-dataset: The replica exited with code 1."
    assert (record.tasks[1].wall_s, record.tasks[1].log_url) == (60.0, "https://logs/build_dataset")
    assert read_record(Path(entry.place)) == record
    assert (list_runs(tmp_path)[0].state, list_runs(tmp_path)[0].error) == ("failed", record.error)


def test_a_look_at_a_run_of_others_makes_its_record_from_its_pipeline(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    for number, pipeline in enumerate(("convert", "their-own")):
        run = _at(service, f"run-{number}", at_work(run="running", build_dataset="running"))
        service.change(run.resource, lambda run, pipeline=pipeline: replace(run, pipeline=pipeline))  # type: ignore[misc]
    refresh(Journal(tmp_path), [], service, clock, attempts=1)
    tasks = [
        [task.name for task in look(tmp_path, find_run(tmp_path, f"run-{number}"), service, clock).tasks]
        for number in range(2)
    ]
    assert tasks == [["import-checkpoint", "build-dataset", "export-onnx", "validate-parity"], ["build-dataset"]]
    assert {entry.run_id for entry in list_runs(tmp_path)} == {"run-0", "run-1"}


def test_a_look_at_what_was_never_sent_changes_nothing(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    add_remote(tmp_path, "run", "submitting")
    entry = find_run(tmp_path, "run")
    assert look(tmp_path, entry, service, clock).state == "needs-resume"
    assert find_run(tmp_path, "run") == entry


def test_a_look_at_what_the_service_has_lost_ends_it(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    entry = add_remote(tmp_path, "run", "running", "projects/1/pipelineJobs/run")
    record = look(tmp_path, entry, service, clock)
    assert (record.state, record.error) == ("interrupted", LOST)
    assert [task.state for task in record.tasks] == ["succeeded", "interrupted", "skipped"]


def test_a_run_that_has_ended_is_not_asked_for(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    run = _at(service, "run", at_work(run="succeeded", build_dataset="succeeded"))
    add_remote(tmp_path, "run", "running", run.resource)
    assert seen(tmp_path, find_run(tmp_path, "run"), service, clock).state == "succeeded"
    assert seen(tmp_path, find_run(tmp_path, "run"), no_target, clock).state == "succeeded"


def test_a_record_that_is_older_than_its_row_has_the_row_s_state(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    run = _at(service, "run", at_work(run="succeeded", build_dataset="succeeded"))
    add_remote(tmp_path, "run", "running", run.resource)
    entry = refreshed()["run"]
    assert read_record(Path(entry.place)).state == "running"
    assert recorded(entry).state == "succeeded"
    assert seen(tmp_path, entry, service, clock).tasks[1].state == "succeeded", "the tasks are asked for once more"


def test_a_row_without_a_record_is_shown_as_it_is(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    _at(service, "run", at_work(run="running"))
    entry = refreshed()["run"]
    assert not (Path(entry.place) / RECORD).exists()
    assert entry_of(recorded(entry), entry.place)._replace(model="") == entry


@pytest.mark.parametrize("names", [("resolve-champion",), ()])
def test_what_a_service_says_of_a_password_is_masked(
    names: tuple[str, ...], tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    said = "no route to postgresql://u:pa55@db"
    run = _at(service, "run", at_work(run="failed", build_dataset="failed"))
    service.change(run.resource, lambda run: replace(run, error=said, tasks=(replace(run.tasks[0], error=said),)))
    add_remote(tmp_path, "run", "running", run.resource)
    record: RunRecord = look(tmp_path, find_run(tmp_path, "run"), service, clock)
    assert "pa55" not in (tmp_path / "runs" / "run" / RECORD).read_text()
    assert "***" in record.error
