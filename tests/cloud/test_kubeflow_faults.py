"""One fault at a time at every call that the commands make on Kubeflow: done, rolled back, or needs-resume.

Kubeflow takes no id of ours, so that only patience keeps a lost request from starting a second run. That is tried, too:
a request that arrives when its command has given up, and others have been there since.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.bench.specs import small_spec
from tests.cloud.kubeflow.faults import FAULTS, Fault
from tests.cloud.kubeflow.hurried import HurriedApi
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.display.watching import watch_run
from tunelane_pipelines.runs.cancelling import cancel_run
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.scheduling.journalled import Schedules
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.service import ServiceKeeper
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.submitting.sending import resume_run, submit_run
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Recurrence, RemoteTarget, Submission
from tunelane_serving.errors import TunelaneError

_TASKS = ("first", "second")
_HOURLY, _NIGHTLY = Recurrence("0 * * * *"), Recurrence("0 3 * * *")
_A_LITTLE = timedelta(minutes=1)

Opener = Callable[[str], RemoteTarget]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubeflow]:
    from kfp import Client

    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    with FakeKubeflow() as fake:
        yield fake


@pytest.fixture
def opener(fake: FakeKubeflow) -> Opener:
    settings = KubeflowSettings(host=fake.host)
    target = KubeflowTarget(settings, fake.clock, HurriedApi(settings, fake))
    return lambda _name: target


@pytest.fixture
def submission() -> Submission:
    return Submission("train-classifier-0", "train-classifier", "Train", small_spec(*_TASKS), {"n": 3})


class _Going:
    """A clock by which runs go on: each time that somebody waits for it, each run takes a step to its end."""

    def __init__(self, fake: FakeKubeflow) -> None:
        self._fake = fake

    def now(self) -> Any:
        return self._fake.clock.now()

    def sleep(self, seconds: float) -> None:
        for run_id, run in list(self._fake.runs.items()):
            if run["state"] == "PENDING":
                self._fake.start(run_id)
            elif run["state"] == "RUNNING":
                for task in _TASKS:
                    self._fake.task(run_id, task, "SUCCEEDED")
                self._fake.end(run_id, "SUCCEEDED")
            elif run["state"] == "CANCELING":
                self._fake.end(run_id, "CANCELED")
        self._fake.clock.sleep(seconds)


def _submit_and_watch(root: Path, sent: Submission, opener: Opener, clock: _Going) -> None:
    submit_run(sent, root, opener("kubeflow"), clock, command="")
    watch_run(root, sent.run_id, opener, clock)


def _submit_and_cancel(root: Path, sent: Submission, opener: Opener, clock: _Going) -> None:
    submit_run(sent, root, opener("kubeflow"), clock, command="")
    cancel_run(root, find_run(root, sent.run_id), opener, clock)
    watch_run(root, sent.run_id, opener, clock)


_FLOWS = {"watch": (_submit_and_watch, "succeeded"), "cancel": (_submit_and_cancel, "cancelled")}


def _state(root: Path, run_id: str) -> str:
    """The state that the journal has; empty where nothing was left."""
    return next((entry.state for entry in list_runs(root) if entry.run_id == run_id), "")


def _faults(fake: FakeKubeflow, every: int) -> list[tuple[int, Fault]]:
    """One fault of each kind at every call so far; one of so many of them."""
    return [(number, kind) for number in range(len(fake.calls)) for kind in FAULTS][::every]


# One of so many goes through all kinds, as it does not divide their number.
_every = pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])


@_every
@pytest.mark.parametrize("flow", _FLOWS)
def test_with_one_fault_at_any_call_a_run_is_done_taken_back_or_resumed(
    flow: str, every: int, fake: FakeKubeflow, opener: Opener, submission: Submission, tmp_path: Path
) -> None:
    act, aim = _FLOWS[flow]
    clock = _Going(fake)
    act(tmp_path / "root", submission, opener, clock)
    assert _state(tmp_path / "root", submission.run_id) == aim
    ends: dict[str, int] = {}
    for number, (call, kind) in enumerate(_faults(fake, every), start=1):
        fake.reset()
        root, sent = tmp_path / f"root-{number}", replace(submission, run_id=f"train-classifier-{number}")
        fake.faults = {call: kind}
        error = ""
        try:
            act(root, sent, opener, clock)
        except TunelaneError as caught:
            error = str(caught)
            assert "\n" not in error
        end = _state(root, sent.run_id)
        ends[end] = ends.get(end, 0) + 1
        assert len(fake.runs) <= 1, (call, kind)
        if end == "needs-resume":
            assert f"tunelane runs resume {sent.run_id}" in error or not error, (call, kind)
            # Too early: the request may still be on its way.
            with suppress(TunelaneError):
                resume_run(find_run(root, sent.run_id), opener, clock)
            assert len(fake.runs) <= 1, (call, kind)
            fake.clock.advance(QUIET_TIME + _A_LITTLE)
            resume_run(find_run(root, sent.run_id), opener, clock)
        fake.arrive()
        assert len(fake.runs) == (1 if end else 0), (call, kind, error)
        if end:
            watch_run(root, sent.run_id, opener, clock)
            assert _state(root, sent.run_id) in ("succeeded", aim), (call, kind)
    assert ends[aim] > sum(ends.values()) / 2
    assert every > 1 or {"", "needs-resume", aim} <= ends.keys()


def _position(fake: FakeKubeflow, opener: Opener, submission: Submission, root: Path) -> int:
    """Which call of a submission starts the run."""
    submit_run(submission, root / "other", opener("kubeflow"), _Going(fake), command="")
    position = [call.operation for call in fake.calls].index("create_run")
    fake.reset()
    return position


def test_a_run_that_is_resumed_too_early_is_not_sent_again(
    fake: FakeKubeflow, opener: Opener, submission: Submission, tmp_path: Path
) -> None:
    clock = _Going(fake)
    fake.faults = {_position(fake, opener, submission, tmp_path): "dropped"}
    with pytest.raises(TunelaneError, match="tunelane runs resume"):
        submit_run(submission, tmp_path, opener("kubeflow"), clock, command="")
    for _ in range(3):
        with pytest.raises(TunelaneError, match="still be on its way"):
            resume_run(find_run(tmp_path, submission.run_id), opener, clock)
        fake.clock.advance(timedelta(minutes=2))
    assert len(fake.named("create_run")) == 1
    fake.clock.advance(QUIET_TIME)
    resume_run(find_run(tmp_path, submission.run_id), opener, clock)
    assert len(fake.named("create_run")) == 2
    assert len(fake.runs) == 1


@pytest.mark.parametrize("late_calls", range(12))
def test_however_late_a_request_arrives_there_is_one_run(
    late_calls: int, fake: FakeKubeflow, opener: Opener, submission: Submission, tmp_path: Path
) -> None:
    clock, fake.late_calls = _Going(fake), late_calls
    position = _position(fake, opener, submission, tmp_path)
    fake.faults = {position: "late"}
    with suppress(TunelaneError):
        submit_run(submission, tmp_path, opener("kubeflow"), clock, command="")
    # Impatiently.
    for _ in range(2):
        with suppress(TunelaneError):
            resume_run(find_run(tmp_path, submission.run_id), opener, clock)
    fake.clock.advance(QUIET_TIME + _A_LITTLE)
    resume_run(find_run(tmp_path, submission.run_id), opener, clock)
    fake.arrive()
    assert len(fake.runs) == 1
    watch_run(tmp_path, submission.run_id, opener, clock)
    assert _state(tmp_path, submission.run_id) == "succeeded"


def _create(on: Schedules, submission: Submission, target: RemoteTarget, clock: _Going) -> object:
    record = ScheduleRecord(
        "nightly", target.name, "small", _NIGHTLY, clock.now(), service=target.service, key=submission.run_id
    )
    return on.create(record, submission)


_VERBS: dict[str, Callable[[Schedules, Submission, RemoteTarget, _Going], object]] = {
    "create": _create,
    "pause": lambda on, *_: on.pause("nightly"),
    "resume": lambda on, *_: on.resume("nightly", catch_up=False),
    "update": lambda on, *_: on.update("nightly", _HOURLY),
    "delete": lambda on, *_: on.delete("nightly"),
}


@_every
@pytest.mark.parametrize("verb", _VERBS)
def test_with_one_fault_at_any_call_a_schedule_is_changed_or_not_or_resumed(
    verb: str, every: int, fake: FakeKubeflow, opener: Opener, submission: Submission, tmp_path: Path
) -> None:
    target, clock = opener("kubeflow"), _Going(fake)

    def act(number: int, faults: dict[int, Fault]) -> tuple[Schedules, str]:
        """Do the verb on a schedule in the state that it is meant for; gives what was said."""
        fake.reset()
        store = ScheduleStore(tmp_path / f"root-{number}")
        schedules = Schedules(store, ServiceKeeper(target, store), clock)
        if verb != "create":
            _create(schedules, submission, target, clock)
        if verb == "resume":
            schedules.pause("nightly")
        fake.calls.clear()
        fake.faults = faults
        try:
            _VERBS[verb](schedules, submission, target, clock)
        except TunelaneError as error:
            assert "\n" not in str(error)
            return schedules, str(error)
        return schedules, ""

    assert act(0, {})[1] == ""
    ends = set()
    for number, (call, kind) in enumerate(_faults(fake, every), start=1):
        schedules, error = act(number, {call: kind})
        pending = any(record.pending for record in schedules.store.records())
        ends.add("needs-resume" if pending else "undone" if error else "done")
        assert len(_enabled(fake)) <= 1, (call, kind)
        if pending:
            assert "tunelane schedule continue nightly" in error, (call, kind)
            with suppress(TunelaneError):
                schedules.carry_on("nightly")
            assert len(_enabled(fake)) <= 1, (call, kind)
            fake.clock.advance(QUIET_TIME + _A_LITTLE)
            schedules.carry_on("nightly")
        fake.arrive()
        assert len(_enabled(fake)) <= 1, (call, kind)
        # As the journal has it, each once.
        seen = {(one.name, one.resource, one.state, one.recurrence.cron) for one in target.schedules()}
        ours = {(one.name, one.resource, one.state, one.recurrence.cron) for one in schedules.store.records()}
        assert ours == seen, (call, kind, error)
        assert not [record for record in schedules.store.records() if record.pending]
    assert every > 1 or {"done", "undone"} <= ends


def _enabled(fake: FakeKubeflow) -> list[str]:
    return [resource for resource, one in fake.recurring_runs.items() if one["status"] == "ENABLED"]
