"""The journal of schedules, held against a service's own list."""

from contextlib import suppress
from dataclasses import replace as with_fields
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from tunelane_pipelines.runs.services import belongs
from tunelane_pipelines.scheduling.names import free_name
from tunelane_pipelines.scheduling.record import ScheduleRecord, as_seen
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule, RemoteTarget
from tunelane_serving.errors import InputError


def reconcile(store: ScheduleStore, target: RemoteTarget, now: datetime) -> dict[str, RemoteSchedule]:
    """Bring the journal up to what a service's own list says; gives what that says, by our names.

    What somebody changed, paused, resumed or deleted elsewhere is put right; what was made elsewhere is added. What is
    pending is left: only carrying on tells how it ended. So is what another command changes while the list is read,
    for which the list may be too old, and what another service keeps.
    """
    before = store.records()
    found = list(target.schedules())
    by_resource = {seen.resource: seen for seen in found}
    left = dict(by_resource)
    seen_by_name: dict[str, RemoteSchedule] = {}
    ours = [record for record in before if belongs(record, target)]
    for record in ours:
        if record.resource in by_resource:
            seen_by_name[record.name] = left.pop(record.resource)
    for record in ours:
        if record.name not in seen_by_name:
            # Made by a request whose answer was lost, or put in place of another.
            made = next((seen for seen in left.values() if record.key and seen.run_id == record.key), None)
            if made is not None:
                seen_by_name[record.name] = left.pop(made.resource)
        edit = partial(_judged, known=record, seen=seen_by_name.get(record.name), service=target.service, now=now)
        if edit(record) != record:
            # Somebody may have deleted the row meanwhile.
            with suppress(InputError):
                store.change(record.name, edit)
    # One that was made meanwhile by a command of ours has its row; so had one that was deleted meanwhile.
    after = store.records()
    resources = {record.resource for record in after}
    names = {record.name for record in after}
    keys = {record.key for record in after if record.name not in {known.name for known in before}}
    for seen in left.values():
        if seen.resource not in resources and seen.run_id not in keys:
            record = _adopted(target, seen, free_name(seen.name, names), now)
            names.add(record.name)
            seen_by_name[record.name] = seen
            # Another list may have added it meanwhile.
            with suppress(InputError):
                store.add(record)
    return seen_by_name


def _judged(
    fresh: ScheduleRecord, known: ScheduleRecord, seen: RemoteSchedule | None, service: str, now: datetime
) -> ScheduleRecord:
    if fresh != known or fresh.pending:
        return fresh
    if seen is None:
        # One that no service is known for may be at another.
        return replace(fresh, state="gone") if fresh.service else fresh
    return replace(
        as_seen(fresh, seen),
        service=service,
        key=fresh.key or seen.run_id,
        recurrence=_merged(fresh.recurrence, seen.recurrence, now),
    )


def _merged(ours: Recurrence, seen: Recurrence, now: datetime) -> Recurrence:
    """Give when a schedule starts runs as the service has it, with what a service does not tell from ours.

    Vertex AI notes a start where none was asked for, and of catching up what was said at the last resume.
    """
    is_start_ahead = seen.starts_at is not None and seen.starts_at > now
    return with_fields(seen, catch_up=ours.catch_up, starts_at=seen.starts_at if is_start_ahead else ours.starts_at)


def _adopted(target: RemoteTarget, seen: RemoteSchedule, name: str, now: datetime) -> ScheduleRecord:
    record = ScheduleRecord(
        name, target.name, seen.pipeline, seen.recurrence, now, service=target.service, key=seen.run_id
    )
    return as_seen(record, seen)
