"""When a schedule starts runs: read from what a user types, and looked up."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

from tunelane_pipelines.nearest import no_such_zone
from tunelane_pipelines.scheduling.cron import check_cron, fire_times
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError

# What starts later than this has fallen due while nobody looked.
_LATE = timedelta(minutes=1)
_INSTANT = timedelta(microseconds=1)
# Of starts and ends: the calendar itself ends a little before year 1 and after year 9999.
_YEARS = range(2000, 3000)


def changed(
    recurrence: Recurrence,
    *,
    cron: str | None = None,
    time_zone: str | None = None,
    max_concurrent_runs: int | None = None,
    catch_up: bool | None = None,
    starts_at: str | None = None,
    ends_at: str | None = None,
    max_runs: int | None = None,
) -> Recurrence:
    """Give the recurrence with what is not None changed, checked.

    Args:
        recurrence: what stays; the plain `Recurrence(cron="")` for a new one.
        cron: five fields.
        time_zone: IANA name.
        max_concurrent_runs: at least 1.
        catch_up: start what fell due while paused.
        starts_at: ISO date or time, in the time zone where it names none; empty: none.
        ends_at: likewise.
        max_runs: at least 1; 0: without end.

    Raises:
        InputError: one of them cannot be read, or nothing would ever start.
    """
    zone = read_zone(recurrence.time_zone if time_zone is None else time_zone)
    # Also what stays: what others made on a service may be written in another way.
    found = replace(recurrence, time_zone=zone.key, cron=check_cron(recurrence.cron if cron is None else cron))
    if max_concurrent_runs is not None:
        found = replace(found, max_concurrent_runs=_at_least_1("--max-concurrent", max_concurrent_runs))
    if catch_up is not None:
        found = replace(found, catch_up=catch_up)
    if starts_at is not None:
        found = replace(found, starts_at=_read_time("--starts-at", starts_at, zone))
    if ends_at is not None:
        found = replace(found, ends_at=_read_time("--ends-at", ends_at, zone))
    if max_runs is not None:
        found = replace(found, max_runs=_at_least_1("--max-runs", max_runs) if max_runs else None)
    if found.ends_at is not None:
        now = datetime.now(UTC)
        if not next_runs(found, max(found.starts_at or now, now), 1, inclusive=True):
            raise InputError(f"Nothing is due before --ends-at {found.ends_at.isoformat()}. Choose a later end.")
    return found


def read_zone(name: str) -> ZoneInfo:
    """Give a time zone by its IANA name.

    Raises:
        InputError: there is none; names the nearest.
    """
    # Not tried out: a name can be a path.
    if name not in available_timezones():
        raise InputError(f"{no_such_zone(name)} Pass an IANA name, for instance --time-zone Europe/Berlin.")
    return ZoneInfo(name)


def is_readable(recurrence: Recurrence) -> bool:
    """Whether its times can be counted here: what others made on a service may be written in another way."""
    try:
        check_cron(recurrence.cron)
        read_zone(recurrence.time_zone)
    except InputError:
        return False
    return True


def next_runs(
    recurrence: Recurrence, after: datetime, count: int, *, inclusive: bool = False, by_systemd: bool = False
) -> list[datetime]:
    """Give the next times at which a schedule is due, in its zone.

    Args:
        recurrence: one that is readable.
        after: where to begin.
        count: of times, at most.
        inclusive: `after` may be one.
        by_systemd: as systemd's timers count, which differs where clocks change.
    """
    begin = after - _INSTANT if inclusive else after
    return list(islice(_due_after(recurrence, begin, by_systemd=by_systemd), count))


def due_at(recurrence: Recurrence, settled_until: datetime, now: datetime) -> datetime | None:
    """Give the time for which a run is to be started now, or None.

    What fell due while nobody looked is started if the schedule catches up; one run for all of it.

    Args:
        recurrence: of the schedule.
        settled_until: what was due until then has been started or left out.
        now: the time.
    """
    since = settled_until if recurrence.catch_up else max(settled_until, now - _LATE)
    due = next_runs(recurrence, since, 1)
    return due[0] if due and due[0] <= now else None


def is_over(recurrence: Recurrence, started_runs: int, now: datetime) -> bool:
    """Whether a schedule that has started so many runs will start no more."""
    if recurrence.max_runs is not None and started_runs >= recurrence.max_runs:
        return True
    return recurrence.ends_at is not None and not next_runs(recurrence, now - _LATE, 1)


def _due_after(recurrence: Recurrence, after: datetime, *, by_systemd: bool = False) -> Iterator[datetime]:
    if recurrence.starts_at is not None:
        after = max(after, recurrence.starts_at - _INSTANT)
    times = fire_times(recurrence.cron, ZoneInfo(recurrence.time_zone), after, by_systemd=by_systemd)
    ends_at = recurrence.ends_at
    return times if ends_at is None else takewhile(lambda time: time <= ends_at, times)


def _read_time(option: str, text: str, zone: ZoneInfo) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"Cannot read {option} {text!r}. Write it as 2026-12-01 or 2026-12-01T03:00.") from error
    if time.year not in _YEARS:
        raise InputError(f"{option} is in the year {time.year}. Choose one from {_YEARS[0]} to {_YEARS[-1]}.")
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)


def _at_least_1(option: str, number: int) -> int:
    if number < 1:
        raise InputError(f"{option} is {number}. Pass 1 or more.")
    return number
