"""When a cron line is due in a time zone.

cronsim reads the line and counts through the calendar; what the zone makes of that is decided here. APScheduler's
CronTrigger was tried beside it and is not used, since as of 3.11 (https://github.com/agronholm/apscheduler/issues/286)
- its day 0 is Monday and 7 is refused, where in cron 0 and 7 are Sunday: a weekly run would come a day late;
- with both days restricted it wants both ("0 9 1 * 1": Mondays that are the first), where cron wants either;
- "30 2 * * *" is due twice in the night in which clocks go back: a retraining would run twice.
cronsim counts as Debian's cron does, but given a zone it loses times where a change of clocks is not a whole hour
("*/15 2 * * *" on Lord Howe Island) or falls on midnight (Cairo). So it counts without a zone.
"""

import heapq
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tunelane_serving.errors import InputError

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
# What Vertex AI, Kubeflow, systemd and every cron have in common: no L, # or W, and a step after a range alone.
_VALUE = r"(\d{1,2}|[A-Z]{3})"
_ITEM = rf"({_VALUE}|(\*|{_VALUE}-{_VALUE})(/\d{{1,2}})?)"
_FIELD = re.compile(rf"{_ITEM}(,{_ITEM})*")
_LEADING_ZEROS = re.compile(r"\b0+(?=\d)")
_SPAN_OF_ONE = re.compile(r"\b(\w+)-\1\b(/\d+)?")
# Longer than any time that clocks have been put back by since there are computers.
_LONGEST_OVERLAP = timedelta(hours=3)
_MINUTE = timedelta(minutes=1)
_ANY_TIME = datetime(2000, 1, 1)  # noqa: DTZ001 - without a zone, as cronsim counts


class Days(NamedTuple):
    """What a cron line names, in order; weekdays from 0, Sunday. `need_both`: a day matches in both ways, or in one."""

    minutes: list[int]
    hours: list[int]
    days: list[int]
    months: list[int]
    weekdays: list[int]
    need_both: bool


def check_cron(cron: str) -> str:
    """Give a cron line as every service reads it: one space between fields, Sunday as 0, names in capitals.

    Raises:
        InputError: it has not five fields, one of them cannot be read, or no day ever matches.
    """
    # 03 is 3, and a range of one is that one: cronsim takes 3-3/2 for 3-59/2.
    fields = [_SPAN_OF_ONE.sub(r"\1", _LEADING_ZEROS.sub("", field)) for field in cron.upper().split()]
    if len(fields) != len(_FIELDS):
        raise InputError(
            f"Cannot read --cron {cron!r}: {len(fields)} fields. "
            f"Write five ({', '.join(_FIELDS)}), for instance '0 3 * * MON'."
        )
    for position, (field, name) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[position] = field
        try:
            if not _FIELD.fullmatch(field):
                raise CronSimError
            CronSim(" ".join(alone), _ANY_TIME)
        except CronSimError as error:
            raise InputError(f"Cannot read the {name} {field!r} of --cron {cron!r}. See crontab(5).") from error
    fields[4] = _sunday_as_zero(fields[4])
    line = " ".join(fields)
    try:
        next(CronSim(line, datetime(2000, 1, 1)))  # noqa: DTZ001 - no zone: see above
    except (CronSimError, StopIteration) as error:
        raise InputError(f"--cron {cron!r} is never due: no such day. Choose another day of the month.") from error
    return line


def fire_times(cron: str, zone: ZoneInfo, after: datetime, *, by_systemd: bool = False) -> Iterator[datetime]:
    """Give the times at which a checked cron line is due, each later than the one before, in its zone; without end.

    Where clocks change it is as crontab(5) says of Debian's: a line whose minute or hour starts with a star is due
    whenever the clock shows a time that matches. One with fixed times is due once: the first time where a time comes
    twice, and right after the change where it is left out.

    Args:
        cron: what `check_cron` gave.
        zone: where its hours count.
        after: every time given is later.
        by_systemd: count as its timers do (systemd 252): a time that is left out is left out, and one that comes twice
            is due the first time, whatever the line.
    """
    minute, hour = cron.split()[:2]
    is_fixed = not minute.startswith("*") and not hour.startswith("*") and not by_systemd
    start = (after.astimezone(zone) - _LONGEST_OVERLAP).replace(tzinfo=None)
    passes = [_instants(cron, zone, start, is_fixed=is_fixed, fold=0)]
    if not is_fixed and not by_systemd:
        passes.append(_instants(cron, zone, start, is_fixed=is_fixed, fold=1))
    last = after.astimezone(UTC)
    # Each of the two rises, so that what they give together does.
    for instant in heapq.merge(*passes):
        if instant > last:
            yield instant.astimezone(zone)
            last = instant


def named_days(cron: str) -> Days:
    """Give what a checked cron line names."""
    parsed = CronSim(cron, _ANY_TIME)
    weekdays = {day % 7 for day in parsed.weekdays if isinstance(day, int)}
    return Days(
        sorted(parsed.minutes),
        sorted(parsed.hours),
        sorted(parsed.days),
        sorted(parsed.months),
        sorted(weekdays),
        parsed.day_and,
    )


def next_fire_times(cron: str, zone: ZoneInfo, after: datetime, count: int) -> list[datetime]:
    """Give the next so many."""
    return list(islice(fire_times(cron, zone, after), count))


def _instants(cron: str, zone: ZoneInfo, start: datetime, *, is_fixed: bool, fold: int) -> Iterator[datetime]:
    """Give what the clock shows when the line is due as instants (UTC); `fold` chooses where a time comes twice."""
    for shown in CronSim(cron, start):
        instant = _instant(shown, zone, fold)
        while instant is None and is_fixed:
            shown += _MINUTE
            instant = _instant(shown, zone, fold)
        if instant is not None:
            yield instant


def _instant(shown: datetime, zone: ZoneInfo, fold: int) -> datetime | None:
    """Give the instant at which clocks show this, or None where they never do."""
    instant = shown.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None, fold=0) == shown else None


def _sunday_as_zero(field: str) -> str:
    """Give the days of the week without a 7, which Kubeflow's cron does not know."""
    if "7" not in field or field.startswith("*"):
        return field
    return ",".join(str(day) for day in named_days(f"* * * * {field}").weekdays)
