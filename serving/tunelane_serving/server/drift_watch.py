"""Drift of a served model: asked for by a route, and looked at from time to time for health and metrics."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from tunelane_serving.errors import TunelaneError, first_line
from tunelane_serving.server.champion import ChampionSource
from tunelane_serving.server.served import Served
from tunelane_serving.server.wire import Drift

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database

_log = logging.getLogger(__name__)

# As many as the reference of a package is made from; more would only take longer.
_MAX_OBSERVATIONS = 5000
_WINDOW_S = 24 * 3600.0


class DriftWatch:
    """Measures the drift of the model that serves every `period_s` seconds, over the last 24 hours."""

    def __init__(self, database: "Database", source: ChampionSource, *, period_s: float = 60.0) -> None:
        self._last: Drift | None = None
        self._database = database
        self._source = source
        self._period_s = period_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="drift", daemon=True)

    @property
    def last(self) -> Drift | None:
        """The last measurement, if it is of the package that serves now."""
        last, served = self._last, self._source.current
        return last if last is not None and served is not None and served.model.digest == last.digest else None

    @property
    def status(self) -> Literal["none", "drift", "unknown"]:
        """What the last measurement said; unknown before a model's first, and where there is too little to say."""
        last = self.last
        if last is None or last.status in ("too_few_events", "no_reference"):
            return "unknown"
        return "drift" if last.status == "drift" else "none"

    def start(self) -> None:
        """Watch in a thread of its own; the first look comes after one period, when the start is over."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A measurement under way ends with the process."""
        self._stopped.set()

    def look(self) -> None:
        """Measure once; where that fails, whatever the reason, what was measured before stays."""
        served = self._source.current
        if served is None or served.is_fallback:
            return
        now_s = time.time()
        try:
            self._last = measure_served(self._database, served, since_s=now_s - _WINDOW_S, until_s=now_s)
        except Exception as error:
            expected = isinstance(error, TunelaneError)
            _log.warning("drift was not measured: %s", first_line(error), exc_info=None if expected else error)

    def _watch(self) -> None:
        while not self._stopped.wait(self._period_s):
            self.look()


def measure_served(
    database: "Database",
    served: Served,
    *,
    since_s: float,
    until_s: float,
    minimum_events: int = 100,
    alpha: float = 0.01,
) -> Drift:
    """Hold the newest events of a model version in a time range against its package's reference histograms.

    Raises:
        DatabaseAway: the database does not answer.
    """
    # Both import what a cold start has no use for.
    from tunelane_serving.monitoring.drift import measure_drift
    from tunelane_serving.monitoring.observations import observations
    from tunelane_serving.monitoring.selecting import utc

    found = observations(database, served.model.digest, since_s=since_s, until_s=until_s, limit=_MAX_OBSERVATIONS)
    report = measure_drift(served.model.manifest.reference, found, minimum_events=minimum_events, alpha=alpha)
    return msgspec.convert(
        {
            "model": served.name,
            "modelVersion": served.version,
            "digest": served.model.digest,
            "since": utc(since_s),
            "until": utc(until_s),
            "events": report.events,
            "minimumEvents": minimum_events,
            "alpha": alpha,
            "status": report.status,
            "features": report.features,
        },
        Drift,
        from_attributes=True,
    )
