"""Vertex AI schedules' fake, by the generated client and the bench's clock."""

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import Schedule

_MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
_WEEK = timedelta(days=7)
_over_both = pytest.mark.parametrize("transport", ["grpc", "rest"])


@pytest.fixture
def create(schedule_client, vertex_parent, small_job, bench):
    bench.clock.set(_MONDAY)

    def run(**fields):
        schedule = {
            "display_name": "weekly",
            "cron": "TZ=Europe/Berlin 0 3 * * 1",
            "max_concurrent_run_count": 1,
            "create_pipeline_job_request": {"parent": vertex_parent, "pipeline_job": small_job},
        }
        return schedule_client.create_schedule(parent=vertex_parent, schedule=schedule | fields, timeout=20)

    return run


@_over_both
def test_a_schedule_starts_a_run_each_time_it_is_due(create, schedule_client, bench):
    schedule = create()
    assert schedule.state == Schedule.State.ACTIVE
    # Three o'clock in Berlin.
    assert schedule.next_run_time == _MONDAY.replace(hour=2)
    bench.clock.sleep(2 * _WEEK.total_seconds() + 3 * 3600)
    runs = bench.schedules.runs(schedule.name)
    assert [run.create_time.replace(microsecond=0) for run in runs] == [
        _MONDAY.replace(hour=2) + number * _WEEK for number in range(3)
    ]
    assert {run.labels["tunelane-run"] for run in runs} == {"one"}
    schedule = schedule_client.get_schedule(name=schedule.name)
    assert schedule.started_run_count == 3
    assert runs[-1].name in schedule.last_scheduled_run_response.run_response
    # Summer time begins on 29 March: the same hour in Berlin is an hour earlier here.
    bench.clock.set(datetime(2026, 3, 24, tzinfo=UTC))
    assert schedule_client.get_schedule(name=schedule.name).next_run_time == datetime(2026, 3, 30, 1, tzinfo=UTC)


@_over_both
def test_a_paused_schedule_starts_nothing_and_goes_on_without_what_it_missed(create, schedule_client, bench):
    schedule = create()
    schedule_client.pause_schedule(name=schedule.name)
    bench.clock.advance(2 * _WEEK)
    schedule_client.resume_schedule(name=schedule.name)
    assert bench.schedules.runs(schedule.name) == []
    bench.clock.advance(_WEEK)
    assert len(bench.schedules.runs(schedule.name)) == 1


def test_a_schedule_catches_up_where_it_is_asked_to(create, schedule_client, bench):
    schedule = create()
    schedule_client.pause_schedule(name=schedule.name)
    bench.clock.advance(2 * _WEEK)
    schedule_client.resume_schedule(name=schedule.name, catch_up=True)
    assert len(bench.schedules.runs(schedule.name)) == 2
    assert schedule_client.get_schedule(name=schedule.name).catch_up


@pytest.mark.parametrize("allow_queueing", [False, True])
def test_no_more_runs_than_allowed_go_on_at_once(create, bench, allow_queueing):
    schedule = create(max_concurrent_active_run_count=1, allow_queueing=allow_queueing)
    bench.clock.advance(2 * _WEEK)
    (run,) = bench.schedules.runs(schedule.name)
    assert len(bench.schedules.skipped) == (not allow_queueing)
    bench.vertex.finish(run.name)
    assert len(bench.schedules.runs(schedule.name)) == 1 + allow_queueing


@pytest.mark.parametrize("limit", [{"max_run_count": 2}, {"end_time": _MONDAY + timedelta(days=8)}])
def test_a_schedule_ends_at_its_limit(create, schedule_client, bench, limit):
    schedule = create(**limit)
    bench.clock.advance(5 * _WEEK)
    assert len(bench.schedules.runs(schedule.name)) == 2
    assert schedule_client.get_schedule(name=schedule.name).state == Schedule.State.COMPLETED
    for call in (schedule_client.pause_schedule, schedule_client.resume_schedule):
        with pytest.raises(exceptions.BadRequest):
            call(name=schedule.name)


def test_a_schedule_begins_at_its_start(create, bench):
    schedule = create(start_time=_MONDAY + _WEEK)
    assert schedule.next_run_time == _MONDAY.replace(hour=2) + _WEEK


