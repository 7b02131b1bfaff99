"""Changes of a schedule whose command is killed, or whose answer is lost, at any moment."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace as with_fields
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunelane_pipelines.scheduling.journalled import NeedsResume, Schedules
from tunelane_pipelines.scheduling.local import DaemonKeeper
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import Refused, ServiceAway
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule
from tunelane_serving.errors import InputError, TunelaneError

_LATER = Recurrence("0 5 * * *")


class Killed(BaseException):
    """The end of the process."""


class Service:
    """A keeper that fails as it is told: before it does what it is asked for, or after.

    It makes a schedule of every request, also of one that comes again, and of one that arrives late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.kept: dict[str, tuple[str, Recurrence]] = {}
        self.keys: list[str] = []
        self.faults: list[str] = []
        self.late: list[tuple[datetime, ScheduleRecord]] = []

    def arrive(self) -> None:
        """Carry out what was on its way until now."""
        for due, record in list(self.late):
            if due <= self._clock.now():
                self.late.remove((due, record))
                self._make(record)

    def _do(self, change: Callable[[], Any], *, creates: bool = False) -> None:
        self.arrive()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "away":
            raise ServiceAway("No answer. Try again.")
        if fault == "refused":
            raise Refused("No such thing.")
        if fault == "killed":
            raise Killed
        change()
        if fault == "reply lost":
            # As the targets say it: it matters where a second call would make a second thing.
            raise ServiceAway("The connection broke.", is_reply_lost=creates)
        if fault == "killed after":
            raise Killed

    def _make(self, record: ScheduleRecord) -> None:
        self.keys.append(record.key)
        self.kept[record.name] = ("active", record.recurrence)

    def create(self, record: ScheduleRecord) -> RemoteSchedule:
        self.arrive()
        if self.faults and self.faults[0].startswith("late "):
            minutes = int(self.faults.pop(0).removeprefix("late "))
            self.late.append((self._clock.now() + timedelta(minutes=minutes), record))
            raise ServiceAway("The connection broke.", is_reply_lost=True)
        self._do(lambda: self._make(record), creates=True)
        return _seen(record, record.recurrence)

    def made(self, record: ScheduleRecord) -> RemoteSchedule | None:
        found: list[RemoteSchedule] = []
        self._do(lambda: found.extend([_seen(record, record.recurrence)] if record.key in self.keys else []))
        return found[0] if found else None

    def pause(self, record: ScheduleRecord) -> None:
        self._do(lambda: self.kept.update({record.name: ("paused", self.kept[record.name][1])}))

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:  # noqa: ARG002 - as every keeper's
        self._do(lambda: self.kept.update({record.name: ("active", self.kept[record.name][1])}))

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> RemoteSchedule:
        self._do(lambda: self.kept.update({record.name: (self.kept[record.name][0], recurrence)}))
        return _seen(record, recurrence)

    def is_unchanged(self, record: ScheduleRecord) -> bool:
        return self.kept.get(record.name) == (record.state, record.recurrence)

    def delete(self, record: ScheduleRecord) -> None:
        self._do(lambda: self.kept.pop(record.name, None))


def _seen(record: ScheduleRecord, recurrence: Recurrence) -> RemoteSchedule:
    state = "paused" if record.state == "paused" else "active"
    return RemoteSchedule(f"schedules/{record.key}", record.name, record.key, "convert", state, recurrence, "")


@pytest.fixture
def service(clock: Clock) -> Service:
    return Service(clock)


@pytest.fixture
def remote(hourly: Callable[..., ScheduleRecord]) -> Callable[[], ScheduleRecord]:
    """Give a schedule for a service; each has another key."""
    keys = (f"nightly-{number}" for number in count(1))

    def remote() -> ScheduleRecord:
        return replace(hourly(), starter="", target="vertex", service="vertex p/r", key=next(keys))

    return remote


@pytest.fixture
def schedules(store: ScheduleStore, service: Service, clock: Clock) -> Schedules:
    return Schedules(store, service, clock)


def _state(store: ScheduleStore) -> dict[str, tuple[str, Recurrence]]:
    return {record.name: (record.state, record.recurrence) for record in store.records()}


