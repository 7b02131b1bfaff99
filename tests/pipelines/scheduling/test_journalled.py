"""Changes of a schedule whose command is killed, or whose answer is lost, at any moment."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunelane_pipelines.scheduling.journalled import NeedsResume, Schedules
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import Refused, ServiceAway
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError, TunelaneError

_LATER = Recurrence("0 5 * * *")


class Killed(BaseException):
    """The end of the process."""


class Service:
    """A keeper that fails as it is told: before it does what it is asked for, or after."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, Recurrence]] = {}
        self.made = 0
        self.faults: list[str] = []

    def _do(self, change: Callable[[], Any]) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "away":
            raise ServiceAway("No answer. Try again.")
        if fault == "refused":
            raise Refused("No such thing.")
        if fault == "killed":
            raise Killed
        change()
        if fault == "reply lost":
            raise ServiceAway("The connection broke.", is_reply_lost=True)
        if fault == "killed after":
            raise Killed

    def _make(self, record: ScheduleRecord) -> None:
        if record.name not in self.kept:
            self.made += 1
            self.kept[record.name] = ("active", record.recurrence)

    def create(self, record: ScheduleRecord) -> ScheduleRecord:
        self._do(lambda: self._make(record))
        return replace(record, resource=f"schedules/{record.name}")

    def pause(self, record: ScheduleRecord) -> None:
        self._do(lambda: self.kept.update({record.name: ("paused", self.kept[record.name][1])}))

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:  # noqa: ARG002 - as every keeper's
        self._do(lambda: self.kept.update({record.name: ("active", self.kept[record.name][1])}))

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> ScheduleRecord:
        self._do(lambda: self.kept.update({record.name: (self.kept[record.name][0], recurrence)}))
        return record

    def is_unchanged(self, record: ScheduleRecord) -> bool:
        return self.kept.get(record.name) == (record.state, record.recurrence)

    def delete(self, record: ScheduleRecord) -> None:
        self._do(lambda: self.kept.pop(record.name, None))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def schedules(store: ScheduleStore, service: Service, clock: Clock) -> Schedules:
    return Schedules(store, service, clock)


def _state(store: ScheduleStore) -> dict[str, tuple[str, Recurrence]]:
    return {record.name: (record.state, record.recurrence) for record in store.records()}


def test_every_verb_is_in_the_journal_and_at_the_service(
    schedules: Schedules, service: Service, hourly: Callable[..., ScheduleRecord]
) -> None:
    schedules.create(hourly())
    assert schedules.store.record("nightly").resource == "schedules/nightly"
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
    schedules: Schedules, service: Service, hourly: Callable[..., ScheduleRecord]
) -> None:
    service.faults = ["reply lost"]
    schedules.create(hourly())
    assert service.made == 1
    assert schedules.store.record("nightly").shown_state == "active"


def test_an_unclear_end_says_how_to_go_on(
    schedules: Schedules, service: Service, hourly: Callable[..., ScheduleRecord]
) -> None:
    service.faults = ["reply lost", *["away"] * 4]
    with pytest.raises(NeedsResume) as caught:
        schedules.create(hourly())
    assert str(caught.value) == (
        "It is not known whether schedule nightly was created: No answer. "
        "Go on with: tunelane schedule continue nightly"
    )
    assert schedules.store.record("nightly").shown_state == "needs-resume"
    with pytest.raises(InputError, match="needs to be resumed first"):
        schedules.pause("nightly")
    with pytest.raises(InputError, match="There is a schedule 'nightly' already"):
        schedules.create(hourly())
    service.faults = ["refused"]
    with pytest.raises(NeedsResume):
        schedules.carry_on("nightly")
    assert schedules.carry_on("nightly").shown_state == "active"
    assert service.made == 1


def test_a_change_that_is_refused_after_a_lost_reply_is_taken_back_where_a_look_shows_it_undone(
    schedules: Schedules, service: Service, hourly: Callable[..., ScheduleRecord]
) -> None:
    schedules.create(hourly())
    service.faults = ["killed"]
    with pytest.raises(Killed):
        schedules.pause("nightly")
    service.faults = ["refused"]
    with pytest.raises(Refused):
        schedules.carry_on("nightly")
    assert schedules.store.record("nightly").shown_state == "active"


def test_what_is_pending_can_be_deleted(
    schedules: Schedules, service: Service, hourly: Callable[..., ScheduleRecord]
) -> None:
    service.faults = ["killed after"]
    with pytest.raises(Killed):
        schedules.create(hourly())
    assert service.kept
    schedules.delete("nightly")
    assert (service.kept, schedules.store.records()) == ({}, [])


@pytest.mark.parametrize("fault", ["refused", "away"])
def test_a_clear_no_leaves_everything_as_it_was(
    fault: str, schedules: Schedules, service: Service, hourly: Callable[..., ScheduleRecord]
) -> None:
    service.faults = [fault] * 5
    with pytest.raises((Refused, ServiceAway)):
        schedules.create(hourly())
    assert (schedules.store.records(), service.kept) == ([], {})
    service.faults = []
    schedules.create(hourly())
    service.faults = [fault] * 5
    with pytest.raises((Refused, ServiceAway)):
        schedules.pause("nightly")
    assert schedules.store.record("nightly").shown_state == "active"


_VERBS = st.sampled_from(["create", "pause", "resume", "update", "delete", "continue"])
_FAULTS = st.lists(st.sampled_from(["", "", "away", "refused", "reply lost", "killed", "killed after"]), max_size=6)


@given(steps=st.lists(st.tuples(_VERBS, _FAULTS), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_the_journal_says_what_the_service_has_or_that_it_is_not_known(
    steps: list[tuple[str, list[str]]], store: ScheduleStore, clock: Clock, hourly: Callable[..., ScheduleRecord]
) -> None:
    service = Service()
    schedules = Schedules(store, service, clock)
    for record in store.records():
        store.forget(record.name)
    changes: dict[str, Callable[[], object]] = {
        "create": lambda: schedules.create(hourly()),
        "pause": lambda: schedules.pause("nightly"),
        "resume": lambda: schedules.resume("nightly", catch_up=True),
        "update": lambda: schedules.update("nightly", _LATER),
        "delete": lambda: schedules.delete("nightly"),
        "continue": lambda: schedules.carry_on("nightly"),
    }
    for verb, faults in steps:
        service.faults = list(faults)
        with suppress(TunelaneError, Killed):
            changes[verb]()
        pending = [record for record in store.records() if record.pending]
        assert pending or _state(store) == service.kept
    service.faults = []
    for record in store.records():
        schedules.carry_on(record.name)
    assert _state(store) == service.kept
    assert service.made <= sum(verb == "create" for verb, _ in steps)
