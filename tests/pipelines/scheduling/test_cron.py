"""When a cron line is due: against the calendar and the zone, minute by minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunelane_pipelines.scheduling.cron import check_cron, fire_times, next_fire_times
from tunelane_serving.errors import InputError

_MINUTE = timedelta(minutes=1)
# Each with the days around its changes of clocks: whole hours, half an hour, at midnight, a whole day left out.
_CHANGES = (
    ("Europe/Berlin", datetime(2026, 3, 28, 18, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 18, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 2, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 2, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 10, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 10, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 18, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 18, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 29, 18, tzinfo=UTC)),
    ("UTC", datetime(2026, 2, 28, 18, tzinfo=UTC)),
)


@lru_cache
def _numbers(field: str, low: int, high: int) -> frozenset[int]:
    numbers: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = ("0", "-", "99") if span == "*" else span.partition("-")
        begin = max(int(first), low)
        end = min(int(last or first), high)
        numbers |= set(range(begin, end + 1, int(step or 1)))
    return frozenset(numbers)


@lru_cache
def _fields(cron: str) -> tuple[frozenset[int], ...]:
    minute, hour, day, month, weekday = cron.split()
    weekdays = frozenset(number % 7 for number in _numbers(weekday, 0, 7))
    return _numbers(minute, 0, 59), _numbers(hour, 0, 23), _numbers(day, 1, 31), _numbers(month, 1, 12), weekdays


def _matches(cron: str, shown: datetime) -> bool:
    """Whether five fields of numbers match what a clock shows."""
    minutes, hours, days, months, weekdays = _fields(cron)
    if shown.minute not in minutes or shown.hour not in hours or shown.month not in months:
        return False
    is_day, is_weekday = shown.day in days, shown.isoweekday() % 7 in weekdays
    has_star = any(field.startswith("*") for field in cron.split()[2::2])
    return is_day and is_weekday if has_star else is_day or is_weekday


def _reference(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Look at the clock every minute."""
    is_fixed = cron[0] != "*" and cron.split()[1][0] != "*"
    instant = after.astimezone(UTC).replace(second=0, microsecond=0)
    while True:
        before = instant.astimezone(zone).replace(tzinfo=None)
        instant += _MINUTE
        now = instant.astimezone(zone)
        left_out = []
        while before + _MINUTE < now.replace(tzinfo=None):
            before += _MINUTE
            left_out.append(before)
        is_due = _matches(cron, now) and not (is_fixed and now.fold)
        if is_due or (is_fixed and any(_matches(cron, shown) for shown in left_out)):
            yield now


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    stepped = st.tuples(st.one_of(st.just("*"), span), st.integers(1, 12)).map(lambda parts: f"{parts[0]}/{parts[1]}")
    item = st.one_of(number.map(str), span, stepped)
    # Something is due often enough for the slow way.
    return st.one_of(st.just("*"), st.lists(item, min_size=1, max_size=3).map(",".join))


_LINES = st.tuples(
    _field(0, 59), _field(0, 6), st.one_of(st.just("*"), _field(1, 31)), st.just("*"), st.just("*") | _field(0, 7)
).map(" ".join)


@given(cron=_LINES, change=st.sampled_from(_CHANGES), minutes=st.integers(0, 600))
@example("30 2 * * *", _CHANGES[0], 0)
@example("30 2 * * *", _CHANGES[1], 0)
@example("*/15 2 * * *", _CHANGES[4], 0)
@example("*/30 0 24 4 *", _CHANGES[6], 0)
@example("0,30 2 30 12 *", _CHANGES[8], 0)
@example("30 2 * * *", _CHANGES[1], 391)
@settings(max_examples=25)
def test_what_is_due_is_what_a_look_at_the_clock_every_minute_finds(
    cron: str, change: tuple[str, datetime], minutes: int
) -> None:
    zone = ZoneInfo(change[0])
    after = change[1] + minutes * _MINUTE
    end = after + timedelta(hours=20)
    expected: list[datetime] = []
    for instant in _reference(cron, zone, after):
        if instant > end or len(expected) == 100:
            break
        expected.append(instant)
        end = max(end, instant)
        if len(expected) == 100:
            break
    try:
        line = check_cron(cron)
    except InputError:
        # Never due, and so the slow way found nothing either.
        assert expected == []
        return
    found = list(islice(fire_times(line, zone, after), len(expected)))
    assert [time.isoformat() for time in found] == [time.isoformat() for time in expected]


