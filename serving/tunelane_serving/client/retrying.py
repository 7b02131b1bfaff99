"""When to ask again, and how long to wait before: no I/O, no clock of its own."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tunelane_serving.client.errors import ClassifierError, Unavailable

_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
# 2**62 waits are longer than any; larger powers are no floats.
_MOST_DOUBLINGS = 62


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on.

    Attributes:
        timeout_s: a request, with all its repetitions and the waits between them, is over after this.
        attempt_timeout_s: one attempt at it is over after this, and the next one begins.
        retries: how often a request is repeated at most.
    """

    timeout_s: float = 30.0
    attempt_timeout_s: float = 10.0
    retries: int = 4

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.attempt_timeout_s <= 0 or self.retries < 0:
            raise ValueError("timeout_s and attempt_timeout_s are above 0, and retries is 0 or more")


class Attempts:
    """One request's attempts. Times are seconds of any monotonic clock."""

    def __init__(self, policy: RetryPolicy, now_s: float, *, is_repeatable: bool = True) -> None:
        self._policy = policy
        self._deadline_s = now_s + policy.timeout_s
        self._retries_left = policy.retries if is_repeatable else 0
        self._failed = 0

    def timeout_s(self, now_s: float) -> float:
        """How long the next attempt may take; above 0."""
        return max(min(self._policy.attempt_timeout_s, self._deadline_s - now_s), 0.001)

    def wait_s(self, error: ClassifierError, now_s: float) -> float:
        """How long to wait after `error` before the next attempt.

        Raises:
            ClassifierError: `error` itself, where another attempt makes no sense or comes too late.
        """
        if not isinstance(error, Unavailable) or self._retries_left == 0:
            raise error
        # What the server asks for is the least; the jitter keeps those it sent away from coming back all at once.
        wait_s = (error.retry_after_s or 0.0) + backoff_s(self._failed)
        if now_s + wait_s >= self._deadline_s:
            raise error
        self._retries_left -= 1
        self._failed += 1
        return wait_s


def backoff_s(failed: int, draw: Callable[[float, float], float] = random.uniform) -> float:
    """Exponential backoff with full jitter: anything from 0 to a bound that doubles with each attempt that failed.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        failed: how many attempts failed before the last one.
        draw: gives a number between two others.
    """
    return draw(0.0, min(_FIRST_WAIT_S * 2.0 ** min(failed, _MOST_DOUBLINGS), _LONGEST_WAIT_S))


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header: a number of seconds or an HTTP date (RFC 9110, section 10.2.3).

    Args:
        value: the header's value; None where there is none.
        now: the time, with its zone.

    Returns:
        Seconds, 0 for a date that is over; None for what is neither, which is ignored.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # An HTTP date is in GMT; "-0000" gives one without a zone.
        return max((date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
