"""When requests are sent in an open loop: Poisson arrivals, which do not wait for answers."""

import random


def poisson(rate_per_s: float, seconds: float, seed: int) -> list[float]:
    """Give the times of arrivals in [0, seconds), ascending: gaps are exponential with mean 1/rate."""
    if rate_per_s <= 0:
        raise ValueError("the rate is above 0 a second")
    generator = random.Random(seed)  # noqa: S311 - a schedule, no secret
    times, now = [], generator.expovariate(rate_per_s)
    while now < seconds:
        times.append(now)
        now += generator.expovariate(rate_per_s)
    return times
