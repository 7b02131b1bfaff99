"""Schedules that a cluster keeps."""

from datetime import datetime
from functools import partial

from msgspec.structs import replace

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.errors import NoSuchResource
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule, RemoteTarget
from tunelane_serving.errors import InputError, TunelaneError

# Of a recurrence; a service may put in a start of its own, or not tell whether it catches up.
_SAME_EVERYWHERE = ("cron", "time_zone", "max_concurrent_runs")


class ServiceKeeper:
    """A `Keeper` over a target."""

    def __init__(self, target: RemoteTarget, store: ScheduleStore) -> None:
        self._target = target
        self._store = store

    def create(self, record: ScheduleRecord) -> ScheduleRecord:
        """Have the service make it; one that it made of the same request before is given."""
        submission = self._store.submission(record.name)
        if submission is None:
            raise InputError(f"Nothing is kept of what {record.name} is to run. Delete it and create it again.")
        return _with(record, self._target.create_schedule(record.name, submission, record.recurrence))

    def pause(self, record: ScheduleRecord) -> None:
        """Start no more runs."""
        self._target.pause_schedule(record.resource)

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:
        """Start runs again."""
        self._target.resume_schedule(record.resource, catch_up=catch_up)

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> ScheduleRecord:
        """Start runs at other times. A service may make a new schedule of it, under another resource."""
        for name in ("starts_at", "ends_at", "max_runs"):
            if getattr(record.recurrence, name) is not None and getattr(recurrence, name) is None:
                option = name.replace("_", "-")
                raise InputError(f"A service cannot unset --{option}. Delete the schedule and create it again.")
        try:
            seen = self._target.update_schedule(record.resource, recurrence)
        except NoSuchResource:
            seen = self._target.update_schedule(self._target.schedule(record.name).resource, recurrence)
        return _with(record, seen)

    def delete(self, record: ScheduleRecord) -> None:
        """Take it away; what is not there is away."""
        try:
            # Where the answer to its making was lost, the service may have it under its name.
            resource = record.resource or self._target.schedule(record.name).resource
            self._target.delete_schedule(resource)
        except NoSuchResource:
            return

    def is_unchanged(self, record: ScheduleRecord) -> bool:
        """Whether the service has it under its old resource, with its old times and state."""
        try:
            seen = self._target.schedule(record.resource)
        except TunelaneError:
            return False
        return (seen.resource, seen.state) == (record.resource, record.state) and all(
            getattr(seen.recurrence, name) == getattr(record.recurrence, name) for name in _SAME_EVERYWHERE
        )


def reconcile(store: ScheduleStore, target: RemoteTarget, now: datetime) -> dict[str, RemoteSchedule]:
    """Make the journal say what the service's own list says; gives what that says, by our names.

    What somebody paused, resumed or deleted elsewhere is put right; what was made elsewhere is added. What is pending
    is left: only carrying on tells how it ended.
    """
    found = list(target.schedules())
    by_resource = {seen.resource: seen for seen in found}
    seen_by_name: dict[str, RemoteSchedule] = {}
    records = store.records()
    for record in records:
        if record.target != target.name:
            continue
        seen = by_resource.get(record.resource)
        if seen is not None:
            seen_by_name[record.name] = seen
        if _as_seen(record, seen) != record:
            store.change(record.name, partial(_as_seen, seen=seen))
    resources, names = {record.resource for record in records}, {record.name for record in records}
    for seen in found:
        if seen.resource not in resources and seen.name not in names:
            names.add(seen.name)
            seen_by_name[seen.name] = seen
            store.add(_adopted(target.name, seen, now))
    return seen_by_name


def _as_seen(record: ScheduleRecord, seen: RemoteSchedule | None) -> ScheduleRecord:
    if record.pending:
        return record
    return replace(record, state="gone") if seen is None else _with(record, seen)


def _with(record: ScheduleRecord, seen: RemoteSchedule) -> ScheduleRecord:
    return replace(record, resource=seen.resource, console_url=seen.console_url, state=seen.state)


def _adopted(target: str, seen: RemoteSchedule, now: datetime) -> ScheduleRecord:
    record = ScheduleRecord(seen.name, target, seen.pipeline, seen.recurrence, created_at=now)
    return _with(record, seen)
