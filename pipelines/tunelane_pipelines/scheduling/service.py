"""Schedules that a cluster keeps."""

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.errors import NoSuchResource
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule, RemoteTarget
from tunelane_serving.errors import InputError, TunelaneError

# Of a recurrence; a service may put in a start of its own, or not tell whether it catches up.
_SAME_EVERYWHERE = ("cron", "time_zone", "max_concurrent_runs")


class ServiceKeeper:
    """A `Keeper` over a target. A schedule is known by its resource, or by the run id of the request that made it.

    Never by its name: a colleague's may have the same.
    """

    def __init__(self, target: RemoteTarget, store: ScheduleStore) -> None:
        self._target = target
        self._store = store

    def create(self, record: ScheduleRecord) -> RemoteSchedule:
        """Have the service make it."""
        submission = self._store.submission(record.name)
        if submission is None:
            raise InputError(f"Nothing is kept of what {record.name} is to run. Delete it and create it again.")
        return self._target.create_schedule(record.name, submission, record.recurrence)

    def made(self, record: ScheduleRecord) -> RemoteSchedule | None:
        """Give what the service made of the record's request, or None."""
        if not record.key:
            return None
        return next((seen for seen in self._target.schedules() if seen.run_id == record.key), None)

    def pause(self, record: ScheduleRecord) -> None:
        """Start no more runs."""
        self._target.pause_schedule(record.resource)

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:
        """Start runs again."""
        self._target.resume_schedule(record.resource, catch_up=catch_up)

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> RemoteSchedule:
        """Start runs at other times. A service may make a new schedule of it, under another resource."""
        for name in ("starts_at", "ends_at", "max_runs"):
            if getattr(record.recurrence, name) is not None and getattr(recurrence, name) is None:
                option = name.replace("_", "-")
                raise InputError(f"A service cannot unset --{option}. Delete the schedule and create it again.")
        try:
            return self._target.update_schedule(record.resource, recurrence)
        except NoSuchResource:
            # An update whose answer was lost may have put another in its place.
            made = self.made(record)
            if made is None:
                raise
            return self._target.update_schedule(made.resource, recurrence)

    def delete(self, record: ScheduleRecord) -> None:
        """Take it away; what is not there is away."""
        try:
            self._target.delete_schedule(record.resource)
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