@_over_both
def test_an_update_plans_anew_and_keeps_the_rest(create, schedule_client, bench):
    schedule = create()
    changed = {"name": schedule.name, "cron": "0 5 * * 2", "state": "PAUSED", "display_name": "other"}
    updated = schedule_client.update_schedule(schedule=changed, update_mask={"paths": ["cron", "state"]})
    assert updated.next_run_time == _MONDAY.replace(day=3, hour=5)
    assert updated.state == Schedule.State.ACTIVE
    assert updated.display_name == "weekly"
    bench.clock.advance(timedelta(days=2))
    assert len(bench.schedules.runs(schedule.name)) == 1


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        ({"cron": "0 5 * * 2"}, []),
        ({"cron": "0 5 * * 2"}, ["crontab"]),
        ({"cron": "whenever"}, ["cron"]),
        ({}, ["max_concurrent_run_count"]),
        ({}, ["create_pipeline_job_request"]),
    ],
)
def test_an_update_that_breaks_a_rule_changes_nothing(create, schedule_client, bench, changed, paths):
    schedule = create()
    with pytest.raises(exceptions.BadRequest):
        schedule_client.update_schedule(schedule={"name": schedule.name, **changed}, update_mask={"paths": paths})
    assert bench.schedules.schedules() == [schedule]


@_over_both
def test_runs_outlive_their_schedule(create, schedule_client, bench):
    schedule = create()
    bench.clock.advance(timedelta(days=1))
    schedule_client.delete_schedule(name=schedule.name).result(timeout=20)
    bench.clock.advance(_WEEK)
    assert bench.schedules.schedules() == []
    assert len(bench.schedules.runs(schedule.name)) == 1
    with pytest.raises(exceptions.NotFound):
        schedule_client.get_schedule(name=schedule.name)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"cron": "0 3 * *"}, "cron"),
        ({"cron": "61 3 * * *"}, "cron"),
        ({"cron": "TZ=Europe/Bielefeld 0 3 * * 1"}, "time zone"),
        ({"cron": ""}, "cron"),
        ({"max_concurrent_run_count": 0}, "max_concurrent_run_count"),
        ({"max_run_count": -1}, "max_run_count"),
        ({"display_name": ""}, "display_name"),
        ({"end_time": _MONDAY - _WEEK, "start_time": _MONDAY}, "end_time"),
        ({"create_pipeline_job_request": None}, "create_pipeline_job_request"),
    ],
)
def test_a_schedule_that_breaks_a_rule_is_refused(create, bench, fields, word):
    with pytest.raises(exceptions.BadRequest, match=word):
        create(**fields)
    assert bench.schedules.schedules() == []


@pytest.mark.parametrize(
    "changed", [{"pipeline_job_id": "one"}, {"parent": "projects/tunelane-test/locations/us-east1"}]
)
def test_what_a_schedule_starts_must_be_startable(create, vertex_parent, small_job, changed):
    with pytest.raises(exceptions.BadRequest):
        create(create_pipeline_job_request={"parent": vertex_parent, "pipeline_job": small_job, **changed})


def test_only_a_paused_schedule_is_resumed(create, schedule_client):
    with pytest.raises(exceptions.BadRequest, match="not paused"):
        schedule_client.resume_schedule(name=create().name)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('display_name="weekly"', 1),
        ('display_name:"week*"', 1),
        ('NOT display_name="weekly"', 0),
        ('state="PAUSED"', 0),
        ("create_pipeline_job_request:*", 1),
        ("end_time:*", 0),
        ('NOT end_time:* AND next_run_time>"2026-03-02T00:00:00Z"', 1),
    ],
)
def test_schedules_are_filtered(create, schedule_client, vertex_parent, expression, found):
    create()
    listed = schedule_client.list_schedules(request={"parent": vertex_parent, "filter": expression})
    assert len(list(listed)) == found


def test_a_run_that_cannot_start_is_told_of(create, schedule_client, vertex_parent, small_job, bench):
    del small_job["pipeline_spec"]
    job = small_job | {"template_uri": f"https://{bench.repository}/small/latest"}
    template = b"{pipelineInfo: {name: small}, schemaVersion: 2.1.0}"
    bench.registry.templates[f"https://{bench.repository}", "small", "latest"] = template
    schedule = create(create_pipeline_job_request={"parent": vertex_parent, "pipeline_job": job})
    bench.registry.templates.clear()
    bench.clock.advance(timedelta(days=1))
    assert "NOT_FOUND" in schedule_client.get_schedule(name=schedule.name).last_scheduled_run_response.run_response
