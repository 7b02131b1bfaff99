"""A run on its way: whatever fails or is killed, there are never two runs, and the journal says what is so."""

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.service import START, FakeClock, Service, away, no_target
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.runs.record import LOCK, PARAMETERS, read_record, write_record
from tunelane_pipelines.submitting import sending
from tunelane_pipelines.submitting.kept import read_submission
from tunelane_pipelines.submitting.sending import NeedsResume, resume_run, submit_run
from tunelane_pipelines.targets.errors import NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked

_ID = "train-classifier-1"


@pytest.fixture
def submit(submission: Submission, root: Path, service: Service, clock: FakeClock) -> Callable[[], object]:
    """Submit the run."""
    return lambda: submit_run(submission, root, service, clock, command="tunelane submit")


def test_a_run_is_recorded_journalled_and_sent_once(
    submit: Callable[[], object], submission: Submission, root: Path, service: Service
) -> None:
    submit()
    (run,) = service.all_runs
    assert (run.run_id, service.calls) == (_ID, ["check", "submit"])
    (entry,) = list_runs(root)
    assert (entry.state, entry.target, entry.resource, entry.console_url) == (
        "pending",
        "vertex",
        run.resource,
        f"https://console/{_ID}",
    )
    assert entry.model == "tickets"
    directory = Path(entry.place)
    record = read_record(directory)
    assert record.remote is not None and record.remote.resource == run.resource
    assert [task.name for task in record.tasks][:2] == ["resolve-champion", "fingerprint-data"]
    assert {task.state for task in record.tasks} == {"pending"}
    assert read_submission(directory) == submission
    assert (directory / PARAMETERS).exists()


