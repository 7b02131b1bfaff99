"""A schedule that retrains, on Vertex AI and on Kubeflow: its runs, its limit, and every verb with every fault."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace as with_fields

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.faults import Fault, matrix
from tests.cloud.bench.specs import small_spec
from tests.cloud.kubeflow.faults import FAULTS
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.runs.reconciling import refresh
from tunelane_pipelines.scheduling.creating import create_schedule
from tunelane_pipelines.scheduling.journalled import NeedsResume, Schedules
from tunelane_pipelines.scheduling.reconciling import reconcile
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.scheduling.service import ServiceKeeper
from tunelane_pipelines.scheduling.showing import runs_of
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.settings.sections import GcpSettings, KubeflowSettings
from tunelane_pipelines.submitting.submit import Wish
from tunelane_pipelines.targets.kubeflow.client import Api
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Recurrence, RemoteTarget, Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget
from tunelane_serving.errors import TunelaneError

_HOUR = timedelta(hours=1)
_HOURLY = changed(Recurrence(cron=""), cron="0 * * * *")
_DAILY = changed(Recurrence(cron=""), cron="0 3 * * MON")
_ENDED = ("succeeded", "failed", "cancelled")


class Cluster(Protocol):
    """A service that a schedule can be made on, and what a test has it do."""

    target: RemoteTarget
    clock: Any

    def reset(self) -> None:
        """Forget everything."""
        ...

    def end(self, resource: str) -> None:
        """Let a run succeed."""
        ...

    def begin(self) -> None:
        """Count calls from here."""
        ...

    def faults(self) -> list[Any]:
        """Give one fault of each kind at every call since."""
        ...

    def show(self, fault: Any) -> None:
        """Have the fault come."""
        ...

    def is_late(self, fault: Any) -> bool:
        """Whether the fault is that a schedule is made only after further calls."""
        ...

    def arrive(self) -> None:
        """Carry out what is still under way."""
        ...


class Vertex:
    """The bench's Vertex AI."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.clock = bench.clock
        settings = GcpSettings(
            project=bench.project,
            region=bench.region,
            pipeline_root=f"gs://{bench.bucket}/runs",
            service_account=bench.service_account,
        )
        self.target: RemoteTarget = VertexTarget(settings, bench.clock)

    def reset(self) -> None:
        self._bench.reset()
        self._bench.vertex.hold()

    def end(self, resource: str) -> None:
        self._bench.vertex.finish(resource)

    def begin(self) -> None:
        self._bench.calls.clear()

    def faults(self) -> list[Fault]:
        return matrix(self._bench.calls)

    def show(self, fault: Fault) -> None:
        self._bench.faults.add(fault.method, fault.kind, skip=fault.skip)

    def is_late(self, fault: Fault) -> bool:
        return (fault.method, fault.kind) == ("CreateSchedule", "late")

    def arrive(self) -> None:
        self._bench.arrive()


class Kubeflow:
    """The fake installation of Kubeflow Pipelines."""

    def __init__(self, fake: FakeKubeflow) -> None:
        self._fake = fake
        self.clock = fake.clock
        settings = KubeflowSettings(host=fake.host)
        self.target: RemoteTarget = KubeflowTarget(settings, fake.clock, Api(settings, 0.3))

    def reset(self) -> None:
        self._fake.reset()

    def end(self, resource: str) -> None:
        self._fake.end(resource, "SUCCEEDED")

    def begin(self) -> None:
        self._fake.faults.clear()
        self._fake.calls.clear()

    def faults(self) -> list[tuple[int, Any]]:
        return [(number, kind) for number in range(len(self._fake.calls)) for kind in FAULTS]

    def show(self, fault: tuple[int, Any]) -> None:
        number, kind = fault
        self._fake.faults[number] = kind

    def is_late(self, fault: tuple[int, Any]) -> bool:
        number, kind = fault
        return kind == "late" and self._fake.calls[number].operation == "create_recurring_run"

    def arrive(self) -> None:
        self._fake.arrive()


