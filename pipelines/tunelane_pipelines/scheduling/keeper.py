"""What keeps a schedule and sees to it that its runs start: a service, systemd, a crontab, our own daemon."""

from typing import Protocol

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule


class Keeper(Protocol):
    """The verbs of a schedule. Each but `create` may be carried out twice: what is so already stays so.

    Raises (every method):
        TunelaneError: it was not carried out; ServiceAway where that is not certain, with `is_reply_lost`.
    """

    def create(self, record: ScheduleRecord) -> RemoteSchedule | None:
        """Make it; gives how the service has it, or None where no service keeps it."""
        ...

    def made(self, record: ScheduleRecord) -> RemoteSchedule | None:
        """Give what an earlier `create` made, whose answer was lost; None where there is nothing, or no service."""
        ...

    def pause(self, record: ScheduleRecord) -> None:
        """Start no more runs."""
        ...

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:
        """Start runs again."""
        ...

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> RemoteSchedule | None:
        """Start runs at other times; gives what `create` gives."""
        ...

    def delete(self, record: ScheduleRecord) -> None:
        """Take it away; what is not there is away."""
        ...

    def is_unchanged(self, record: ScheduleRecord) -> bool:
        """Whether it is still as the record says, after an update or a deletion that failed; False if unknown."""
        ...
