"""What a user types, to when runs start."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.scheduling.recurrence import changed, due_at, is_over, is_readable, next_runs
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError

_NEW = Recurrence(cron="")
_NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
_MINUTES = st.integers(0, 600).map(lambda minutes: _NOON + timedelta(minutes=minutes))


def test_times_without_a_zone_are_the_schedules_own() -> None:
    recurrence = changed(
        _NEW, cron="0 3 * * *", time_zone="Europe/Berlin", starts_at="2099-07-01", ends_at="2099-07-03"
    )
    assert recurrence.starts_at == datetime(2099, 6, 30, 22, tzinfo=UTC)
    found = [time.isoformat() for time in next_runs(recurrence, _NOON, 9)]
    assert found == ["2099-07-01T03:00:00+02:00", "2099-07-02T03:00:00+02:00"]


def test_a_start_and_an_end_that_are_due_times_count() -> None:
    recurrence = changed(_NEW, cron="0 3 * * *", starts_at="2099-07-01T03:00", ends_at="2099-07-02T03:00")
    assert [time.day for time in next_runs(recurrence, _NOON, 9)] == [1, 2]


def test_what_is_not_named_stays() -> None:
    first = changed(_NEW, cron="0 3 * * *", time_zone="Asia/Tokyo", max_concurrent_runs=2, ends_at="2099-01-01")
    second = changed(first, cron="0 4 * * *", ends_at="")
    assert second == Recurrence(cron="0 4 * * *", time_zone="Asia/Tokyo", max_concurrent_runs=2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"time_zone": "Europe/Berln"}, "No time zone 'Europe/Berln'. Did you mean 'Europe/Berlin'?"),
        ({"time_zone": "../etc/passwd"}, "No time zone '../etc/passwd'."),
        ({"time_zone": ""}, "No time zone ''."),
        ({"max_concurrent_runs": 0}, "--max-concurrent is 0"),
        ({"max_runs": -1}, "--max-runs is -1"),
        ({"starts_at": "tomorrow"}, "Cannot read --starts-at 'tomorrow'"),
        ({"ends_at": "2020-01-01"}, "Nothing is due before --ends-at"),
        ({"starts_at": "2020-01-01", "ends_at": "2020-02-01"}, "Nothing is due before --ends-at"),
        ({"starts_at": "0001-01-01"}, "--starts-at is in the year 1. Choose one from 2000 to 2999."),
        ({"ends_at": "9999-12-31T23:59-10:00"}, "--ends-at is in the year 9999"),
        ({"starts_at": "2099-02-01", "ends_at": "2099-01-01"}, "Nothing is due before --ends-at"),
    ],
)
def test_a_slip_is_refused_in_one_line(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(_NEW, cron="0 3 * * *", **fields)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=30) | st.datetimes().map(str) | st.dates().map(str))
def test_whatever_stands_for_a_start_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        assert next_runs(changed(_NEW, cron="0 3 * * *", starts_at=text), _NOON, 1)


@pytest.mark.parametrize(
    "recurrence",
    [Recurrence("@daily"), Recurrence(""), Recurrence("0 0 3 * * *"), Recurrence("0 3 * * *", "Europe/Berln")],
)
def test_what_others_wrote_in_a_way_of_their_own_is_changed_only_as_a_whole(recurrence: Recurrence) -> None:
    assert not is_readable(recurrence)
    with pytest.raises(InputError):
        changed(recurrence, max_concurrent_runs=2, ends_at="2099-01-01")
    assert is_readable(changed(recurrence, cron="0 3 * * *", time_zone="UTC"))


@given(settled=_MINUTES, now=_MINUTES)
def test_what_fell_due_unseen_is_started_once_if_the_schedule_catches_up(settled: datetime, now: datetime) -> None:
    cron = "*/20 * * * *"
    missed = [time for time in next_runs(Recurrence(cron), settled, 40) if time <= now]
    assert due_at(Recurrence(cron, catch_up=True), settled, now) == (missed[0] if missed else None)
    fresh = [time for time in missed if time > now - timedelta(minutes=1)]
    assert due_at(Recurrence(cron), settled, now) == (fresh[0] if fresh else None)
    # Once it is started all that was due is settled.
    assert due_at(Recurrence(cron, catch_up=True), now, now) is None


def test_a_schedule_is_over_after_its_runs_or_its_end() -> None:
    assert is_over(Recurrence("0 * * * *", max_runs=2), 2, _NOON)
    assert not is_over(Recurrence("0 * * * *", max_runs=2), 1, _NOON)
    ended = Recurrence("0 * * * *", ends_at=_NOON)
    assert not is_over(ended, 0, _NOON)
    assert is_over(ended, 0, _NOON + timedelta(minutes=2))
