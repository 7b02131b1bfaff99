"""What a service that is away is asked again, and after how long."""

from datetime import UTC, datetime, timedelta

import pytest

from tunelane_pipelines.targets.errors import Refused, ServiceAway
from tunelane_pipelines.targets.retrying import retried


class _Clock:
    """Counts how long it was told to wait."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=sum(self.pauses_s))

    def sleep(self, seconds: float) -> None:
        self.pauses_s.append(seconds)


def _away(times: int, error: Exception) -> list[Exception | str]:
    return [error] * times + ["answer"]


def _call(outcomes: list[Exception | str]) -> str:
    outcome = outcomes.pop(0)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_pauses_grow_until_the_service_answers() -> None:
    clock, outcomes = _Clock(), _away(4, ServiceAway("away"))
    assert retried(lambda: _call(outcomes), clock) == "answer"
    assert all(low <= pause_s <= 2 * low for pause_s, low in zip(clock.pauses_s, (0.5, 1, 2, 4), strict=True))


def test_what_stays_away_is_said_after_the_last_attempt() -> None:
    clock, outcomes = _Clock(), _away(5, ServiceAway("away"))
    with pytest.raises(ServiceAway, match="away"):
        retried(lambda: _call(outcomes), clock)
    assert (outcomes, len(clock.pauses_s)) == (["answer"], 4)


@pytest.mark.parametrize(("wanted_s", "waited_s"), [(20.0, 20.0), (86_400.0, 60.0)])
def test_a_service_gets_the_pause_that_it_asks_for_within_reason(wanted_s: float, waited_s: float) -> None:
    clock, outcomes = _Clock(), _away(1, ServiceAway("away", retry_after_s=wanted_s))
    assert retried(lambda: _call(outcomes), clock) == "answer"
    assert clock.pauses_s == [waited_s]


def test_a_no_is_not_asked_again() -> None:
    clock, outcomes = _Clock(), _away(1, Refused("no"))
    with pytest.raises(Refused):
        retried(lambda: _call(outcomes), clock)
    assert clock.pauses_s == []
