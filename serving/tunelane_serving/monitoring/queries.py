"""What the stored events say: pages of them, figures over time, and the observations that drift is measured on.

Times are seconds since the epoch (UTC); a range holds what is at or after its start and before its end.
"""

import base64
import binascii
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from tunelane_serving.monitoring.drift import Observations
from tunelane_serving.problems import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, Select, Subquery

    from tunelane_serving.database.database import Database

# Percentiles need their events sorted, so they are taken over at most this many, the newest.
MAX_PERCENTILE_EVENTS = 200_000
# Sets of labels that are told apart, the most frequent first. Without many labels an event, there are far fewer.
_MAX_LABEL_SETS = 10_000
_PERCENTS = (50, 95, 99)

_decode_labels = lru_cache(_MAX_LABEL_SETS)(msgspec.json.Decoder(tuple[str, ...]).decode)


@dataclass(frozen=True)
class StoredEvent:
    """One inference event with the newest feedback on it. `outcome` is empty where there is none."""

    id: str
    time: datetime
    model: str
    model_version: str
    digest: str
    framework: str
    status: Literal["ok", "error"]
    latency_ms: float
    input: str
    input_hashed: bool
    prediction: tuple[str, ...]
    confidence: float | None
    error: str
    request_id: str
    user_id: str
    session_id: str
    outcome: str
    correct: bool | None
    feedback_time: datetime | None


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
    they were right, and `accuracy` is over these. `labels` counts the events by predicted label, an event with several
    for each of them.
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


def events(
    database: "Database",
    *,
    model: str | None = None,
    version: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
    status: Literal["ok", "error"] | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> tuple[list[StoredEvent], str | None]:
    """Give a page of events, the newest first, their feedback joined.

    Going on with the cursor gives every event once, however many have the same time: pages are cut by time and id.

    Args:
        database: where they are.
        model: of this model only.
        version: of this version only.
        since_s: from then on.
        until_s: before then.
        status: of this status only.
        limit: events on the page.
        cursor: what came with the page before.

    Returns:
        The events, and the cursor for the page after this one, None on the last.

    Raises:
        InvalidRequest: the cursor is none, or a name cannot be one.
        DatabaseAway: the database does not answer.
    """
    from sqlalchemy import literal, select, tuple_

    from tunelane_serving.database.tables import events as table

    query = _chosen(select(table), model=model, version=version, since_s=since_s, until_s=until_s)
    if status is not None:
        query = query.where(table.c.status == status)
    if cursor is not None:
        time, id_ = _read_cursor(cursor)
        query = query.where(tuple_(table.c.time, table.c.id) < tuple_(literal(time), literal(id_)))
    page = query.order_by(table.c.time.desc(), table.c.id.desc()).limit(limit + 1)
    judged = _judged(page)
    with database.transaction() as connection:
        rows = connection.execute(select(judged).order_by(judged.c.time.desc(), judged.c.id.desc())).all()
    last = rows[limit - 1] if len(rows) > limit else None
    return [_stored(row) for row in rows[:limit]], _write_cursor(last.time, last.id) if last else None


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
        since=_utc(since_s),
        until=_utc(until_s),
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


def observations(
    database: "Database", digest: str, *, since_s: float, until_s: float, limit: int = 10_000
) -> Observations:
    """Give what drift is measured on: the newest `limit` answered events of a package in a time range.

    Raises:
        DatabaseAway: the database does not answer.
    """
    from sqlalchemy import select

    from tunelane_serving.database.tables import events as table

    columns = (table.c.prediction, table.c.confidence, table.c.length_tokens, table.c.oov_share)
    query = _chosen(select(*columns), since_s=since_s, until_s=until_s)
    query = query.where(table.c.digest == digest, table.c.status == "ok").order_by(table.c.time.desc()).limit(limit)
    with database.transaction() as connection:
        rows = connection.execute(query).all()
    # float64 makes a NaN of None.
    numbers = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), 3)
    labels = [label for row in rows for label in _decode_labels(row[0])]
    return Observations(labels, numbers[:, 0], numbers[:, 1], numbers[:, 2])


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
        self._chosen = _chosen(select(bucket, table), model=model, version=version, since_s=since_s, until_s=until_s)
        # Of what is sorted, as little as possible.
        latencies = self._chosen.with_only_columns(bucket, table.c.latency_ms)
        self._newest = latencies.order_by(table.c.time.desc()).limit(MAX_PERCENTILE_EVENTS).subquery("newest")

    def sums_by_bucket(self) -> dict[int, _Sums]:
        from sqlalchemy import case, func, select

        event = _judged(self._chosen)
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
        query = select(event.c.prediction, count).group_by(event.c.prediction).order_by(count.desc())
        counts: Counter[str] = Counter()
        for prediction, events_ in self._connection.execute(query.limit(_MAX_LABEL_SETS)):
            for label in _decode_labels(prediction):
                counts[label] += events_
        return dict(sorted(counts.items()))


