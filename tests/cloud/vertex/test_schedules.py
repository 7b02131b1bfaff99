"""Schedules on Vertex AI, by Google's own client, from creation to deletion."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.cloud.bench.bench import Bench
from tunelane_pipelines.targets.errors import NoSuchResource, Refused, ServiceAway
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence, Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget

_NIGHTLY = Recurrence("0 3 * * *", time_zone="Europe/Berlin")


def test_a_schedule_lives_its_whole_life(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    made = target.create_schedule("nightly", submission, _NIGHTLY)
    assert (made.name, made.pipeline, made.state, made.recurrence.cron) == ("nightly", "small", "active", "0 3 * * *")
    assert made.recurrence.time_zone == "Europe/Berlin"
    assert (made.started_runs, made.last_run_at, made.last_error) == (0, None, "")
    assert made.run_id == submission.run_id
    assert made.console_url.endswith(f"/schedules/{made.resource.rpartition('/')[2]}?project={bench.project}")

    target.pause_schedule(made.resource)
    assert target.schedule("nightly").state == "paused"
    target.resume_schedule(made.resource, catch_up=True)
    resumed = target.schedule(made.resource)
    assert (resumed.state, resumed.recurrence.catch_up) == ("active", True)

    changed = target.update_schedule(made.resource, Recurrence("30 4 * * 1", max_concurrent_runs=2, max_runs=5))
    assert (changed.recurrence.cron, changed.recurrence.time_zone) == ("30 4 * * 1", "UTC")
    assert (changed.recurrence.max_concurrent_runs, changed.recurrence.max_runs) == (2, 5)
    assert [schedule.name for schedule in target.schedules()] == ["nightly"]

    target.delete_schedule(made.resource)
    assert list(target.schedules()) == []
    with pytest.raises(NoSuchResource, match="No schedule 'nightly'"):
        target.schedule("nightly")


def test_the_service_reads_the_recurrence_where_it_looks_for_it(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    starts_at, ends_at = datetime(2100, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
    recurrence = replace(_NIGHTLY, max_concurrent_runs=3, max_runs=9, starts_at=starts_at, ends_at=ends_at)
    made = target.create_schedule("nightly", submission, recurrence)
    [schedule] = bench.schedules.schedules()
    assert schedule.cron == "TZ=Europe/Berlin 0 3 * * *"
    assert (schedule.max_concurrent_run_count, schedule.max_concurrent_active_run_count) == (3, 3)
    assert (schedule.max_run_count, schedule.start_time, schedule.end_time) == (9, starts_at, ends_at)
    assert not schedule.allow_queueing
    assert made.recurrence == recurrence
    asked = schedule.create_pipeline_job_request
    assert (asked.pipeline_job_id, asked.pipeline_job.labels["tunelane-run"]) == ("", submission.run_id)


def test_a_second_creation_makes_no_second_schedule(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    first = target.create_schedule("nightly", submission, _NIGHTLY)
    assert target.create_schedule("nightly", submission, _NIGHTLY).resource == first.resource
    assert len(bench.schedules.schedules()) == 1


def test_a_creation_whose_reply_was_lost_makes_no_second_schedule(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("CreateSchedule", "reply-lost")
    with pytest.raises(ServiceAway) as raised:
        target.create_schedule("nightly", submission, _NIGHTLY)
    assert raised.value.is_reply_lost
    # The broken connection may take the next call with it.
    retried(lambda: target.create_schedule("nightly", submission, _NIGHTLY), bench.clock)
    assert len(bench.schedules.schedules()) == 1


def test_a_creation_that_arrives_late_is_the_caller_s_to_look_for(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    bench.faults.add("CreateSchedule", "late")
    with pytest.raises(ServiceAway) as raised:
        target.create_schedule("nightly", submission, _NIGHTLY)
    assert raised.value.is_reply_lost
    assert len(bench.called("CreateSchedule")) == 1, "one request a call"
    # The broken connection may take the next call with it.
    assert retried(lambda: list(target.schedules()), bench.clock) == []
    bench.arrive()
    [schedule] = target.schedules()
    assert (schedule.name, schedule.run_id) == ("nightly", submission.run_id)


def test_an_answer_without_a_name_is_a_lost_reply(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    bench.faults.add("CreateSchedule", "nameless")
    with pytest.raises(ServiceAway, match="has no name") as raised:
        target.create_schedule("nightly", submission, _NIGHTLY)
    assert raised.value.is_reply_lost
    target.create_schedule("nightly", submission, _NIGHTLY)
    assert len(bench.schedules.schedules()) == 1


def test_a_name_that_another_schedule_has_is_refused(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    target.create_schedule("nightly", submission, _NIGHTLY)
    with pytest.raises(Refused, match="There is a schedule 'nightly' already"):
        target.create_schedule("nightly", replace(submission, run_id="another"), _NIGHTLY)
    assert len(bench.schedules.schedules()) == 1


def test_a_name_with_quotes_is_looked_for_as_it_is(target: VertexTarget, submission: Submission) -> None:
    name = 'the "nightly" \\ one'
    made = target.create_schedule(name, submission, _NIGHTLY)
    assert target.schedule(name).resource == made.resource


def test_a_schedule_that_is_paused_can_be_paused_again(target: VertexTarget, submission: Submission) -> None:
    made = target.create_schedule("nightly", submission, _NIGHTLY)
    for _ in range(2):
        target.pause_schedule(made.resource)
        assert target.schedule("nightly").state == "paused"
    for _ in range(2):
        target.resume_schedule(made.resource, catch_up=False)
        assert target.schedule("nightly").state == "active"


def test_a_schedule_that_is_over_cannot_be_paused(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    made = target.create_schedule("once", submission, Recurrence("0 * * * *", max_runs=1))
    bench.clock.advance(timedelta(hours=1))
    assert target.schedule("once").state == "completed"
    with pytest.raises(Refused, match="completed"):
        target.pause_schedule(made.resource)


def test_a_name_that_two_schedules_have_is_refused_with_both(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    first = target.create_schedule("nightly", submission, _NIGHTLY)
    second = target.create_schedule("other", replace(submission, run_id="another"), _NIGHTLY)
    bench.state.resources[second.resource].display_name = "nightly"
    with pytest.raises(Refused, match="2 schedules are called 'nightly'") as raised:
        target.schedule("nightly")
    assert first.resource in str(raised.value) and second.resource in str(raised.value)
    assert target.schedule(second.resource).resource == second.resource
    assert target.create_schedule("nightly", submission, _NIGHTLY).resource == first.resource


def test_a_schedule_without_a_name_is_none(target: VertexTarget, submission: Submission) -> None:
    target.create_schedule("nightly", submission, _NIGHTLY)
    with pytest.raises(NoSuchResource):
        target.schedule("")


def test_a_schedule_that_is_gone_can_be_deleted_again(target: VertexTarget, submission: Submission) -> None:
    made = target.create_schedule("nightly", submission, _NIGHTLY)
    target.delete_schedule(made.resource)
    target.delete_schedule(made.resource)


def test_a_slow_deletion_is_waited_for_on_our_clock(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    made = target.create_schedule("nightly", submission, _NIGHTLY)
    bench.faults.add("DeleteSchedule", "stuck")
    began_at = bench.clock.now()
    target.delete_schedule(made.resource)
    assert bench.clock.now() > began_at
    assert list(target.schedules()) == []


def test_a_cron_that_is_none_is_refused_in_the_services_words(target: VertexTarget, submission: Submission) -> None:
    with pytest.raises(Refused, match=r"(?i)cron"):
        target.create_schedule("nightly", submission, Recurrence("every night"))


def test_the_runs_of_a_schedule_name_it(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    began_at = bench.clock.now()
    made = target.create_schedule("hourly", submission, Recurrence("0 * * * *", max_concurrent_runs=10))
    bench.clock.advance(timedelta(hours=3))
    runs = list(target.runs(since=began_at))
    assert [run.run_id for run in runs] == ["", "", ""]
    assert {run.schedule for run in runs} == {made.resource}
    assert target.find(submission.run_id) is None, "none of them is the run with the schedule's id"
    shown = target.schedule("hourly")
    assert shown.started_runs == 3
    assert shown.last_run_at is not None and shown.last_error == ""


def test_a_schedule_whose_last_run_could_not_start_says_why(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    made = target.create_schedule("hourly", submission, Recurrence("0 * * * *"))
    request = bench.state.resources[made.resource].create_pipeline_job_request
    request.pipeline_job.runtime_config.gcs_output_directory = ""
    bench.clock.advance(timedelta(hours=1))
    assert "gcs_output_directory" in target.schedule("hourly").last_error


def test_no_more_runs_go_on_at_once_than_allowed(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    bench.vertex.hold()
    target.create_schedule("hourly", submission, Recurrence("0 * * * *", max_concurrent_runs=1))
    bench.clock.advance(timedelta(hours=5))
    assert len(bench.vertex.jobs()) == 1
