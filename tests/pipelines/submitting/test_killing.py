"""Whatever fails or is killed on the way of a run, there are never two of it, and the journal says what is so."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.service import FakeClock, Service
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.submitting import sending
from tunelane_pipelines.submitting.sending import resume_run, submit_run
from tunelane_pipelines.targets.errors import Refused, ServiceAway
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import TunelaneError

_ID = "train-classifier-1"
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


@settings(max_examples=60)
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
