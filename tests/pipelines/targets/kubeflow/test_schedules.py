"""Schedules on Kubeflow: the whole life of a recurring run, by the real client and a clock that is moved by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.cloud.kubeflow.faults import Fault
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.targets.errors import NoSuchResource, Refused, ServiceAway
from tunelane_pipelines.targets.kubeflow import schedules as calls
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Recurrence, Submission
from tunelane_serving.errors import InputError

HOURLY = Recurrence("30 * * * *")
HOUR = timedelta(hours=1)


def _end_all(fake: FakeKubeflow) -> None:
    for resource, run in list(fake.runs.items()):
        if run["state"] == "PENDING":
            fake.end(resource, "SUCCEEDED")


def _enabled(fake: FakeKubeflow) -> list[str]:
    return [resource for resource, one in fake.recurring_runs.items() if one["status"] == "ENABLED"]


def test_a_schedule_is_created_fires_pauses_resumes_changes_and_goes(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    assert (made.name, made.state, made.pipeline, made.recurrence) == ("hourly", "active", "convert", HOURLY)
    assert list(target.schedules()) == [made]

    for _ in range(3):
        fake.clock.advance(HOUR)
        _end_all(fake)
    shown = target.schedule("hourly")
    assert shown.started_runs == 3
    assert shown.last_run_at is not None
    assert shown.last_run_at.minute == 30

    target.pause_schedule(made.resource)
    assert target.schedule("hourly").state == "paused"
    fake.clock.advance(5 * HOUR)
    assert len(fake.runs) == 3

    target.resume_schedule(made.resource, catch_up=False)
    assert target.schedule("hourly").state == "active"
    assert len(fake.runs) == 4, "the last of those that were missed"
    _end_all(fake)

    changed = target.update_schedule(made.resource, replace(HOURLY, cron="45 * * * *", max_concurrent_runs=3))
    assert (changed.state, changed.recurrence.cron, changed.last_error) == ("active", "45 * * * *", "")
    assert list(target.schedules()) == [changed]
    assert target.schedule(made.resource).resource == changed.resource
    fake.clock.advance(HOUR)
    assert len(fake.runs) == 5

    target.delete_schedule(changed.resource)
    assert not fake.recurring_runs
    assert len(fake.runs) == 5
    target.delete_schedule(changed.resource)
    with pytest.raises(NoSuchResource, match="tunelane schedule list"):
        target.schedule("hourly")


def test_no_more_runs_go_on_at_once_than_are_allowed(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    target.create_schedule("hourly", convert, replace(HOURLY, max_concurrent_runs=2))
    fake.clock.advance(6 * HOUR)
    assert len(fake.runs) == 2
    fake.end(next(iter(fake.runs)), "SUCCEEDED")
    assert len(fake.runs) == 3


def test_what_fell_due_meanwhile_is_caught_up_where_that_is_wanted(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    made = target.create_schedule("hourly", convert, replace(HOURLY, catch_up=True, max_concurrent_runs=10))
    assert made.recurrence.catch_up
    target.pause_schedule(made.resource)
    fake.clock.advance(4 * HOUR)
    target.resume_schedule(made.resource, catch_up=True)
    assert len(fake.runs) == 4


@pytest.mark.parametrize("catch_up", [True, False])
def test_resuming_in_the_other_way_is_refused(target: KubeflowTarget, convert: Submission, catch_up: bool) -> None:
    made = target.create_schedule("hourly", convert, replace(HOURLY, catch_up=not catch_up))
    target.pause_schedule(made.resource)
    with pytest.raises(Refused, match="Update the schedule first"):
        target.resume_schedule(made.resource, catch_up=catch_up)


def test_a_schedule_starts_and_ends_at_its_times(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    starts_at = fake.clock.now() + 2 * HOUR
    bounded = replace(HOURLY, starts_at=starts_at, ends_at=starts_at + 2 * HOUR, max_concurrent_runs=10)
    made = target.create_schedule("hourly", convert, bounded)
    assert made.recurrence == bounded
    fake.clock.advance(9 * HOUR)
    assert len(fake.runs) == 2
    assert target.schedule("hourly").state == "completed"


def test_the_first_of_the_six_fields_is_the_second(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    target.create_schedule("nightly", convert, Recurrence("15  3 * * *"))
    (sent,) = fake.named("create_recurring_run")
    assert sent.body["trigger"]["cron_schedule"]["cron"] == "0 15 3 * * *"
    assert sent.body["max_concurrency"] == "1"
    assert sent.body["no_catchup"] is True
    # Whatever the time is now, this comes once a day.
    fake.clock.advance(24 * HOUR)
    (run,) = fake.runs.values()
    assert run["scheduled_at"].endswith("T03:15:00Z")


@pytest.mark.parametrize(
    ("recurrence", "words"),
    [
        (replace(HOURLY, time_zone="Europe/Amsterdam"), r"reads schedules in UTC, not in Europe/Amsterdam\."),
        (replace(HOURLY, max_runs=3), "Give it an end time instead"),
        (replace(HOURLY, max_concurrent_runs=11), "Kubeflow runs 1 to 10 at once"),
        (replace(HOURLY, cron="0 0 3 * * *"), "has not five fields"),
    ],
)
def test_what_kubeflow_cannot_do_is_refused_with_a_word(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, recurrence: Recurrence, words: str
) -> None:
    with pytest.raises(Refused, match=words):
        target.create_schedule("hourly", convert, recurrence)
    assert not fake.calls


def test_the_installation_s_own_time_zone_is_taken(
    fake: FakeKubeflow, open_target: Callable[..., KubeflowTarget], convert: Submission
) -> None:
    there = open_target(fake, time_zone="Europe/Amsterdam")
    recurrence = replace(HOURLY, time_zone="Europe/Amsterdam")
    assert there.create_schedule("hourly", convert, recurrence).recurrence == recurrence


def test_a_name_is_given_once(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, another: Submission
) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    assert target.create_schedule("hourly", convert, HOURLY) == made
    with pytest.raises(InputError, match="There is a schedule hourly already"):
        target.create_schedule("hourly", another, HOURLY)
    assert len(fake.recurring_runs) == 1


def test_what_somebody_else_scheduled_is_left_alone(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    target.create_schedule("hourly", convert, HOURLY)
    (ours,) = fake.recurring_runs.values()
    fake.recurring_runs["other"] = {**ours, "recurring_run_id": "other", "description": "by hand"}
    assert len(list(target.schedules())) == 1
    target.delete_schedule("other")
    assert "other" in fake.recurring_runs


def test_a_schedule_without_a_name_is_none(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission) -> None:
    target.create_schedule("hourly", convert, HOURLY)
    with pytest.raises(NoSuchResource):
        target.schedule("")
    target.delete_schedule("")
    assert len(fake.recurring_runs) == 1


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_the_runs_that_go_on_stay(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, verb: str) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    fake.clock.advance(HOUR)
    if verb == "update":
        target.update_schedule(made.resource, replace(HOURLY, cron="45 * * * *"))
    else:
        target.delete_schedule(made.resource)
    (run,) = fake.runs.values()
    assert run["state"] == "PENDING"


def test_an_update_without_a_change_does_nothing(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    assert target.update_schedule(made.resource, replace(HOURLY, cron="30  * * * *")) == made
    assert len(fake.named("create_recurring_run")) == 1


def test_a_paused_schedule_stays_paused_when_it_is_updated(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    target.pause_schedule(made.resource)
    changed = target.update_schedule(made.resource, replace(HOURLY, cron="45 * * * *"))
    assert changed.state == "paused"
    assert not _enabled(fake)


def _calls_of_an_update(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> int:
    fake.calls.clear()
    target.update_schedule(resource, replace(HOURLY, cron="0 * * * *"))
    return len(fake.calls)


@pytest.mark.parametrize("then", ["update", "pause", "resume", "delete"])
def test_an_update_that_breaks_off_anywhere_never_leaves_two_schedules_to_fire(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, then: str
) -> None:
    made = target.create_schedule("counted", convert, HOURLY)
    count = _calls_of_an_update(fake, target, made.resource)
    target.delete_schedule("counted")
    wanted = replace(HOURLY, cron="45 * * * *")
    for number in range(count):
        for fault in ("dropped", "reply-lost"):
            made = target.create_schedule("hourly", convert, HOURLY)
            fake.calls.clear()
            fake.faults = {number: fault}
            with pytest.raises(ServiceAway):
                target.update_schedule(made.resource, wanted)
            fake.faults = {}
            assert len(_enabled(fake)) <= 1
            (shown,) = target.schedules()
            assert shown.recurrence in (HOURLY, wanted)
            assert (shown.last_error == "") == (len(fake.recurring_runs) == 1)
            if then == "update":
                assert target.update_schedule(made.resource, wanted).state == "active"
                assert target.schedule("hourly").recurrence == wanted
            elif then == "pause":
                target.pause_schedule(made.resource)
                assert target.schedule("hourly").state == "paused"
            elif then == "resume":
                target.resume_schedule(made.resource, catch_up=False)
                assert target.schedule("hourly").state == "active"
            if then == "delete":
                target.delete_schedule(made.resource)
            else:
                assert len(fake.recurring_runs) == 1
                assert len(_enabled(fake)) == (0 if then == "pause" else 1)
                target.delete_schedule("hourly")
            assert not fake.recurring_runs


def test_schedules_are_read_page_by_page(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PAGE", 2)
    for number in range(5):
        target.create_schedule(f"at-{number}", replace(convert, run_id=f"run-{number}"), HOURLY)
    assert [schedule.name for schedule in target.schedules()] == [f"at-{number}" for number in range(5)]


@pytest.mark.parametrize("catch_up", [True, False])
def test_an_update_starts_nothing_that_the_old_one_has_started(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, catch_up: bool
) -> None:
    since = fake.clock.now()
    recurrence = replace(HOURLY, starts_at=since, catch_up=catch_up, max_concurrent_runs=10)
    made = target.create_schedule("hourly", convert, recurrence)
    for _ in range(4):
        fake.clock.advance(HOUR)
        _end_all(fake)
    fake.clock.set(fake.clock.now().replace(minute=40))
    started = len(fake.runs)
    wanted = replace(recurrence, cron="15 * * * *")
    changed = target.update_schedule(made.resource, wanted)
    assert len(fake.runs) == started
    assert changed.recurrence.starts_at == fake.clock.now()
    assert target.update_schedule(changed.resource, wanted) == changed, "what is so already is left"
    fake.clock.advance(HOUR)
    assert len(fake.runs) == started + 1


def test_a_start_that_is_still_to_come_stays(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission) -> None:
    starts_at = fake.clock.now() + 5 * HOUR
    made = target.create_schedule("hourly", convert, HOURLY)
    assert target.update_schedule(made.resource, replace(HOURLY, starts_at=starts_at)).recurrence.starts_at == starts_at
    fake.clock.advance(4 * HOUR)
    assert not fake.runs


def test_a_schedule_has_the_run_id_of_its_request(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    changed = target.update_schedule(made.resource, replace(HOURLY, cron="45 * * * *"))
    assert {made.run_id, changed.run_id, target.schedule("hourly").run_id} == {convert.run_id}


@pytest.mark.parametrize("fault", ["reply-lost", "late", "nameless"])
def test_a_lost_answer_to_a_new_schedule_is_raised_as_such_and_one_is_sent(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, fault: Fault
) -> None:
    # The list of schedules, the list of experiments, the experiment, and then the schedule.
    fake.faults = {3: fault}
    with pytest.raises(ServiceAway) as raised:
        target.create_schedule("hourly", convert, HOURLY)
    assert raised.value.is_reply_lost
    assert len(fake.named("create_recurring_run")) == 1
    fake.arrive()
    assert target.create_schedule("hourly", convert, HOURLY).run_id == convert.run_id
    assert len(fake.recurring_runs) == 1


def test_what_arrives_late_belongs_to_its_schedule_and_goes_with_the_next_change(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission
) -> None:
    fake.faults = {3: "late"}
    with pytest.raises(ServiceAway):
        target.create_schedule("hourly", convert, HOURLY)
    # Sent again too early.
    target.create_schedule("hourly", convert, HOURLY)
    fake.arrive()
    assert len(fake.recurring_runs) == 2
    (seen,) = target.schedules()
    assert seen.last_error == calls.UNFINISHED
    target.pause_schedule(seen.resource)
    assert (len(fake.recurring_runs), _enabled(fake)) == (1, [])


@pytest.mark.parametrize("is_paused", [True, False])
def test_an_update_that_arrives_late_changes_nothing(
    fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, is_paused: bool
) -> None:
    made = target.create_schedule("hourly", convert, HOURLY)
    if is_paused:
        target.pause_schedule(made.resource)
    wanted = replace(HOURLY, cron="45 * * * *")
    fake.calls.clear()
    fake.faults = {1: "late"}
    with pytest.raises(ServiceAway):
        target.update_schedule(made.resource, wanted)
    changed = target.update_schedule(made.resource, wanted)
    fake.clock.advance(HOUR)
    fake.arrive()
    (seen,) = target.schedules()
    assert (seen.resource, seen.recurrence, seen.state) == (changed.resource, wanted, changed.state)
    assert len(_enabled(fake)) == (0 if is_paused else 1)
    target.resume_schedule(seen.resource, catch_up=False)
    assert len(fake.recurring_runs) == 1
