"""One fault at a time at every single call: each verb ends done or with an error in words, and never done twice."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.cloud.kubeflow.faults import FAULTS, TRANSIENT, Fault
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.targets.errors import NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence, Submission

NIGHTLY = Recurrence("0 3 * * *")
OpenTarget = Callable[..., KubeflowTarget]
Verb = Callable[[KubeflowTarget, Submission], object]


def _run(target: KubeflowTarget, submission: Submission) -> str:
    found = target.find(submission.run_id)
    assert found is not None
    return found.resource


VERBS: dict[str, Verb] = {
    "check": lambda target, submission: target.check(submission),
    "submit": lambda target, submission: target.submit(submission),
    "find": lambda target, submission: target.find(submission.run_id),
    "get": lambda target, submission: target.get(_run(target, submission)),
    "runs": lambda target, _: list(target.runs(since=target._clock.now())),
    "cancel": lambda target, submission: target.cancel(_run(target, submission)),
    "logs": lambda target, submission: list(target.logs(_run(target, submission))),
    "create_schedule": lambda target, submission: target.create_schedule("nightly", submission, NIGHTLY),
    "schedules": lambda target, _: list(target.schedules()),
    "schedule": lambda target, _: target.schedule("nightly"),
    "pause": lambda target, _: target.pause_schedule("nightly"),
    "resume": lambda target, _: target.resume_schedule("nightly", catch_up=False),
    "update": lambda target, _: target.update_schedule("nightly", replace(NIGHTLY, cron="0 4 * * *")),
    "delete": lambda target, _: target.delete_schedule("nightly"),
}
_FRESH = ("submit", "create_schedule")


@pytest.fixture
def prepared(fake: FakeKubeflow, open_target: OpenTarget, convert: Submission) -> Callable[[str], KubeflowTarget]:
    """`prepared(verb)`: the target as the verb finds it, nothing else in the installation."""

    def prepare(verb: str) -> KubeflowTarget:
        fake.reset()
        target = open_target(fake)
        if verb not in _FRESH:
            target.submit(convert)
            made = target.create_schedule("nightly", convert, NIGHTLY)
            (run,) = fake.runs
            fake.task(run, "build-dataset", "RUNNING")
            fake.workflows.write(run, "build-dataset", "reading")
            if verb == "resume":
                target.pause_schedule(made.resource)
        fake.calls.clear()
        return target

    return prepare


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_at_any_call_ends_in_words_and_a_second_try_ends_well(
    verb: str,
    fault: Fault,
    fake: FakeKubeflow,
    prepared: Callable[[str], KubeflowTarget],
    convert: Submission,
) -> None:
    VERBS[verb](prepared(verb), convert)
    count = len(fake.calls)
    assert count
    for number in range(count):
        target = prepared(verb)
        fake.faults = {number: fault}
        try:
            VERBS[verb](target, convert)
        except ServiceAway as error:
            assert fault in TRANSIENT
            is_create = fake.calls[number].operation in ("create_run", "create_recurring_run")
            assert error.is_reply_lost == (is_create and fault not in ("429", "503"))
            assert (error.retry_after_s == 7) == (fault == "429")
            _check_words(str(error))
        except NotAllowed as error:
            assert fault == "denied"
            _check_words(str(error))
        except Refused as error:
            assert fault == "conflict"
            _check_words(str(error))
        fake.faults = {}
        fake.arrive()
        VERBS[verb](target, convert)
        _check_installation(verb, fake)


@pytest.mark.parametrize("fault", [fault for fault in TRANSIENT if fault not in ("slow", "late")])
@pytest.mark.parametrize("verb", _FRESH)
def test_a_repeated_call_gets_through_a_transient_fault_and_starts_one_thing(
    verb: str, fault: Fault, fake: FakeKubeflow, prepared: Callable[[str], KubeflowTarget], convert: Submission
) -> None:
    VERBS[verb](prepared(verb), convert)
    for number in range(len(fake.calls)):
        target = prepared(verb)
        fake.faults = {number: fault}
        # Each looks for what is there before it makes anything; only what arrives late is not there yet.
        retried(lambda target=target: VERBS[verb](target, convert), fake.clock)  # type: ignore[misc]
        _check_installation(verb, fake)


def _check_words(words: str) -> None:
    assert "\n" not in words
    assert words.endswith(".")
    assert "Traceback" not in words
    assert "(0)" not in words


def _check_installation(verb: str, fake: FakeKubeflow) -> None:
    """Never two of anything."""
    assert len(fake.experiments) <= 1
    assert len(fake.runs) == (0 if verb == "create_schedule" else 1)
    expected = {"submit": 0, "delete": 0}.get(verb, 1)
    assert len(fake.recurring_runs) == expected
    if verb == "update":
        (kept,) = fake.recurring_runs.values()
        assert (kept["status"], kept["trigger"]["cron_schedule"]["cron"]) == ("ENABLED", "0 0 4 * * *")
