"""Which events a question is about, and their feedback beside them: what all reading of the events shares.

Times are seconds since the epoch (UTC); a range holds what is at or after its start and before its end.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from tunelane_serving.problems import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, Subquery

# Sets of labels repeat, and are short. What a ranking puts in order is neither.
_MAX_REMEMBERED = 10_000
_MAX_REMEMBERED_CHARACTERS = 200

_decode = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_and_remember = lru_cache(_MAX_REMEMBERED)(_decode)


def decode_labels(prediction: str) -> tuple[str, ...]:
    """Give the labels of a stored prediction."""
    if len(prediction) > _MAX_REMEMBERED_CHARACTERS:
        return _decode(prediction)
    return _decode_and_remember(prediction)


def chosen(
    query: "Select[Any]",
    *,
    model: str | None = None,
    version: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
) -> "Select[Any]":
    """Choose the events of a model, a version and a time range.

    Raises:
        InvalidRequest: a name cannot be one.
    """
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


def judged(query: "Select[Any]") -> "Subquery":
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


def utc(time_s: float) -> datetime:
    """Give the moment, or the nearest one that a datetime holds: a range may begin or end outside its years."""
    try:
        return datetime.fromtimestamp(time_s, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.min.replace(tzinfo=UTC) if time_s < 0 else datetime.max.replace(tzinfo=UTC)
