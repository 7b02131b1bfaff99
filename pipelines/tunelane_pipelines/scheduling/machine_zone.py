"""The time zone of this machine, by which cron goes: it is started by the machine, and knows no shell's TZ."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# https://www.freedesktop.org/software/systemd/man/latest/localtime.html
_LOCALTIME = Path("/etc/localtime")
# Where Debian keeps its name, too.
_TIMEZONE = Path("/etc/timezone")
_COMPARED_WEEKS = 110


def machine_zone() -> ZoneInfo:
    """Give the machine's time zone; UTC where it has none. Its key is its name, as far as the machine knows it."""
    try:
        with _LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key=_name() or str(_LOCALTIME))
    except (OSError, ValueError):
        pass
    try:
        return ZoneInfo(_name())
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return ZoneInfo("UTC")


def is_machine_zone(zone: ZoneInfo, now: datetime) -> bool:
    """Whether clocks of this machine show the zone's time, in the two years to come."""
    here = machine_zone()
    weeks = (now.astimezone(UTC) + timedelta(weeks=week) for week in range(_COMPARED_WEEKS))
    return all(time.astimezone(here).utcoffset() == time.astimezone(zone).utcoffset() for time in weeks)


def _name() -> str:
    """Give the zone's name: where the link leads, or what Debian's file says; empty where neither tells."""
    _, found, name = str(_LOCALTIME.resolve()).partition("/zoneinfo/")
    if found:
        return name
    try:
        return _TIMEZONE.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
