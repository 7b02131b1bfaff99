"""A run on its way: whatever fails or is killed, there are never two runs, and the journal says what is so."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.service import FakeClock, Service, away, no_target
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import LOCK, PARAMETERS, read_record
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
    assert [task.name for task in record.tasks][:2] == ["resolve-champion", "build-dataset"]
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
    assert entry.state == "needs-resume" and f"tunelane runs resume {_ID}" in entry.error
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
@given(first=_PLAN, later=st.lists(_PLAN, max_size=2))
def test_whatever_fails_or_is_killed_there_are_never_two_runs_and_the_journal_is_true(
    first: dict[int, str], later: list[dict[int, str]]
) -> None:
    load_pipeline("train-classifier")
    with tempfile.TemporaryDirectory() as directory:
        root, clock = Path(directory) / "root", FakeClock()
        service = Service(Path(directory) / "service.json", clock)
        submission = Submission(_ID, "train-classifier", "Train", {}, {"model_name": "tickets"})
        code = _in_child(lambda: submit_run(submission, root, service, clock, command=""), service, first)
        assert code in (0, 1, 9)
        _assert_true(root, service, code)
        for plan in later:
            if list_runs(root):
                code = _in_child(lambda: resume_run(find_run(root, _ID), service, clock), service, plan)
                assert code in (0, 1, 9)
                _assert_true(root, service, code)
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
