"""The journal of schedules held against a service's list, while other commands change both."""

from collections.abc import Callable, Iterator
from dataclasses import replace as with_fields
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tunelane_pipelines.scheduling.reconciling import reconcile
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule

_DAILY = Recurrence("0 3 * * *")


class Service:
    """A service's list of schedules; `meanwhile` happens when the list has been written and not yet been read."""

    name = "vertex"
    service = "vertex p/r"

    def __init__(self) -> None:
        self.kept: list[RemoteSchedule] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def schedules(self) -> Iterator[RemoteSchedule]:
        kept = list(self.kept)
        self.meanwhile()
        return iter(kept)


@pytest.fixture
def service() -> Any:
    return Service()


@pytest.fixture
def record(hourly: Callable[..., ScheduleRecord]) -> ScheduleRecord:
    """A schedule that the service has."""
    return replace(
        hourly(), recurrence=_DAILY, target="vertex", service="vertex p/r", starter="", key="nightly-1", resource="s/1"
    )


def _seen(name: str = "nightly", key: str = "nightly-1", resource: str = "s/1", **fields: Any) -> RemoteSchedule:
    return with_fields(RemoteSchedule(resource, name, key, "convert", "active", _DAILY, ""), **fields)


def test_schedules_of_another_service_stay_as_they_are(
    store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    elsewhere = replace(record, service="vertex p/other")
    store.add(elsewhere)
    service.kept = [_seen(key="a-colleagues-1", resource="s/9")]
    assert list(reconcile(store, service, clock.now())) == ["nightly-2"]
    assert store.record("nightly") == elsewhere
    assert (store.record("nightly-2").resource, store.record("nightly-2").service) == ("s/9", "vertex p/r")


def test_a_schedule_of_an_earlier_release_gets_its_service_when_it_is_seen_there(
    store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    store.add(replace(record, service="", key=""))
    reconcile(store, service, clock.now())
    assert (store.record("nightly").service, store.record("nightly").state) == ("", "active")
    service.kept = [_seen()]
    reconcile(store, service, clock.now())
    assert (store.record("nightly").service, store.record("nightly").key) == ("vertex p/r", "nightly-1")


def test_what_is_made_or_deleted_while_the_list_is_read_is_neither_gone_nor_there(
    store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    service.meanwhile = lambda: store.add(record)
    reconcile(store, service, clock.now())
    assert store.records() == [record]
    service.kept = [_seen()]
    service.meanwhile = lambda: store.forget("nightly")
    reconcile(store, service, clock.now())
    assert store.records() == []


@pytest.mark.parametrize("is_listed", [False, True])
def test_what_another_command_changes_while_the_list_is_read_stays(
    is_listed: bool, store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    store.add(record)
    paused = replace(record, state="paused")
    service.kept = [_seen(state="completed")] if is_listed else []
    service.meanwhile = lambda: store.change("nightly", lambda _: paused)
    reconcile(store, service, clock.now())
    assert store.records() == [paused]


def test_a_schedule_that_is_being_made_is_no_other_of_its_name(
    store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    making = replace(record, pending="create", resource="", sent_at=clock.now())
    service.kept = [_seen()]
    service.meanwhile = lambda: store.add(making)
    for _ in range(2):
        reconcile(store, service, clock.now())
        assert store.records() == [making]
        service.meanwhile = lambda: None
    # Two of one request: one may have come later than any request should, and has to be seen.
    service.kept.append(_seen(resource="s/2"))
    reconcile(store, service, clock.now())
    assert {(one.name, one.resource) for one in store.records()} == {("nightly", ""), ("nightly-2", "s/2")}


def test_a_schedule_that_was_changed_in_the_console_is_shown_as_the_service_has_it(
    store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    store.add(replace(record, recurrence=with_fields(_DAILY, catch_up=True)))
    started = clock.now() - timedelta(days=1)
    changed = Recurrence("0 5 * * *", "Asia/Tokyo", 3, starts_at=started, max_runs=7)
    service.kept = [_seen(recurrence=changed)]
    reconcile(store, service, clock.now())
    # Not a start that the service put in, nor that it caught up last time.
    assert store.record("nightly").recurrence == with_fields(changed, catch_up=True, starts_at=None)
    ahead = clock.now() + timedelta(days=1)
    service.kept = [_seen(recurrence=with_fields(changed, starts_at=ahead))]
    reconcile(store, service, clock.now())
    assert store.record("nightly").recurrence.starts_at == ahead


def test_one_that_has_another_resource_by_now_is_known_by_the_request_that_made_it(
    store: ScheduleStore, service: Any, clock: Any, record: ScheduleRecord
) -> None:
    store.add(record)
    service.kept = [_seen(resource="s/2"), _seen(key="a-colleagues-1", resource="s/3")]
    assert list(reconcile(store, service, clock.now())) == ["nightly", "nightly-2"]
    assert (store.record("nightly").resource, store.record("nightly-2").resource) == ("s/2", "s/3")
