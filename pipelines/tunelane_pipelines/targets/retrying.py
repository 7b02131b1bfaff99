"""Calls repeated while a service is away, with growing pauses."""

import random
from collections.abc import Callable
from typing import TypeVar

from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import ServiceAway

T = TypeVar("T")

_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 30.0
# A service may ask for hours, and nobody waits for that in silence: the attempts are used up instead.
_MAX_WANTED_S = 60.0


def retried(call: Callable[[], T], clock: Clock, *, attempts: int = 5) -> T:
    """Call until the service answers: after 1 s, 2 s, 4 s, …, each with jitter.

    Where the service asks for a longer pause it gets it, up to 60 s. Only for what may be done twice. Raises what the
    last attempt raised; what is no `ServiceAway` at once.
    """
    pause_s = _FIRST_PAUSE_S
    for _ in range(attempts - 1):
        try:
            return call()
        except ServiceAway as error:
            wanted_s = error.retry_after_s or 0.0
        clock.sleep(max(min(wanted_s, _MAX_WANTED_S), pause_s * random.uniform(0.5, 1.0)))  # noqa: S311 - no secret
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)
    return call()
