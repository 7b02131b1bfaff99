"""Schedules as lines of the user's crontab, which the user writes: it is never edited from here."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tunelane_pipelines.scheduling.machine_zone import is_machine_zone, machine_zone
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.timers import timer_command, timer_name
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError


class CrontabKeeper:
    """A `Keeper` of nothing: what the line calls looks into the journal, so that pausing needs no edit.

    Raises:
        InputError: the schedule is more than a crontab can do.
    """

    def create(self, record: ScheduleRecord) -> None:
        """Check that a crontab can do it."""
        _check(record.recurrence)

    def made(self, record: ScheduleRecord) -> None:
        """Nothing: the user writes the line."""

    def pause(self, record: ScheduleRecord) -> None:
        """Nothing: what the line calls starts nothing then."""

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:  # noqa: ARG002 - as every keeper's
        """Nothing, but a crontab never catches up."""
        if catch_up:
            raise InputError("A crontab does not catch up. Resume without --catch-up.")

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> None:  # noqa: ARG002 - as every keeper's
        """Check that a crontab can do it."""
        _check(recurrence)

    def delete(self, record: ScheduleRecord) -> None:
        """Nothing: what the line calls finds no schedule then."""

    def is_unchanged(self, record: ScheduleRecord) -> bool:  # noqa: ARG002 - as every keeper's
        """It is: nothing is kept here."""
        return True


def crontab_line(record: ScheduleRecord, root: Path) -> str:
    """Give the line for the user's crontab, as crontab(5) reads it; its end says which schedule it is."""
    command = shlex.join(timer_command(record, root)).replace("%", "\\%")
    return f"{record.recurrence.cron} {command} {_mark(record, root)}"


def adding_command(record: ScheduleRecord, root: Path) -> str:
    """Give a shell command that puts the line into the crontab, in place of an older one of the schedule."""
    others = f"crontab -l 2>/dev/null | {_others(record, root)}"
    return f"({others}; echo {shlex.quote(crontab_line(record, root))}) | crontab -"


def removing_command(record: ScheduleRecord, root: Path) -> str:
    """Give a shell command that takes the line out of the crontab."""
    return f"crontab -l | {_others(record, root)} | crontab -"


def _others(record: ScheduleRecord, root: Path) -> str:
    """Give the shell command that leaves out the schedule's line; its mark has no character that means anything."""
    return f"grep -v '{_mark(record, root)}$'"


def _mark(record: ScheduleRecord, root: Path) -> str:
    return f"# {timer_name(record.name, root)}"


def _check(recurrence: Recurrence) -> None:
    if recurrence.catch_up:
        raise InputError("A crontab does not catch up. Leave --catch-up out, or pass --with systemd or --with daemon.")
    # Debian's cron knows one zone, the machine's: crontab(5), LIMITATIONS.
    if not is_machine_zone(ZoneInfo(recurrence.time_zone), datetime.now(UTC)):
        raise InputError(
            f"A crontab goes by this machine's clock ({machine_zone().key}), not by {recurrence.time_zone}. Pass "
            "--with systemd or --with daemon, or --time-zone of this machine."
        )