def _chosen(
    query: "Select[Any]",
    *,
    model: str | None = None,
    version: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
) -> "Select[Any]":
    from tunelane_serving.database.tables import events as table

    for name, value in (("model", model), ("modelVersion", version)):
        # PostgreSQL would fail on it.
        if value is not None and "\0" in value:
            raise InvalidRequest(f"{name}: holds a NUL character")
    if model is not None:
        query = query.where(table.c.model == model)
    if version is not None:
        query = query.where(table.c.model_version == version)
    if since_s is not None:
        query = query.where(table.c.time >= since_s)
    if until_s is not None:
        query = query.where(table.c.time < until_s)
    return query


def _judged(query: "Select[Any]") -> "Subquery":
    """Join the newest feedback to the events of `query`, which selects from the events: outcome, correct, its time."""
    from sqlalchemy import func, select

    from tunelane_serving.database.tables import events as table
    from tunelane_serving.database.tables import feedback

    newest = select(func.max(feedback.c.number)).where(feedback.c.inference_id == table.c.id).scalar_subquery()
    event = query.add_columns(newest.label("feedback_number")).subquery("event")
    return (
        select(
            event,
            feedback.c.outcome,
            _correct(event.c.label, event.c.prediction, feedback.c.outcome, feedback.c.correct).label("correct"),
            feedback.c.time.label("feedback_time"),
        )
        .select_from(event.outerjoin(feedback, feedback.c.number == event.c.feedback_number))
        .subquery("judged")
    )


def _correct(
    label: "ColumnElement[str]",
    prediction: "ColumnElement[str]",
    outcome: "ColumnElement[str]",
    correct: "ColumnElement[bool]",
) -> "ColumnElement[bool]":
    """Say whether a prediction was right: as the feedback says, else whether its one label is the outcome.

    It stays open (null) where no label or several were predicted, and where no outcome was named.
    """
    from sqlalchemy import Boolean, and_, case, null

    # A quote inside a label is escaped, so this stands between two labels and nowhere else.
    has_several = prediction.contains('","')
    is_comparable = and_(label != "", outcome != "", ~has_several)
    return case((correct.is_not(None), correct), (is_comparable, outcome == label), else_=null().cast(Boolean))


def _nearest_rank(count: Any, percent: int) -> Any:
    """Give the rank, from 1, of a percentile among `count` sorted values: count × percent / 100, rounded up."""
    return (count * percent + 99) // 100


def _bucket(start_s: float, sums: _Sums, p95_latency_ms: float | None) -> Bucket:
    return Bucket(
        start=_utc(start_s),
        count=sums.count,
        errors=sums.errors,
        mean_latency_ms=_ratio(sums.latency_ms, sums.count),
        p95_latency_ms=p95_latency_ms,
        mean_confidence=_ratio(sums.confidence, sums.with_confidence),
        accuracy=_ratio(sums.correct, sums.judged),
    )


def _stored(row: "Row[Any]") -> StoredEvent:
    return StoredEvent(
        id=row.id,
        time=_utc(row.time),
        model=row.model,
        model_version=row.model_version,
        digest=row.digest,
        framework=row.framework,
        status=row.status,
        latency_ms=row.latency_ms,
        input=row.input,
        input_hashed=row.input_hashed,
        prediction=_decode_labels(row.prediction),
        confidence=row.confidence,
        error=row.error,
        request_id=row.request_id,
        user_id=row.user_id,
        session_id=row.session_id,
        outcome=row.outcome or "",
        correct=row.correct,
        feedback_time=None if row.feedback_time is None else _utc(row.feedback_time),
    )


def _write_cursor(time: float, id_: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((time, id_))).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        time, id_ = msgspec.json.decode(content, type=tuple[float, str])
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest("cursor: pass the nextCursor of the page before, as it is") from error
    if "\0" in id_:
        raise InvalidRequest("cursor: pass the nextCursor of the page before, as it is")
    return time, id_


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _utc(time_s: float) -> datetime:
    try:
        return datetime.fromtimestamp(time_s, UTC)
    except (ValueError, OverflowError, OSError):
        # A range may begin or end outside the years that a datetime holds.
        return datetime.min.replace(tzinfo=UTC) if time_s < 0 else datetime.max.replace(tzinfo=UTC)