@pytest.fixture(params=["vertex", "kubeflow"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Each test runs on both."""
    if request.param == "vertex":
        vertex = Vertex(request.getfixturevalue("bench"))
        vertex.reset()
        yield vertex
        return
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeKubeflow() as fake:
        yield Kubeflow(fake)


@pytest.fixture
def submission() -> Submission:
    return Submission(_KEY, "small", "Small", small_spec("train", "gate"), {"n": 3})


@pytest.fixture
def schedules(cluster: Cluster, tmp_path: Path) -> Schedules:
    store = ScheduleStore(tmp_path / "root")
    return Schedules(store, ServiceKeeper(cluster.target, store), cluster.clock)


_KEY = "nightly-20260101-030000-ab12"


def _record(cluster: Cluster, recurrence: Recurrence = _HOURLY) -> ScheduleRecord:
    target = cluster.target
    return ScheduleRecord(
        "nightly", target.name, "small", recurrence, cluster.clock.now(), service=target.service, key=_KEY
    )


def _going_on(cluster: Cluster) -> list[str]:
    since = cluster.clock.now() - timedelta(days=9)
    return [run.resource for run in cluster.target.runs(since=since) if run.state not in _ENDED]


def _runs(schedules: Schedules, cluster: Cluster) -> int:
    """Bring the journal up to date, and count the schedule's runs in it."""
    journal = Journal(schedules.store.root)
    refresh(journal, journal.entries(), cluster.target, cluster.clock, attempts=1)
    return len(runs_of(schedules.store.root, schedules.store.record("nightly")))


def test_a_schedule_fires_three_times_and_its_runs_are_in_the_journal(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    made = schedules.create(_record(cluster), submission)
    for fired in range(1, 4):
        cluster.clock.advance(_HOUR)
        assert _runs(schedules, cluster) == fired
        for resource in _going_on(cluster):
            cluster.end(resource)
    assert _runs(schedules, cluster) == 3
    entries = runs_of(schedules.store.root, made)
    assert {(entry.schedule, entry.target, entry.state) for entry in entries} == {
        (made.resource, cluster.target.name, "succeeded")
    }
    assert len({entry.run_id for entry in entries}) == 3


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_than_the_allowed_number_run_at_once(
    limit: int, cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    schedules.create(_record(cluster, changed(_HOURLY, max_concurrent_runs=limit)), submission)
    for _ in range(limit + 2):
        cluster.clock.advance(_HOUR)
        assert len(_going_on(cluster)) <= limit
    assert _runs(schedules, cluster) == limit
    cluster.end(_going_on(cluster)[0])
    cluster.clock.advance(_HOUR)
    assert _runs(schedules, cluster) == limit + 1
    assert len(_going_on(cluster)) == limit


def test_runs_from_before_an_update_stay_the_schedules(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    schedules.create(_record(cluster), submission)
    for fired in (1, 2):
        cluster.clock.advance(_HOUR)
        assert _runs(schedules, cluster) == fired
        for resource in _going_on(cluster):
            cluster.end(resource)
        schedules.update("nightly", changed(_HOURLY, max_concurrent_runs=fired + 1))
    assert _runs(schedules, cluster) == 2


def test_a_paused_schedule_starts_nothing(cluster: Cluster, schedules: Schedules, submission: Submission) -> None:
    schedules.create(_record(cluster), submission)
    schedules.pause("nightly")
    cluster.clock.advance(3 * _HOUR)
    assert _runs(schedules, cluster) == 0
    schedules.update("nightly", _DAILY)
    assert cluster.target.schedule("nightly").state == "paused"
    schedules.delete("nightly")
    assert list(cluster.target.schedules()) == []


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> Settings:
    """The settings of a user of the cluster."""
    images = tmp_path / "images.json"
    images.write_text(json.dumps({name: f"registry.example.org/{name}" for name in EXTRA_BY_IMAGE}))
    return Settings(root=tmp_path / "root", images=images)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_schedule_that_retrains_fires_three_times_within_its_limit(
    limit: int, cluster: Cluster, settings: Settings, running_bench: Bench
) -> None:
    at = f"gs://{running_bench.bucket}"
    places = [f"data={at}/rows.csv", f"registry_uri={at}/registry", f"deployment_uri={at}/deployments"]
    made = create_schedule(
        "retrain",
        Wish("train-classifier", cluster.target.name, assignments=places),
        changed(_HOURLY, max_concurrent_runs=limit),
        settings,
        lambda _: cluster.target,
        cluster.clock,
    )
    assert (made.service, made.state) == (cluster.target.service, "active")
    journal = Journal(settings.root)
    for fired in range(1, 4):
        cluster.clock.advance(_HOUR)
        # Due again while as many as may be go on: it waits, or is left out.
        cluster.clock.advance((limit - 1) * _HOUR)
        cluster.clock.advance(_HOUR)
        assert len(_going_on(cluster)) == limit
        refresh(journal, journal.entries(), cluster.target, cluster.clock, attempts=1)
        assert len(runs_of(settings.root, made)) >= fired * limit
        for resource in _going_on(cluster):
            cluster.end(resource)
    entries = runs_of(settings.root, made)
    assert {(entry.pipeline, entry.schedule, entry.service) for entry in entries} == {
        ("train-classifier", made.resource, made.service)
    }
    run = cluster.target.get(entries[-1].resource)
    assert run.parameters["registry_uri"] == f"{at}/registry"
    assert run.parameters["deployment_uri"] == f"{at}/deployments"


def test_a_schedule_that_arrives_late_does_not_become_two(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    cluster.begin()
    schedules.create(_record(cluster), submission)
    [late] = [fault for fault in cluster.faults() if cluster.is_late(fault)]
    schedules.delete("nightly")
    for waits in (timedelta(0), QUIET_TIME):
        cluster.reset()
        cluster.begin()
        cluster.show(late)
        # What is looked for a few times has arrived by then.
        with suppress(NeedsResume):
            schedules.create(_record(cluster), submission)
        cluster.clock.advance(waits)
        schedules.carry_on("nightly")
        cluster.arrive()
        [kept] = cluster.target.schedules()
        assert (kept.run_id, kept.resource) == (_KEY, schedules.store.record("nightly").resource)
        schedules.delete("nightly")
        assert list(cluster.target.schedules()) == []


def test_a_colleagues_schedule_of_the_same_name_is_left_alone(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    theirs = cluster.target.create_schedule(
        "nightly", replace(submission, run_id="nightly-20260101-040000-cd34"), _DAILY
    )
    sent_at = cluster.clock.now() - QUIET_TIME
    schedules.store.add(with_fields(_record(cluster), pending="create", sent_at=sent_at), submission)
    with pytest.raises(TunelaneError, match="There is a schedule"):
        schedules.carry_on("nightly")
    schedules.delete("nightly")
    assert [seen.resource for seen in cluster.target.schedules()] == [theirs.resource]
    assert schedules.store.records() == []


def test_what_others_did_is_put_right(cluster: Cluster, schedules: Schedules, submission: Submission) -> None:
    store = schedules.store
    made = schedules.create(_record(cluster), submission)
    cluster.target.pause_schedule(made.resource)
    assert reconcile(store, cluster.target, cluster.clock.now())["nightly"].state == "paused"
    assert store.record("nightly").state == "paused"
    changed_elsewhere = cluster.target.update_schedule(made.resource, _DAILY)
    reconcile(store, cluster.target, cluster.clock.now())
    found = store.record("nightly")
    assert (found.resource, found.recurrence.cron) == (changed_elsewhere.resource, _DAILY.cron)
    cluster.target.delete_schedule(found.resource)
    reconcile(store, cluster.target, cluster.clock.now())
    assert store.record("nightly").shown_state == "gone"
    schedules.delete("nightly")
    cluster.target.create_schedule("elsewhere", submission, _DAILY)
    reconcile(store, cluster.target, cluster.clock.now())
    [found] = store.records()
    assert (found.name, found.pipeline, found.state, found.recurrence.cron) == (
        "elsewhere", "small", "active", "0 3 * * MON",
    )  # fmt: skip
    schedules.pause("elsewhere")
    assert cluster.target.schedule("elsewhere").state == "paused"


_Act = Callable[[Schedules, Cluster, Submission], object]
_VERBS: dict[str, _Act] = {
    "create": lambda on, cluster, submission: on.create(_record(cluster), submission),
    "pause": lambda on, _, __: on.pause("nightly"),
    "resume": lambda on, _, __: on.resume("nightly", catch_up=False),
    "update": lambda on, _, __: on.update("nightly", _DAILY),
    "delete": lambda on, _, __: on.delete("nightly"),
}


def _agree(schedules: Schedules, cluster: Cluster) -> bool:
    """Whether the journal has what the service has, and that once."""
    kept = {(one.name, one.resource, one.state, one.recurrence.cron) for one in cluster.target.schedules()}
    ours = {(one.name, one.resource, one.state, one.recurrence.cron) for one in schedules.store.records()}
    return ours == kept


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb", _VERBS)
def test_after_any_fault_a_change_is_done_undone_or_needs_to_be_resumed(
    verb: str, every: int, cluster: Cluster, submission: Submission, tmp_path: Path
) -> None:
    """`every`: one fault of so many is tried, which goes through the kinds since it divides their number nowhere."""
    act = _VERBS[verb]

    def prepared(number: int) -> Schedules:
        cluster.reset()
        store = ScheduleStore(tmp_path / f"root-{number}")
        schedules = Schedules(store, ServiceKeeper(cluster.target, store), cluster.clock)
        if verb != "create":
            schedules.create(_record(cluster), submission)
        if verb == "resume":
            schedules.pause("nightly")
        cluster.begin()
        return schedules

    act(prepared(0), cluster, submission)
    faults = cluster.faults()[::every]
    assert faults
    ends = set()
    for number, fault in enumerate(faults, 1):
        schedules = prepared(number)
        cluster.show(fault)
        error: TunelaneError | None = None
        try:
            act(schedules, cluster, submission)
        except TunelaneError as caught:
            error = caught
            assert "\n" not in str(error)
        cluster.begin()
        pending = [record for record in schedules.store.records() if record.pending]
        ends.add("needs-resume" if pending else "undone" if error else "done")
        if pending:
            assert f"tunelane schedule continue {pending[0].name}" in str(error), fault
            with suppress(TunelaneError):
                schedules.carry_on("nightly")
        if [record for record in schedules.store.records() if record.pending]:
            # It may still have been on its way.
            cluster.clock.advance(QUIET_TIME)
            with suppress(TunelaneError):
                schedules.carry_on("nightly")
        cluster.arrive()
        assert _agree(schedules, cluster), fault
        assert [record.pending for record in schedules.store.records() if record.pending] == [], fault
        if error is None or pending:
            continue
        # A clear no left everything as it was: the same can be asked for again.
        act(schedules, cluster, submission)
        assert _agree(schedules, cluster), fault
    assert every > 1 or {"done", "undone"} <= ends
