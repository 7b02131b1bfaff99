"""Pages of stored events, the newest first, their feedback joined."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tunelane_serving.monitoring.selecting import chosen, decode_labels, judged, utc
from tunelane_serving.problems import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Row

    from tunelane_serving.database.database import Database


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

    query = chosen(select(table), model=model, version=version, since_s=since_s, until_s=until_s)
    if status is not None:
        query = query.where(table.c.status == status)
    if cursor is not None:
        time, id_ = _read_cursor(cursor)
        query = query.where(tuple_(table.c.time, table.c.id) < tuple_(literal(time), literal(id_)))
    page = query.order_by(table.c.time.desc(), table.c.id.desc()).limit(limit + 1)
    joined = judged(page)
    with database.transaction() as connection:
        rows = connection.execute(select(joined).order_by(joined.c.time.desc(), joined.c.id.desc())).all()
    last = rows[limit - 1] if len(rows) > limit else None
    return [_stored(row) for row in rows[:limit]], _write_cursor(last.time, last.id) if last else None


def _stored(row: "Row[Any]") -> StoredEvent:
    return StoredEvent(
        id=row.id,
        time=utc(row.time),
        model=row.model,
        model_version=row.model_version,
        digest=row.digest,
        framework=row.framework,
        status=row.status,
        latency_ms=row.latency_ms,
        input=row.input,
        input_hashed=row.input_hashed,
        prediction=decode_labels(row.prediction),
        confidence=row.confidence,
        error=row.error,
        request_id=row.request_id,
        user_id=row.user_id,
        session_id=row.session_id,
        outcome=row.outcome or "",
        correct=row.correct,
        feedback_time=None if row.feedback_time is None else utc(row.feedback_time),
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
