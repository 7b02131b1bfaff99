"""When the client asks again, and how long it waits."""

import random
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.client.errors import ClassifierError, InvalidInput, Unavailable
from tunelane_serving.client.retrying import Attempts, RetryPolicy, backoff_s, parse_retry_after

_NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001


@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_a_wait_is_anything_up_to_a_bound_that_doubles_and_ends(failed: int, draws: random.Random) -> None:
    bound = backoff_s(failed, lambda _, upper: upper)
    assert backoff_s(failed, lambda lower, _: lower) == 0.0
    assert 0.0 <= backoff_s(failed, draws.uniform) <= bound <= 5.0
    following = backoff_s(failed + 1, lambda _, upper: upper)
    assert following == min(2 * bound, 5.0)


def test_the_first_bound_is_a_tenth_of_a_second() -> None:
    assert backoff_s(0, lambda _, upper: upper) == 0.1


@given(st.integers(0, 10**30))
def test_seconds_are_taken_as_they_are(seconds: int) -> None:
    assert parse_retry_after(str(seconds), _NOW) == float(seconds)
    assert parse_retry_after(f" {seconds} ", _NOW) == float(seconds)


@given(_moments, st.integers(-(10**6), 10**6))
def test_a_date_is_as_far_away_as_it_is_and_never_behind(moment: datetime, away_s: int) -> None:
    now = moment.replace(microsecond=0, tzinfo=UTC)
    value = format_datetime(now + timedelta(seconds=away_s), usegmt=True)
    assert parse_retry_after(value, now) == max(float(away_s), 0.0)
    elsewhere = now.astimezone(timezone(timedelta(hours=-7)))
    assert parse_retry_after(value, elsewhere) == max(float(away_s), 0.0)


@given(st.text())
def test_whatever_stands_there_is_seconds_or_nothing(value: str) -> None:
    found = parse_retry_after(value, _NOW)
    assert found is None or found >= 0.0


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "1.5", "1e3", "nan", "inf", "0x10", "٣", "1_0", "Wed, 99 Foo"]
)
def test_what_is_neither_seconds_nor_a_date_is_passed_over(value: str | None) -> None:
    assert parse_retry_after(value, _NOW) is None


def test_more_digits_than_python_reads_as_an_int_are_a_very_long_wait() -> None:
    assert parse_retry_after("9" * 5000, _NOW) == float("inf")


@given(
    st.lists(st.tuples(st.floats(0, 20), st.none() | st.floats(0, 20)), max_size=30),
    st.floats(0.01, 60),
    st.integers(0, 8),
)
def test_waits_end_before_the_deadline_and_are_no_more_than_the_retries(
    failures: list[tuple[float, float | None]], timeout_s: float, retries: int
) -> None:
    attempts = Attempts(RetryPolicy(timeout_s, 10.0, retries), 100.0)
    now_s, waits = 100.0, 0
    for took_s, retry_after_s in failures:
        assert 0 < attempts.timeout_s(now_s) <= 10.0
        now_s += took_s
        try:
            wait_s = attempts.wait_s(Unavailable("busy", retry_after_s=retry_after_s), now_s)
        except Unavailable:
            break
        assert wait_s >= (retry_after_s or 0.0)
        now_s += wait_s
        waits += 1
        assert now_s < 100.0 + timeout_s
    assert waits <= retries


@pytest.mark.parametrize("error", [InvalidInput("no"), ClassifierError("no")], ids=lambda error: type(error).__name__)
def test_what_does_not_pass_is_raised_at_once(error: ClassifierError) -> None:
    with pytest.raises(ClassifierError) as caught:
        Attempts(RetryPolicy(), 0.0).wait_s(error, 0.0)
    assert caught.value is error


def test_what_must_not_be_repeated_is_not() -> None:
    with pytest.raises(Unavailable):
        Attempts(RetryPolicy(), 0.0, is_repeatable=False).wait_s(Unavailable("busy"), 0.0)


@pytest.mark.parametrize("policy", [{"timeout_s": 0}, {"attempt_timeout_s": -1}, {"retries": -1}])
def test_a_policy_that_means_nothing_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RetryPolicy(**policy)  # type: ignore[arg-type]
