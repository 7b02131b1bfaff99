"""The journal held against a service's own list."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.pipelines.added import add_remote
from tests.pipelines.service import START, FakeClock, Service, at_work, away
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.looking import look
from tunelane_pipelines.runs.lost import LOST
from tunelane_pipelines.runs.reconciling import refresh, refresh_all
from tunelane_pipelines.runs.record import LOCK
from tunelane_pipelines.settings import load_settings
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, ServiceAway
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


def test_runs_of_another_service_are_none_of_this_one_s(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    elsewhere = add_remote(tmp_path, "elsewhere", "running", "projects/2/pipelineJobs/elsewhere")
    elsewhere = elsewhere._replace(service="vertex q/us-central1")
    Journal(tmp_path).put([elsewhere])
    _at(service, "elsewhere", at_work(run="failed"))
    assert refreshed()["elsewhere"] == elsewhere, "not even where the ids are the same"
    assert service.calls == ["runs"]
    assert Journal(tmp_path).looked_at("vertex q/us-central1") is None


def test_a_row_of_an_older_release_gets_the_service_that_has_it(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    journal = Journal(tmp_path)
    for run_id in ("listed", "older", "unknown"):
        journal.put([add_remote(tmp_path, run_id, "running", f"projects/1/pipelineJobs/{run_id}")._replace(service="")])
    _at(service, "listed", at_work(run="running"))
    _at(service, "older", lambda run: replace(run, created_at=START - timedelta(days=90), state="failed"))
    rows = refreshed()
    assert (rows["listed"].service, rows["older"].service) == (service.service, service.service)
    assert (rows["unknown"].state, rows["unknown"].service) == ("running", ""), "it may be at another service"


def test_a_run_that_cannot_be_read_keeps_no_other_from_being_refreshed(
    tmp_path: Path, service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = _at(service, "listed", at_work(run="succeeded"))
    add_remote(tmp_path, "listed", "running", listed.resource)
    for number in range(3):
        old = _at(service, f"old-{number}", lambda run: replace(run, created_at=START - timedelta(days=90)))
        service.change(old.resource, at_work(run="succeeded"))
        add_remote(tmp_path, old.run_id, "running", old.resource, minute=number)
    get = service.get

    def refusing(resource: str) -> RemoteRun:
        if resource.endswith("old-1"):
            raise NotAllowed("Not yours.")
        return get(resource)

    monkeypatch.setattr(service, "get", refusing)
    errors = refresh(Journal(tmp_path), list_runs(tmp_path), service, clock, attempts=2)
    assert {run_id: str(error) for run_id, error in errors.items()} == {"old-1": "Not yours."}
    states = {entry.run_id: entry.state for entry in list_runs(tmp_path)}
    assert states == {"listed": "succeeded", "old-0": "succeeded", "old-1": "running", "old-2": "succeeded"}
    assert Journal(tmp_path).looked_at(service.service) == clock.now()


def test_what_the_list_said_is_kept_where_the_service_goes_away_after_it(
    tmp_path: Path, service: Service, clock: FakeClock
) -> None:
    listed = _at(service, "listed", at_work(run="succeeded"))
    add_remote(tmp_path, "listed", "running", listed.resource)
    add_remote(tmp_path, "gone", "running", "projects/1/pipelineJobs/gone")
    service.step = away("get", "before", times=99)
    with pytest.raises(ServiceAway):
        refresh(Journal(tmp_path), list_runs(tmp_path), service, clock, attempts=2)
    assert {entry.run_id: entry.state for entry in list_runs(tmp_path)} == {"listed": "succeeded", "gone": "running"}
    assert Journal(tmp_path).looked_at(service.service) is None, "it is read anew"


def test_an_unclear_submission_is_not_lost_where_a_search_finds_nothing_to_search_in(
    refreshed: Callable[[], dict[str, Entry]], tmp_path: Path, service: Service
) -> None:
    add_remote(tmp_path, "cut", "submitting")

    def step(verb: str, when: str) -> None:
        if verb == "find":
            raise NoSuchResource("No project p.")

    service.step = step
    assert refreshed()["cut"].state == "needs-resume"


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

    errors, services = refresh_all(load_settings(root=tmp_path), opener, clock)
    assert {name: str(error) for name, error in errors.items()} == {"kubeflow": "It is away."}
    assert services == {service.service}
    assert [entry.run_id for entry in list_runs(tmp_path)] == ["by-a-colleague"]