def test_the_journal_knows_of_a_run_before_the_service_does(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    states: list[str] = []
    service.step = lambda _verb, _when: states.append(list_runs(root)[0].state)
    submit()
    assert states == ["submitting"] * 4


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [1, 4])
def test_a_lost_reply_starts_no_second_run(
    when: str, times: int, submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    service.step = away("submit", when, times=times)
    submit()
    assert len(service.all_runs) == 1
    assert list_runs(root)[0].state == "pending"
    assert service.calls.count("submit") == (1 if when == "after" else times + 1), "found by its label instead"
    assert clock.slept_s, "not hammered"


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


@pytest.mark.parametrize("verb", ["check", "submit"])
@pytest.mark.parametrize("error", [Refused("The spec is wrong."), NotAllowed("roles/aiplatform.user is missing.")])
def test_a_refusal_leaves_nothing(
    verb: str, error: TunelaneError, submit: Callable[[], object], root: Path, service: Service
) -> None:
    def step(verb_now: str, when: str) -> None:
        if (verb_now, when) == (verb, "before"):
            raise error

    service.step = step
    with pytest.raises(type(error), match=str(error)):
        submit()
    assert list_runs(root) == []
    assert [path.name for path in (root / "runs").iterdir()] == ["journal.db"]


def test_a_service_that_is_away_before_anything_is_sent_leaves_nothing(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    service.step = away("check", "before", times=99)
    with pytest.raises(ServiceAway):
        submit()
    assert (list_runs(root), service.calls) == ([], ["check"] * 5)


def test_a_refusal_after_a_lost_reply_is_no_proof(submit: Callable[[], object], root: Path, service: Service) -> None:
    """The first attempt started the run; at the second the token had expired."""
    lost = away("submit", "after")

    def step(verb: str, when: str) -> None:
        lost(verb, when)
        if verb == "find":
            raise NotAllowed("The token has expired.")

    service.step = step
    with pytest.raises(NeedsResume, match="The token has expired"):
        submit()
    assert list_runs(root)[0].state == "needs-resume"


def test_an_interrupt_while_it_is_sent_needs_a_resume(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    def step(verb: str, when: str) -> None:
        if (verb, when) == ("submit", "after"):
            raise KeyboardInterrupt

    service.step = step
    with pytest.raises(KeyboardInterrupt):
        submit()
    assert list_runs(root)[0].state == "needs-resume"


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
    submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    service.step = _lost("submit", "after")
    with pytest.raises(NeedsResume):
        submit()
    (entry,) = list_runs(root)
    service.step = lambda _verb, _when: None
    resume_run(entry, service, clock)
    before = len(service.calls)
    assert resume_run(entry, service, clock).state == "pending", "the row was read before"
    assert len(service.calls) == before


def test_a_run_belongs_to_the_service_that_it_was_submitted_to(
    submit: Callable[[], object], root: Path, service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    service.step = _lost("submit", "after")
    with pytest.raises(NeedsResume):
        submit()
    (entry,) = list_runs(root)
    assert entry.service == read_record(Path(entry.place)).service == "vertex p/europe-west4"
    elsewhere = Service(tmp_path / "elsewhere.json", clock)
    elsewhere.service = "vertex q/us-central1"
    with pytest.raises(InputError, match=rf"{_ID} is at vertex p/europe-west4, and .* vertex q/us-central1\. Pass the"):
        resume_run(entry, elsewhere, clock)
    assert (elsewhere.calls, list_runs(root)) == ([], [entry])


def test_a_run_of_an_older_release_belongs_to_the_service_where_it_is_found(
    submit: Callable[[], object], root: Path, service: Service, clock: FakeClock
) -> None:
    service.step = _lost("submit", "after")
    with pytest.raises(NeedsResume):
        submit()
    (entry,) = list_runs(root)
    record = read_record(Path(entry.place))
    record.service = ""
    write_record(Path(entry.place), record)
    Journal(root).enter(record, entry.place)
    service.step = lambda _verb, _when: None
    resume_run(find_run(root, _ID), service, clock)
    assert find_run(root, _ID).service == "vertex p/europe-west4"


def test_the_profile_and_the_root_are_named_where_a_run_is_to_be_resumed(
    submission: Submission, root: Path, service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    service.step = _lost("submit", "after")
    words = rf"go on with: tunelane runs resume {_ID} --root {root} --profile {tmp_path}/prod.yaml$"
    with pytest.raises(NeedsResume, match=words):
        submit_run(submission, root, service, clock, command="", profile=tmp_path / "prod.yaml")


def _lost(verb: str, when: str) -> Callable[[str, str], None]:
    """A step at which the reply is lost, and whatever comes later, too."""

    def step(verb_now: str, when_now: str) -> None:
        if verb_now == "find" or (verb_now, when_now) == (verb, when):
            raise ServiceAway("No reply.", is_reply_lost=True)

    return step


@pytest.fixture
def cluster(service: Service) -> Service:
    """A service that starts a run whenever it is sent one, as Kubeflow does."""
    service.takes_run_id = False
    return service


def test_a_service_that_takes_no_id_is_sent_a_run_once_and_then_looked_at(
    submit: Callable[[], object], root: Path, cluster: Service, clock: FakeClock
) -> None:
    cluster.step = away("submit", "before")
    with pytest.raises(NeedsResume, match="Whether the run started is not known"):
        submit()
    assert cluster.calls == ["check", "submit", *["find"] * 4]
    assert len(clock.slept_s) == 4, "with pauses"
    assert list_runs(root)[0].state == "needs-resume"


def test_a_service_that_takes_no_id_may_be_late(
    submit: Callable[[], object], root: Path, cluster: Service, clock: FakeClock
) -> None:
    lost = away("submit", "before")

    def step(verb: str, when: str) -> None:
        if verb == "find" and when == "before" and cluster.calls.count("find") == 3:
            cluster.add(cluster.new_run(_ID, "train-classifier"))
        lost(verb, when)

    cluster.step = step
    submit()
    assert len(cluster.all_runs) == 1
    assert list_runs(root)[0].state == "pending"


def test_what_was_not_lost_is_sent_again_to_a_service_that_takes_no_id(
    submit: Callable[[], object], root: Path, cluster: Service
) -> None:
    left = [1, 1]

    def step(verb: str, when: str) -> None:
        if (verb, when) == ("submit", "before") and left:
            left.pop()
            raise ServiceAway("Too many requests.")

    cluster.step = step
    submit()
    assert (cluster.calls, len(cluster.all_runs)) == (["check", "submit", "submit", "submit"], 1)


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


def test_a_root_that_cannot_be_written_is_named_before_anything_is_sent(
    submit: Callable[[], object], root: Path, service: Service
) -> None:
    root.write_text("a file")
    with pytest.raises(InputError, match="Cannot write to the root"):
        submit()
    assert service.calls == []


_ACTIONS = ("kill", "lost", "away", "refused")


class _Steps:
    """Counts every step of a submission, at the service and on the disk, and has the planned thing happen at some."""

    def __init__(self, plan: dict[int, str]) -> None:
        self._plan = plan
        self._count = 0

    def at_service(self, _verb: str, when: str) -> None:
        action = self._next()
        # A service that carried something out does not say no to it; and what it did not get, it was not asked.
        if action == "refused" and when == "before":
            raise Refused("The service says no.")
        if action == "away" and when == "before":
            raise ServiceAway("Try again.")
        if action in ("lost", "away"):
            raise ServiceAway("No reply.", is_reply_lost=True)

    def around(self, function: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object, **named: object) -> object:
            self._next()
            found = function(*arguments, **named)
            self._next()
            return found

        return stepped

    def _next(self) -> str:
        self._count += 1
        action = self._plan.get(self._count, "")
        if action == "kill":
            os._exit(9)
        return action


def _in_child(work: Callable[[], object], service: Service, plan: dict[int, str]) -> int:
    """Do something in a process that is killed where the plan says so; gives 0, 1 for an error, or 9."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    steps = _Steps(plan)
    service.step = steps.at_service
    for name in ("write_submission", "write_parameters", "write_record"):
        setattr(sending, name, steps.around(getattr(sending, name)))
    for name in ("enter", "forget"):
        setattr(Journal, name, steps.around(getattr(Journal, name)))
    try:
        work()
    except TunelaneError:
        os._exit(1)
    except BaseException:
        os._exit(70)
    os._exit(0)


_PLAN = st.dictionaries(st.integers(1, 30), st.sampled_from(_ACTIONS), max_size=12)


@settings(max_examples=60, deadline=None)
@given(first=_PLAN, later=st.lists(_PLAN, max_size=2), takes_run_id=st.booleans(), wait=st.booleans())
def test_whatever_fails_or_is_killed_there_are_never_two_runs_and_the_journal_is_true(
    first: dict[int, str], later: list[dict[int, str]], takes_run_id: bool, wait: bool
) -> None:
    load_pipeline("train-classifier")
    with tempfile.TemporaryDirectory() as directory:
        root, clock = Path(directory) / "root", FakeClock()
        service = Service(Path(directory) / "service.json", clock)
        service.takes_run_id = takes_run_id
        submission = Submission(_ID, "train-classifier", "Train", {}, {"model_name": "tickets"})
        code = _in_child(lambda: submit_run(submission, root, service, clock, command=""), service, first)
        assert code in (0, 1, 9)
        _assert_true(root, service, code)
        for plan in later:
            # A killed command's clock is gone with it.
            clock.sleep(1000 if wait else 0)
            if list_runs(root):
                code = _in_child(lambda: resume_run(find_run(root, _ID), service, clock), service, plan)
                assert code in (0, 1, 9)
                _assert_true(root, service, code)
        clock.sleep(1000)
        if list_runs(root):
            assert resume_run(find_run(root, _ID), service, clock).state == "pending"
            _assert_true(root, service, 0)


def _assert_true(root: Path, service: Service, code: int) -> None:
    runs, entries = service.all_runs, list_runs(root)
    assert len(runs) <= 1
    if not entries:
        assert runs == [], "a run that the journal does not know of"
    elif entries[0].state != "needs-resume":
        assert [(run.resource, run.state) for run in runs] == [(entries[0].resource, entries[0].state)]
    if code == 0:
        assert entries[0].state == "pending"
