"""Figures of a time range: traffic, latency, confidence and accuracy, as a whole and by stretches."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tunelane_serving.monitoring.selecting import chosen, decode_labels, judged, utc
from tunelane_serving.problems import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tunelane_serving.database.database import Database

# Percentiles need their events sorted, so they are taken over at most this many, the newest.
MAX_PERCENTILE_EVENTS = 200_000
# Sets of labels that are told apart, the most frequent first. Without many labels an event, there are far fewer.
_MAX_LABEL_SETS = 10_000
_PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Bucket:
    """One stretch of the time range. Figures are None where there is nothing to measure."""

    start: datetime
    count: int
    errors: int
    mean_latency_ms: float | None
    p95_latency_ms: float | None
    mean_confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Metrics:
    """What the events of a time range say. Figures are None where there is nothing to measure.

    Latencies are those of all events, failed ones too. A percentile is the nearest rank: the smallest latency that at
    least so many per cent of the events do not exceed. `feedback_count` counts the events whose feedback says whether
    they were right, and `accuracy` is over these. `labels` counts the events of models that give labels by predicted
    label, an event with several for each of them.
    """

    model: str | None
    model_version: str | None
    since: datetime
    until: datetime
    count: int
    errors: int
    mean_latency_ms: float | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    mean_confidence: float | None
    feedback_count: int
    accuracy: float | None
    labels: dict[str, int]
    buckets: tuple[Bucket, ...]


def metrics(
    database: "Database",
    *,
    model: str | None = None,
    version: str | None = None,
    since_s: float,
    until_s: float,
    buckets: int = 60,
) -> Metrics:
    """Measure the events of a time range, as a whole and in `buckets` stretches of the same length.

    Counts, means and accuracy are over all of them. Percentiles are over all too, up to 200,000 events; beyond that,
    over the 200,000 newest.

    Raises:
        InvalidRequest: the range is empty, there is no bucket, or a name cannot be one.
        DatabaseAway: the database does not answer.
    """
    if not since_s < until_s:
        raise InvalidRequest("until: must be after since")
    if buckets < 1:
        raise InvalidRequest("buckets: at least 1")
    with database.transaction() as connection:
        selection = _Selection(connection, model, version, since_s, until_s, buckets)
        sums = selection.sums_by_bucket()
        p95_by_bucket = selection.p95_by_bucket()
        p50, p95, p99 = selection.percentiles()
        labels = selection.labels()
    total = sum(sums.values(), _Sums())
    width_s = (until_s - since_s) / buckets
    return Metrics(
        model=model,
        model_version=version,
        since=utc(since_s),
        until=utc(until_s),
        count=total.count,
        errors=total.errors,
        mean_latency_ms=_ratio(total.latency_ms, total.count),
        p50_latency_ms=p50,
        p95_latency_ms=p95,
        p99_latency_ms=p99,
        mean_confidence=_ratio(total.confidence, total.with_confidence),
        feedback_count=total.judged,
        accuracy=_ratio(total.correct, total.judged),
        labels=labels,
        buckets=tuple(
            _bucket(since_s + number * width_s, sums.get(number, _Sums()), p95_by_bucket.get(number))
            for number in range(buckets)
        ),
    )


@dataclass(frozen=True)
class _Sums:
    """What means and shares are made of."""

    count: int = 0
    errors: int = 0
    latency_ms: float = 0.0
    with_confidence: int = 0
    confidence: float = 0.0
    judged: int = 0
    correct: int = 0

    def __add__(self, other: "_Sums") -> "_Sums":
        mine, others = msgspec.to_builtins(self), msgspec.to_builtins(other)
        return _Sums(**{name: mine[name] + others[name] for name in mine})


class _Selection:
    """The events of a model, version and time range, on an open connection."""

    def __init__(
        self,
        connection: "Connection",
        model: str | None,
        version: str | None,
        since_s: float,
        until_s: float,
        buckets: int,
    ) -> None:
        from sqlalchemy import Integer, case, cast, func, select

        from tunelane_serving.database.tables import events as table

        self._connection = connection
        position = (table.c.time - since_s) / ((until_s - since_s) / buckets)
        # A cast cuts off on SQLite, which may lack floor, and rounds on PostgreSQL.
        whole = cast(func.floor(position) if connection.dialect.name == "postgresql" else position, Integer)
        # Rounding may put the last moment of the range past the last bucket.
        bucket = case((whole >= buckets, buckets - 1), else_=whole).label("bucket")
        self._chosen = chosen(select(bucket, table), model=model, version=version, since_s=since_s, until_s=until_s)
        # Of what is sorted, as little as possible.
        latencies = self._chosen.with_only_columns(bucket, table.c.latency_ms)
        self._newest = latencies.order_by(table.c.time.desc()).limit(MAX_PERCENTILE_EVENTS).subquery("newest")

    def sums_by_bucket(self) -> dict[int, _Sums]:
        from sqlalchemy import case, func, select

        event = judged(self._chosen)
        query = select(
            event.c.bucket,
            func.count(),
            func.sum(case((event.c.status == "error", 1), else_=0)),
            func.sum(event.c.latency_ms),
            func.count(event.c.confidence),
            func.coalesce(func.sum(event.c.confidence), 0.0),
            func.count(event.c.correct),
            func.sum(case((event.c.correct, 1), else_=0)),
        ).group_by(event.c.bucket)
        return {row[0]: _Sums(*row[1:]) for row in self._connection.execute(query)}

    def p95_by_bucket(self) -> dict[int, float]:
        from sqlalchemy import func, select

        event = self._newest
        ranked = select(
            event.c.bucket,
            event.c.latency_ms,
            func.row_number().over(partition_by=event.c.bucket, order_by=event.c.latency_ms).label("rank"),
            func.count().over(partition_by=event.c.bucket).label("events"),
        ).subquery("ranked")
        query = select(ranked.c.bucket, ranked.c.latency_ms).where(ranked.c.rank == _nearest_rank(ranked.c.events, 95))
        return {row.bucket: row.latency_ms for row in self._connection.execute(query)}

    def percentiles(self) -> tuple[float | None, float | None, float | None]:
        """Give p50, p95 and p99."""
        from sqlalchemy import func, or_, select

        event = self._newest
        ranked = select(
            event.c.latency_ms,
            func.row_number().over(order_by=event.c.latency_ms).label("rank"),
            func.count().over().label("events"),
        ).subquery("ranked")
        is_asked = or_(*(ranked.c.rank == _nearest_rank(ranked.c.events, percent) for percent in _PERCENTS))
        rows = self._connection.execute(select(ranked).where(is_asked)).all()
        if not rows:
            return None, None, None
        # Of few events, one may be several percentiles.
        latency_by_rank = {row.rank: row.latency_ms for row in rows}
        p50, p95, p99 = (latency_by_rank[_nearest_rank(rows[0].events, percent)] for percent in _PERCENTS)
        return p50, p95, p99

    def labels(self) -> dict[str, int]:
        from sqlalchemy import func, select

        event = self._chosen.subquery("event")
        count = func.count().label("events")
        # What has no confidence was no choice of labels: the prediction of a ranking is ids.
        labelled = select(event.c.prediction, count).where(event.c.confidence.is_not(None))
        query = labelled.group_by(event.c.prediction).order_by(count.desc())
        counts: Counter[str] = Counter()
        for prediction, events_ in self._connection.execute(query.limit(_MAX_LABEL_SETS)):
            for label in decode_labels(prediction):
                counts[label] += events_
        return dict(sorted(counts.items()))


def _nearest_rank(count: Any, percent: int) -> Any:
    """Give the rank, from 1, of a percentile among `count` sorted values: count × percent / 100, rounded up."""
    return (count * percent + 99) // 100


def _bucket(start_s: float, sums: _Sums, p95_latency_ms: float | None) -> Bucket:
    return Bucket(
        start=utc(start_s),
        count=sums.count,
        errors=sums.errors,
        mean_latency_ms=_ratio(sums.latency_ms, sums.count),
        p95_latency_ms=p95_latency_ms,
        mean_confidence=_ratio(sums.confidence, sums.with_confidence),
        accuracy=_ratio(sums.correct, sums.judged),
    )


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
