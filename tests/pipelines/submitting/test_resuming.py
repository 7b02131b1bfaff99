"""A run whose submission was cut short: it is found, or sent again where that cannot make a second one."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.pipelines.service import START, FakeClock, Service, away, no_target, silent_from
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.runs.record import LOCK, read_record, write_record
from tunelane_pipelines.submitting import sending
from tunelane_pipelines.submitting.sending import NeedsResume, resume_run
from tunelane_pipelines.targets.errors import ServiceAway
from tunelane_serving.errors import InputError
from tunelane_serving.files import locked

_ID = "train-classifier-1"


@pytest.fixture
def unanswered(submit: Callable[[], object], root: Path, service: Service) -> Callable[[], Entry]:
    """Submit a run that is taken, and whose answer is lost with all later ones; gives its row."""

    def lose() -> Entry:
        service.step = silent_from("submit", "after")
        with pytest.raises(NeedsResume):
            submit()
        (entry,) = list_runs(root)
        return entry

    return lose


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_stays_unclear_needs_a_resume(
    when: str, submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    def step(verb: str, now: str) -> None:
        if verb == "find" or (verb, now) == ("submit", when):
            # Who tried again by another submit would have two runs: that advice is left out.
            raise ServiceAway("No reply. Try again.", is_reply_lost=True)

    service.step = step
    with pytest.raises(
        NeedsResume, match=rf"vertex: No reply\. Whether .* go on with: tunelane runs resume {_ID}"
    ) as e:
        submit()
    assert e.value.exit_code == 1
    (entry,) = list_runs(root)
    assert (entry.state, entry.error) == ("needs-resume", "vertex: No reply. Whether the run started is not known.")
    service.step = lambda _verb, _when: None
    record = resume_run(entry, service, clock)
    assert (record.state, record.error) == ("pending", "")
    assert len(service.all_runs) == 1
    assert (list_runs(root)[0].state, list_runs(root)[0].error) == ("pending", "")


def test_a_resume_of_a_run_that_is_on_its_way_changes_nothing(
    submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    submit()
    before = len(service.calls)
    assert resume_run(list_runs(root)[0], no_target, clock).state == "pending"
    assert len(service.calls) == before


def test_a_run_that_another_command_submits_is_left_to_it(
    submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    service.step = away("submit", "before", times=99)
    with pytest.raises(NeedsResume):
        submit()
    (entry,) = list_runs(root)
    with locked(Path(entry.place) / LOCK), pytest.raises(InputError, match="is being submitted by another command"):
        resume_run(entry, service, clock)


def test_a_run_that_another_command_resumed_meanwhile_is_given(
    unanswered: Callable[[], Entry], root: Path, service: Service, clock: FakeClock
) -> None:
    entry = unanswered()
    service.step = lambda _verb, _when: None
    resume_run(entry, service, clock)
    before = len(service.calls)
    assert resume_run(entry, service, clock).state == "pending", "the row was read before"
    assert len(service.calls) == before


def test_a_run_belongs_to_the_service_that_it_was_submitted_to(
    unanswered: Callable[[], Entry], root: Path, service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    entry = unanswered()
    assert entry.service == read_record(Path(entry.place)).service == "vertex p/europe-west4"
    elsewhere = Service(tmp_path / "elsewhere.json", clock)
    elsewhere.service = "vertex q/us-central1"
    with pytest.raises(InputError, match=rf"{_ID} is at vertex p/europe-west4, and .* vertex q/us-central1\. Pass the"):
        resume_run(entry, elsewhere, clock)
    assert (elsewhere.calls, list_runs(root)) == ([], [entry])


def test_a_run_of_an_older_release_belongs_to_the_service_where_it_is_found(
    unanswered: Callable[[], Entry], root: Path, service: Service, clock: FakeClock
) -> None:
    entry = unanswered()
    record = read_record(Path(entry.place))
    record.service = ""
    write_record(Path(entry.place), record)
    Journal(root).enter(record, entry.place)
    service.step = lambda _verb, _when: None
    resume_run(find_run(root, _ID), service, clock)
    assert find_run(root, _ID).service == "vertex p/europe-west4"


def test_a_run_is_sent_again_where_no_id_is_taken_only_after_a_quiet_time(
    submit: Callable[[], object], root: Path, cluster: Service, clock: FakeClock
) -> None:
    cluster.step = away("submit", "before")
    with pytest.raises(NeedsResume):
        submit()
    sent_at = read_record(Path(list_runs(root)[0].place)).sent_at
    assert sent_at == START
    clock.time = START + QUIET_TIME - timedelta(seconds=61)
    words = (
        rf"does not have {_ID}, but its request may still be on its way\. Wait 2 min; go on with: tunelane runs resume"
    )
    with pytest.raises(NeedsResume, match=words):
        resume_run(find_run(root, _ID), cluster, clock)
    assert (cluster.all_runs, list_runs(root)[0].state) == ([], "needs-resume")
    clock.time = START + QUIET_TIME
    assert resume_run(find_run(root, _ID), cluster, clock).state == "pending"
    assert len(cluster.all_runs) == 1
    assert read_record(Path(list_runs(root)[0].place)).sent_at == clock.now()


def test_a_run_that_was_never_sent_is_sent_at_once(
    submit: Callable[[], object], root: Path, cluster: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sending, "_send", killed)
    with pytest.raises(KeyboardInterrupt):
        submit()
    monkeypatch.undo()
    assert resume_run(find_run(root, _ID), cluster, clock).state == "pending"
