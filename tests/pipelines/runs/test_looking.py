"""One run, as its record and its service have it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipelines.added import add_remote
from tests.pipelines.service import FakeClock, Service, at_work, no_target
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Entry, Journal, entry_of
from tunelane_pipelines.runs.looking import look, recorded, seen
from tunelane_pipelines.runs.lost import LOST
from tunelane_pipelines.runs.reconciling import refresh
from tunelane_pipelines.runs.record import RECORD, RunRecord, read_record, write_record
from tunelane_pipelines.runs.services import Elsewhere
from tunelane_pipelines.targets.errors import NoSuchResource
from tunelane_pipelines.targets.target import RemoteRun


@pytest.fixture
def refreshed(tmp_path: Path, service: Service, clock: FakeClock) -> Callable[[], dict[str, Entry]]:
    """Refresh the journal; gives its rows by id."""

    def refreshed() -> dict[str, Entry]:
        refresh(Journal(tmp_path), list_runs(tmp_path), service, clock, attempts=5)
        return {entry.run_id: entry for entry in list_runs(tmp_path)}

    return refreshed


def _at(service: Service, run_id: str, change: Callable[[RemoteRun], RemoteRun] = lambda run: run) -> RemoteRun:
    return service.add(change(service.new_run(run_id)))


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


def test_a_run_that_is_said_to_have_ended_and_goes_on_is_asked_for(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    """The service's list brings a run back that was taken for lost, or for never sent."""
    run = _at(service, "run", at_work(run="running", resolve_champion="succeeded"))
    add_remote(tmp_path, "run", "running", run.resource)
    record = read_record(tmp_path / "runs" / "run")
    record.finish("cancelled", "It never started.")
    write_record(tmp_path / "runs" / "run", record)
    Journal(tmp_path).enter(record, "")
    entry = refreshed()["run"]
    assert (entry.state, recorded(entry).state, recorded(entry).error) == ("running", "running", "")
    looked = seen(tmp_path, entry, service, clock)
    assert (looked.state, looked.error) == ("running", "")
    assert [task.state for task in looked.tasks] == ["succeeded", "pending", "pending"]
    assert read_record(tmp_path / "runs" / "run").state == "running"


def test_a_row_that_goes_on_is_believed_rather_than_the_record(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    entry = add_remote(tmp_path, "run", "running", _at(service, "run", at_work(run="running")).resource)
    record = read_record(Path(entry.place))
    record.finish("succeeded")
    write_record(Path(entry.place), record)
    assert seen(tmp_path, entry, service, clock).state == "running"
    assert service.calls == ["get"]


def test_a_run_of_another_service_is_asked_for_nowhere(tmp_path: Path, service: Service, clock: FakeClock) -> None:
    entry = add_remote(tmp_path, "run", "running", _at(service, "run").resource)._replace(
        service="vertex q/us-central1"
    )
    with pytest.raises(Elsewhere, match=r"run is at vertex q/us-central1, and the settings in force name vertex p/"):
        seen(tmp_path, entry, service, clock)
    assert service.calls == []
    ended = add_remote(tmp_path, "ended", "succeeded", "r")._replace(service="vertex q/us-central1")
    assert seen(tmp_path, ended, no_target, clock).state == "succeeded"


def test_a_run_of_an_older_release_gets_the_service_where_it_is_seen(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    entry = add_remote(tmp_path, "run", "running", _at(service, "run").resource)._replace(service="")
    assert seen(tmp_path, entry, service, clock).service == service.service
    assert list_runs(tmp_path)[0].service == service.service
    gone = add_remote(tmp_path, "gone", "running", "projects/1/pipelineJobs/gone")._replace(service="")
    with pytest.raises(NoSuchResource):
        seen(tmp_path, gone, service, clock)
