"""Schedules as timers of systemd's user manager.

https://www.freedesktop.org/software/systemd/man/latest/systemd.timer.html: a timer does not start what still runs, so
that one run goes on at a time. https://www.freedesktop.org/software/systemd/man/latest/systemd.time.html: calendar
events. Where clocks change, systemd leaves out a time that no clock shows, and takes one that comes twice once.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from tunelane_pipelines.scheduling.cron import named_days
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.timers import timer_command, timer_name
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import write_atomically

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_CALL_TIMEOUT_S = 60
_PERSISTENT = "Persistent=true"


def has_systemd() -> bool:
    """Whether systemd's user manager answers."""
    if shutil.which("systemctl") is None:
        return False
    try:
        return _called("show-environment").returncode == 0
    except TunelaneError:
        return False


def calendar_events(cron: str, time_zone: str) -> list[str]:
    """Give a checked cron line as `OnCalendar=` values; two where a day matches in either of two ways."""
    minutes, hours, days, months, weekdays, need_both = named_days(cron)
    any_weekday, any_day = len(weekdays) == 7, len(days) == 31
    time = f"{_listed(hours, 24)}:{_listed(minutes, 60)}:00 {time_zone}"
    week = "" if any_weekday else f"{','.join(_WEEKDAYS[day] for day in weekdays)} "
    month, day = _listed(months, 12), _listed(days, 31)
    if need_both:
        return [f"{week}*-{month}-{day} {time}"]
    if any_weekday or any_day:
        # Either is every day.
        return [f"*-{month}-* {time}"]
    return [f"*-{month}-{day} {time}", f"{week}*-{month}-* {time}"]


def timer_unit(record: ScheduleRecord, recurrence: Recurrence) -> str:
    """Give the timer as a unit file."""
    events = "\n".join(f"OnCalendar={event}" for event in calendar_events(recurrence.cron, recurrence.time_zone))
    return f"""[Unit]
Description=Tunelane schedule {record.name}

[Timer]
{events}
AccuracySec=1s
{_PERSISTENT if recurrence.catch_up else "Persistent=false"}

[Install]
WantedBy=timers.target
"""


def service_unit(record: ScheduleRecord, root: Path) -> str:
    """Give the service that the timer starts as a unit file."""
    return f"""[Unit]
Description=Tunelane schedule {record.name}: a run of {record.pipeline}

[Service]
Type=oneshot
ExecStart={" ".join(_quoted(argument) for argument in timer_command(record, root))}
"""


class SystemdKeeper:
    """A `Keeper` of unit files.

    Raises:
        InputError: a file cannot be written, or the schedule is more than a timer can do.
        TunelaneError: systemd refuses.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, record: ScheduleRecord) -> None:
        """Write the units and start the timer; nothing is left where that fails."""
        try:
            self._install(record, record.recurrence)
        except TunelaneError:
            # Where units cannot be written there is none to remove.
            with suppress(InputError):
                self._remove(record)
            raise

    def made(self, record: ScheduleRecord) -> None:
        """Nothing: units may be written twice."""

    def pause(self, record: ScheduleRecord) -> None:
        """Stop the timer, now and after the next boot; a run that goes on is left alone."""
        _call("disable", "--now", self._timer(record))

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:
        """Start the timer again; systemd has noted when it was last due only where the schedule catches up."""
        if catch_up and not record.recurrence.catch_up:
            raise InputError(
                f"{record.name} was made without --catch-up, and systemd keeps no note of what fell due. Resume it "
                "without."
            )
        if record.recurrence.catch_up and not catch_up:
            self._forget_last_run(record)
        self._install(record, record.recurrence)

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> None:
        """Write the timer anew; one that is paused stays so."""
        _check(recurrence)
        if _PERSISTENT in self._written(record):
            # Else it would catch up at once with the new times that lie between its last run and now.
            self._forget_last_run(record)
        if record.state == "paused":
            self._write(record, recurrence)
            _call("daemon-reload")
        else:
            self._install(record, recurrence)

    def delete(self, record: ScheduleRecord) -> None:
        """Stop the timer and remove the units; a run that goes on is left alone."""
        if self.paths(record)[0].exists():
            _call("disable", "--now", self._timer(record))
        self._remove(record)
        _call("daemon-reload")

    def is_unchanged(self, record: ScheduleRecord) -> bool:
        """Whether the timer's file says what the record says, and the timer runs unless it is paused."""
        if self._written(record) != timer_unit(record, record.recurrence):
            return False
        try:
            return record.state == "paused" or _called("is-active", self._timer(record)).returncode == 0
        except TunelaneError:
            return False

    def paths(self, record: ScheduleRecord) -> tuple[Path, Path]:
        """Give the timer's and the service's file."""
        units = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
        name = timer_name(record.name, self._root)
        return units / f"{name}.timer", units / f"{name}.service"

    def _written(self, record: ScheduleRecord) -> str:
        """Give what the timer's file says; nothing where there is none."""
        try:
            return self.paths(record)[0].read_text(encoding="utf-8")
        except OSError:
            return ""

    def _timer(self, record: ScheduleRecord) -> str:
        return self.paths(record)[0].name

    def _install(self, record: ScheduleRecord, recurrence: Recurrence) -> None:
        self._write(record, recurrence)
        _call("daemon-reload")
        _call("enable", self._timer(record))
        # Not start: a timer that runs already would go on with its old times.
        _call("restart", self._timer(record))

    def _forget_last_run(self, record: ScheduleRecord) -> None:
        """Stop the timer, and remove systemd's note of when it was last due, which it can once that stands still."""
        _call("stop", self._timer(record))
        _call("clean", "--what=state", self._timer(record))

    def _write(self, record: ScheduleRecord, recurrence: Recurrence) -> None:
        _check(recurrence)
        timer, service = self.paths(record)
        try:
            write_atomically(service, service_unit(record, self._root).encode())
            write_atomically(timer, timer_unit(record, recurrence).encode())
        except OSError as error:
            raise InputError(f"Cannot write to {timer.parent}: {error.strerror}. Pass --with daemon.") from error

    def _remove(self, record: ScheduleRecord) -> None:
        """Remove the units, and the link by which an enabled timer starts with the machine."""
        timer, service = self.paths(record)
        for path in (timer.parent / "timers.target.wants" / timer.name, timer, service):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(f"Cannot remove {path}: {error.strerror}. Remove it by hand.") from error


def _check(recurrence: Recurrence) -> None:
    if recurrence.max_concurrent_runs > 1:
        raise InputError("A systemd timer starts one run at a time. Leave --max-concurrent at 1, or --with daemon.")


def _listed(numbers: list[int], count: int) -> str:
    return "*" if len(numbers) == count else ",".join(str(number) for number in numbers)


def _quoted(argument: str) -> str:
    """Give an argument as systemd reads it: https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _call(*words: str) -> None:
    done = _called(*words)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise TunelaneError(
            f"systemctl --user {' '.join(words)}: {said.rstrip('.')}. Pass --with daemon, or log in so that systemd's "
            "user manager runs (loginctl enable-linger)."
        )


def _called(*words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - words of our own
            ["systemctl", "--user", *words],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=False,
            timeout=_CALL_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TunelaneError(f"systemctl cannot be called: {error}. Pass --with crontab or --with daemon.") from error
