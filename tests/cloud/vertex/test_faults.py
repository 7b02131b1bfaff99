"""One fault at a time at every call that the target makes: each ends in an error of ours, and the next try heals it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import AFTERWARDS, KINDS, ON_CREATES, TRANSIENT, Fault, Kind, matrix
from tests.cloud.bench.registry import REPOSITORY
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.errors import NotAllowed, QuotaExceeded, Refused, ServiceAway, ServiceDisabled
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence, Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget
from tunelane_serving.errors import TunelaneError

_FEW: tuple[Kind, ...] = ("503", "reply-lost", "denied", "partial", "stuck", "late")
_CREATES = ("CreatePipelineJob", "CreateSchedule")
_MAY_BE_THERE = (*AFTERWARDS, *ON_CREATES, "500", "503", "deadline", "dropped")
_HARMLESS = ("slow", "stuck")
_FINAL = {"denied": NotAllowed, "disabled": ServiceDisabled, "quota": QuotaExceeded}


class Asked(NamedTuple):
    """A target with a run and a schedule on it, whose resources are known."""

    target: VertexTarget
    submission: Submission
    run: str
    schedule: str


def _nothing(asked: Asked) -> None:
    """Prepare nothing."""


_NIGHTLY = Recurrence("0 3 * * *")
_VERBS: dict[str, tuple[Callable[[Asked], Any], Callable[[Asked], Any]]] = {
    "check": (_nothing, lambda on: on.target.check(on.submission)),
    "submit": (_nothing, lambda on: on.target.submit(on.submission).resource),
    "file_run": (
        lambda on: [on.target.get(on.run) for _ in range(2)],
        lambda on: on.target.file_run(on.run, "baseline"),
    ),
    "find": (_nothing, lambda on: on.target.find("kept")),
    "get": (_nothing, lambda on: on.target.get(on.run).resource),
    "runs": (_nothing, lambda on: [run.run_id for run in on.target.runs(since=on.target.get(on.run).created_at)]),
    "cancel": (_nothing, lambda on: on.target.cancel(on.run)),
    "logs": (_nothing, lambda on: list(on.target.logs(on.run))),
    "create_schedule": (_nothing, lambda on: on.target.create_schedule("second", on.submission, _NIGHTLY).resource),
    "schedules": (_nothing, lambda on: [schedule.name for schedule in on.target.schedules()]),
    "schedule": (_nothing, lambda on: on.target.schedule("kept").resource),
    "pause_schedule": (_nothing, lambda on: on.target.pause_schedule(on.schedule)),
    "resume_schedule": (
        lambda on: on.target.pause_schedule(on.schedule),
        lambda on: on.target.resume_schedule(on.schedule, catch_up=False),
    ),
    "update_schedule": (_nothing, lambda on: on.target.update_schedule(on.schedule, _NIGHTLY).recurrence),
    "delete_schedule": (_nothing, lambda on: on.target.delete_schedule(on.schedule)),
}


def test_every_verb_that_talks_is_tried() -> None:
    pure = {"name", "takes_run_id", "request"}
    verbs = {name for name in vars(VertexTarget) if not name.startswith("_")}
    assert _VERBS.keys() == verbs - pure


@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_a_fault_ends_in_an_error_of_ours_and_heals(
    verb: str, bench: Bench, gcp: GcpSettings, submission: Submission
) -> None:
    _try_faults(verb, _FEW, bench, gcp, submission)


@pytest.mark.slow
@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_every_fault_ends_in_an_error_of_ours_and_heals(
    verb: str, bench: Bench, gcp: GcpSettings, submission: Submission
) -> None:
    _try_faults(verb, KINDS, bench, gcp, submission)


def _try_faults(verb: str, kinds: Sequence[Kind], bench: Bench, gcp: GcpSettings, submission: Submission) -> None:
    """Do the verb once without a fault, then with each at each of its calls: first as it is, then repeated."""
    repository = f"{bench.region}-kfp.pkg.dev/{bench.project}/{REPOSITORY}"
    target = VertexTarget(gcp.model_copy(update={"template_repository": repository}), bench.clock)
    without_templates = VertexTarget(gcp, bench.clock)
    kept = replace(submission, run_id="kept")
    prepare, act = _VERBS[verb]

    def fresh() -> Asked:
        bench.reset()
        run = without_templates.submit(kept)
        schedule = without_templates.create_schedule("kept", kept, Recurrence("0 2 * * *"))
        asked = Asked(target, submission, run.resource, schedule.resource)
        prepare(asked)
        bench.calls.clear()
        return asked

    asked = fresh()
    expected = _names(act(asked))
    # A template or a context that is not there is answered so, before its answer could be lost.
    faults = [
        fault
        for fault in matrix(bench.calls, kinds)
        if fault.method not in ("registry.download", "GetContext") or fault.kind not in AFTERWARDS
    ]
    left = _left(bench)
    assert faults
    for fault in faults:
        again = partial(act, fresh())
        bench.faults.add_all([fault])
        _check_error(fault, again, bench)
        assert bench.faults.unused() == [], f"{fault} was not met"
        if (fault.method, fault.kind) == ("CreateSchedule", "late"):
            bench.arrive()  # nothing tells it from one that never comes: who repeats it waits first
        assert _names(retried(again, bench.clock)) == expected, fault
        assert _left(bench) == left, fault


def _check_error(fault: Fault, act: Callable[[], Any], bench: Bench) -> None:
    """The first try, without any of our own repeating."""
    calls = len(bench.calls)
    if fault.kind in _HARMLESS:
        act()
        return
    try:
        act()
    except TunelaneError as raised:
        error = raised
    else:
        if (fault.method, fault.kind) == ("CreateContext", "nameless"):
            return  # its name is known beforehand
        pytest.fail(f"{fault} was swallowed")
    assert "\n" not in str(error), fault
    assert (error.__cause__ is not None) is (fault.kind != "nameless"), fault
    hits = [call for call in bench.calls[calls:] if call.fault]
    assert len(hits) == 1, f"{fault}: the client tried again by itself"
    if fault.kind in _FINAL:
        assert type(error) is _FINAL[fault.kind], fault
    elif fault.kind == "partial":
        assert isinstance(error, ServiceAway | Refused), fault
    else:
        assert fault.kind in (*TRANSIENT, "conflict")
        assert type(error) is ServiceAway, fault
    if isinstance(error, ServiceAway):
        # What makes nothing may be asked for again, and nobody need look for what it left.
        may_be_there = fault.method in _CREATES and fault.kind in _MAY_BE_THERE
        assert error.is_reply_lost is may_be_there, fault
    if fault.kind == "429" and "." not in fault.method:
        assert isinstance(error, ServiceAway) and error.retry_after_s == 5.0, fault


def _names(value: Any) -> Any:
    """What of a result is the same on a bench that began anew: ids count on."""
    return value.rsplit("/", 1)[0] if isinstance(value, str) else value if isinstance(value, list) else None


def _left(bench: Bench) -> tuple[list[str], list[tuple[str, str]], int]:
    """What stands on the service afterwards."""
    jobs = sorted(job.display_name + job.labels["tunelane-run"] for job in bench.vertex.jobs())
    schedules = sorted((schedule.display_name, schedule.state.name) for schedule in bench.schedules.schedules())
    return jobs, schedules, len(bench.registry.templates)
