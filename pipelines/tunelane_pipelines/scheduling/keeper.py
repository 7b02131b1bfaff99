"""What keeps a schedule and sees to it that its runs start: a service, systemd, a crontab, our own daemon."""

from typing import Protocol

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.targets.target import Recurrence


class Keeper(Protocol):
    """The verbs of a schedule. Each may be carried out twice: what is so already stays so.

    Raises (every method):
        TunelaneError: it was not carried out; ServiceAway where that is not certain, with `is_reply_lost`.
    """

    def create(self, record: ScheduleRecord) -> ScheduleRecord:
        """Make it; gives the record with what came of that."""
        ...

    def pause(self, record: ScheduleRecord) -> None:
        """Start no more runs."""
        ...

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:
        """Start runs again."""
        ...

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> ScheduleRecord:
        """Start runs at other times; gives the record with what came of that."""
        ...

    def delete(self, record: ScheduleRecord) -> None:
        """Take it away."""
        ...

    def is_unchanged(self, record: ScheduleRecord) -> bool:
        """Whether it is still as the record says, after an update or a deletion that failed; False if unknown."""
        ...
