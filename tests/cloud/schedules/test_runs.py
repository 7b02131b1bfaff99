"""What a schedule on Vertex AI or on Kubeflow starts: its runs, how many at once, and their rows in the journal."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.schedules.clusters import DAILY, HOURLY, Cluster, nightly
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.reconciling import refresh
from tunelane_pipelines.scheduling.creating import create_schedule
from tunelane_pipelines.scheduling.journalled import Schedules
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.scheduling.showing import runs_of
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.submit import Wish
from tunelane_pipelines.targets.target import ENDED_STATES, Submission

_HOUR = timedelta(hours=1)


def _going_on(cluster: Cluster) -> list[str]:
    since = cluster.clock.now() - timedelta(days=9)
    return [run.resource for run in cluster.target.runs(since=since) if run.state not in ENDED_STATES]


def _runs(schedules: Schedules, cluster: Cluster) -> int:
    """Bring the journal up to date, and count the schedule's runs in it."""
    journal = Journal(schedules.store.root)
    refresh(journal, journal.entries(), cluster.target, cluster.clock, attempts=1)
    return len(runs_of(schedules.store.root, schedules.store.record("nightly")))


def test_a_schedule_fires_three_times_and_its_runs_are_in_the_journal(
    cluster: Cluster, schedules: Schedules, submission: Submission
) -> None:
    made = schedules.create(nightly(cluster), submission)
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
    schedules.create(nightly(cluster, changed(HOURLY, max_concurrent_runs=limit)), submission)
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
    schedules.create(nightly(cluster), submission)
    for fired in (1, 2):
        cluster.clock.advance(_HOUR)
        assert _runs(schedules, cluster) == fired
        for resource in _going_on(cluster):
            cluster.end(resource)
        schedules.update("nightly", changed(HOURLY, max_concurrent_runs=fired + 1))
    assert _runs(schedules, cluster) == 2


def test_a_paused_schedule_starts_nothing(cluster: Cluster, schedules: Schedules, submission: Submission) -> None:
    schedules.create(nightly(cluster), submission)
    schedules.pause("nightly")
    cluster.clock.advance(3 * _HOUR)
    assert _runs(schedules, cluster) == 0
    schedules.update("nightly", DAILY)
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
        changed(HOURLY, max_concurrent_runs=limit),
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