def test_every_verb_is_in_the_journal_and_at_the_service(
    schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    schedules.create(remote())
    assert schedules.store.record("nightly").resource == "schedules/nightly-1"
    changes: list[tuple[Callable[[], ScheduleRecord], str]] = [
        (lambda: schedules.pause("nightly"), "paused"),
        (lambda: schedules.resume("nightly", catch_up=False), "active"),
        (lambda: schedules.update("nightly", _LATER), "active"),
    ]
    for change, state in changes:
        assert change().state == state
        assert _state(schedules.store) == service.kept
    schedules.delete("nightly")
    assert schedules.store.records() == []
    assert service.kept == {}


def test_a_lost_reply_makes_no_second_schedule(
    schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    service.faults = ["reply lost"]
    schedules.create(remote())
    assert service.keys == ["nightly-1"]
    assert schedules.store.record("nightly").shown_state == "active"


def test_an_unclear_end_says_how_to_go_on(
    schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    service.faults = ["reply lost", *["away"] * 4]
    with pytest.raises(NeedsResume) as caught:
        schedules.create(remote())
    assert str(caught.value) == (
        "It is not known whether schedule nightly was created: No answer. "
        f"Go on with: tunelane schedule continue nightly --root {schedules.store.root}"
    )
    assert schedules.store.record("nightly").shown_state == "needs-resume"
    with pytest.raises(InputError, match="needs to be resumed first"):
        schedules.pause("nightly")
    with pytest.raises(InputError, match="There is a schedule 'nightly' already"):
        schedules.create(remote())
    service.faults = ["refused"]
    with pytest.raises(NeedsResume):
        schedules.carry_on("nightly")
    assert schedules.carry_on("nightly").shown_state == "active"
    assert service.keys == ["nightly-1"]


def test_a_change_that_is_refused_after_a_lost_reply_is_taken_back_where_a_look_shows_it_undone(
    schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    schedules.create(remote())
    service.faults = ["killed"]
    with pytest.raises(Killed):
        schedules.pause("nightly")
    service.faults = ["refused"]
    with pytest.raises(Refused):
        schedules.carry_on("nightly")
    assert schedules.store.record("nightly").shown_state == "active"


def test_what_is_pending_can_be_deleted(
    schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    service.faults = ["killed after"]
    with pytest.raises(Killed):
        schedules.create(remote())
    assert service.kept
    schedules.delete("nightly")
    assert (service.kept, schedules.store.records()) == ({}, [])


@pytest.mark.parametrize("fault", ["refused", "away"])
def test_a_clear_no_leaves_everything_as_it_was(
    fault: str, schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    service.faults = [fault] * 5
    with pytest.raises((Refused, ServiceAway)):
        schedules.create(remote())
    assert (schedules.store.records(), service.kept) == ([], {})
    service.faults = []
    schedules.create(remote())
    service.faults = ["refused"]
    with pytest.raises(Refused):
        schedules.pause("nightly")
    assert schedules.store.record("nightly").shown_state == "active"


@pytest.mark.parametrize("first", ["away", "reply lost"])
def test_a_change_without_an_answer_may_have_been_carried_out(
    first: str, schedules: Schedules, service: Service, remote: Callable[[], ScheduleRecord]
) -> None:
    schedules.create(remote())
    service.faults = [first, *["away"] * 4]
    with pytest.raises(NeedsResume, match="It is not known whether schedule nightly was paused"):
        schedules.pause("nightly")
    assert schedules.store.record("nightly").shown_state == "needs-resume"
    assert schedules.carry_on("nightly").shown_state == "paused"
    assert service.kept["nightly"][0] == "paused"


_VERBS = st.sampled_from(["create", "pause", "resume", "update", "delete", "continue"])
_FAULTS = st.lists(
    st.sampled_from(["", "", "away", "refused", "reply lost", "late 1", "late 9", "killed", "killed after"]), max_size=6
)


@pytest.mark.parametrize("verb", ["continue", "delete"])
def test_a_schedule_that_arrives_late_does_not_become_two_and_is_not_left_behind(
    verb: str, schedules: Schedules, service: Service, clock: Any, remote: Callable[[], ScheduleRecord]
) -> None:
    go_on = schedules.carry_on if verb == "continue" else schedules.delete
    service.faults = ["late 5"]
    with pytest.raises(NeedsResume, match=r"may still arrive until 10:40 UTC\. Wait until then\. Go on with"):
        schedules.create(remote())
    with pytest.raises(NeedsResume, match="may still arrive"):
        go_on("nightly")
    assert schedules.store.record("nightly").shown_state == "needs-resume"
    assert service.keys == []
    clock.time += timedelta(minutes=5)
    if verb == "continue":
        assert schedules.carry_on("nightly").resource == "schedules/nightly-1"
    else:
        schedules.carry_on("nightly")
    assert service.keys == ["nightly-1"]
    assert _state(schedules.store) == service.kept


@pytest.mark.parametrize("verb", ["continue", "delete"])
def test_a_request_that_never_arrived_is_sent_again_or_forgotten_after_a_quiet_time(
    verb: str, schedules: Schedules, service: Service, clock: Any, remote: Callable[[], ScheduleRecord]
) -> None:
    service.faults = ["killed"]
    with pytest.raises(Killed):
        schedules.create(remote())
    with pytest.raises(NeedsResume):
        schedules.carry_on("nightly")
    clock.time += timedelta(minutes=10)
    if verb == "continue":
        assert schedules.carry_on("nightly").shown_state == "active"
    else:
        schedules.delete("nightly")
    assert service.keys == (["nightly-1"] if verb == "continue" else [])
    assert _state(schedules.store) == service.kept


def test_what_a_run_writes_while_a_change_goes_on_stays(
    store: ScheduleStore, clock: Any, hourly: Callable[..., ScheduleRecord]
) -> None:
    meanwhile = clock.now() + timedelta(minutes=1)

    class Busy(DaemonKeeper):
        def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:  # noqa: ARG002 - as every keeper's
            store.change(record.name, lambda fresh: replace(fresh, settled_until=meanwhile, last_error="exit code 1"))

    schedules = Schedules(store, Busy(), clock)
    schedules.create(hourly())
    schedules.pause("nightly")
    done = schedules.resume("nightly", catch_up=True)
    assert (done.settled_until, done.last_error, done.state) == (meanwhile, "exit code 1", "active")


def test_a_schedule_of_this_machine_that_has_started_its_runs_is_not_resumed_but_can_get_more(
    store: ScheduleStore, clock: Clock, hourly: Callable[..., ScheduleRecord]
) -> None:
    schedules = Schedules(store, DaemonKeeper(), clock)
    schedules.create(hourly(max_runs=2))
    store.change("nightly", lambda record: replace(record, started_runs=2, state="completed"))
    with pytest.raises(InputError, match=r"has started its last run\. Change --max-runs or --ends-at: tunelane"):
        schedules.resume("nightly", catch_up=False)
    assert store.record("nightly").state == "completed"
    more = with_fields(store.record("nightly").recurrence, max_runs=3)
    assert schedules.update("nightly", more).state == "active"
    assert schedules.update("nightly", with_fields(more, max_runs=2)).state == "completed"


@given(steps=st.lists(st.tuples(_VERBS, _FAULTS, st.sampled_from([0, 0, 2, 11])), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("create", ["late 9"], 2), ("continue", [], 11)])
@example(steps=[("create", ["late 9"], 2), ("delete", [], 2), ("create", [], 11)])
def test_whatever_fails_the_journal_says_what_the_service_has_or_that_it_is_not_known(
    steps: list[tuple[str, list[str], int]], store: ScheduleStore, clock: Clock, remote: Callable[[], ScheduleRecord]
) -> None:
    """`steps`: a verb, the faults that it meets, and the minutes that pass after it."""
    service = Service(clock)
    schedules = Schedules(store, service, clock)
    for record in store.records():
        store.forget(record.name)
    changes: dict[str, Callable[[], object]] = {
        "create": lambda: schedules.create(remote()),
        "pause": lambda: schedules.pause("nightly"),
        "resume": lambda: schedules.resume("nightly", catch_up=True),
        "update": lambda: schedules.update("nightly", _LATER),
        "delete": lambda: schedules.delete("nightly"),
        "continue": lambda: schedules.carry_on("nightly"),
    }
    for verb, faults, minutes in steps:
        service.faults = list(faults)
        with suppress(TunelaneError, Killed):
            changes[verb]()
        pending = [record for record in store.records() if record.pending]
        assert pending or _state(store) == service.kept
        clock.time += timedelta(minutes=minutes)
    service.faults = []
    clock.time += timedelta(minutes=10)
    for record in store.records():
        schedules.carry_on(record.name)
    service.arrive()
    assert (_state(store), service.late) == (service.kept, [])
    # No request made two.
    assert len(set(service.keys)) == len(service.keys)