@given(cron=_LINES, change=st.sampled_from(_CHANGES), minutes=st.integers(-5000, 5000))
@settings(max_examples=60)
def test_each_time_is_later_than_the_one_before_and_shows_what_the_line_says(
    cron: str, change: tuple[str, datetime], minutes: int
) -> None:
    zone = ZoneInfo(change[0])
    after = change[1] + minutes * _MINUTE
    try:
        line = check_cron(cron)
    except InputError:
        return
    times = next_fire_times(line, zone, after, 30)
    assert len(times) == 30
    instants = [time.astimezone(UTC) for time in [after, *times]]
    assert all(one < other for one, other in pairwise(instants))
    for time in times:
        is_after_a_change = (time.astimezone(UTC) - _MINUTE).astimezone(zone).utcoffset() != time.utcoffset()
        assert _matches(cron, time) or is_after_a_change
        assert time == time.astimezone(UTC).astimezone(zone)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 9 * * 0", "2026-03-01T00:00+01:00", ["2026-03-01T09:00:00+01:00", "2026-03-08T09:00:00+01:00"]),
        ("0 9 * * 7", "2026-03-01T00:00+01:00", ["2026-03-01T09:00:00+01:00", "2026-03-08T09:00:00+01:00"]),
        ("0 9 * * mon", "2026-03-01T00:00+01:00", ["2026-03-02T09:00:00+01:00", "2026-03-09T09:00:00+01:00"]),
        ("0 9 1 * 1", "2026-03-30T12:00+02:00", ["2026-04-01T09:00:00+02:00", "2026-04-06T09:00:00+02:00"]),
        ("30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("30 2 * * *", "2026-10-24T12:00+02:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        ("0 12 29 2 *", "2026-01-01T00:00+01:00", ["2028-02-29T12:00:00+01:00", "2032-02-29T12:00:00+01:00"]),
    ],
)
def test_days_and_changes_of_clocks_count_as_in_crontab(cron: str, after: str, expected: list[str]) -> None:
    found = next_fire_times(check_cron(cron), ZoneInfo("Europe/Berlin"), datetime.fromisoformat(after), 2)
    assert [time.isoformat() for time in found] == expected


@pytest.mark.parametrize(
    ("cron", "same"),
    [
        ("0 3 * * 7", "0 3 * * 0"),
        ("  0 3  * * 5-7", "0 3 * * 0,5,6"),
        ("0 3 * jan sun,wed", "0 3 * JAN SUN,WED"),
        ("*/7 7 * * */7", "*/7 7 * * */7"),
        ("00 03-3/2 * * *", "0 3 * * *"),
    ],
)
def test_a_line_is_written_as_every_service_reads_it(cron: str, same: str) -> None:
    assert check_cron(cron) == same


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 3 * *", "4 fields"),
        ("0 0 3 * * *", "6 fields"),
        ("@daily", "1 fields"),
        ("60 3 * * *", "minute '60'"),
        ("0 24 * * *", "hour '24'"),
        ("0 3 L * *", "day of the month 'L'"),
        ("0 3 * 13 *", "month '13'"),
        ("0 3 * * MON#1", "day of the week 'MON#1'"),
        ("5/15 3 * * *", "minute '5/15'"),
        ("0 3 * * FOO", "day of the week 'FOO'"),
        ("*/0 3 * * *", "minute '*/0'"),
        ("0 3 5-1 * *", "day of the month '5-1'"),
        ("0 3 * * ٣", "day of the week '٣'"),
        ("0 3 31 2,4 *", "is never due"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_by_its_field(cron: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_cron(cron)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
