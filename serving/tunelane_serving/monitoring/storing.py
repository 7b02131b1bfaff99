"""Inference events into the database, many in one transaction."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tunelane_serving.events import InferenceEvent

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database

# Rows encoded before other threads may have the interpreter: 2 µs each, so the event loop waits for 0.1 ms at most.
_ROWS_AT_ONCE = 50

_encode = msgspec.json.Encoder().encode


def store_events(database: "Database", events: Sequence[InferenceEvent]) -> None:
    """Write events in one transaction; those that are there already stay as they are.

    The commit need not outlive a power cut (it does outlive this process): an event is not feedback.

    Raises:
        DatabaseAway: the database does not answer; nothing was written.
        InputError: its URL cannot be used.
        sqlalchemy.exc.DataError, sqlalchemy.exc.IntegrityError, ValueError, TypeError, OverflowError: one of the events
            cannot be stored; nothing was written.
    """
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(events), _ROWS_AT_ONCE):
        rows += map(_row, events[start : start + _ROWS_AT_ONCE])
        time.sleep(0)
    with database.transaction(durable=False) as connection:
        # Straight to the driver: SQLAlchemy's own executemany takes twice the CPU.
        placeholder = "%s" if connection.dialect.name == "postgresql" else "?"
        connection.exec_driver_sql(_insert(placeholder), rows)


def _insert(placeholder: str) -> str:
    from tunelane_serving.database.tables import events

    names = ", ".join(_COLUMNS)
    placeholders = ", ".join([placeholder] * len(_COLUMNS))
    return f"INSERT INTO {events.name} ({names}) VALUES ({placeholders}) ON CONFLICT DO NOTHING"  # noqa: S608 - no input


_COLUMNS = (
    "id",
    "time",
    "model",
    "model_version",
    "digest",
    "framework",
    "status",
    "latency_ms",
    "input",
    "input_hashed",
    "label",
    "prediction",
    "scores",
    "confidence",
    "length_tokens",
    "oov_share",
    "error",
    "request_id",
    "user_id",
    "session_id",
)


def _row(event: InferenceEvent) -> tuple[Any, ...]:
    if event.outcome or event.feedback_time is not None:
        raise ValueError("feedback is stored by give_feedback, not in its event")
    prediction = event.prediction
    return (
        event.id,
        event.time,
        event.model,
        event.model_version,
        event.digest,
        event.framework,
        event.status,
        event.latency_ms,
        _storable(event.input),
        event.input_hashed,
        prediction[0] if prediction else "",
        _encode(prediction).decode(),
        _encode(event.scores).decode(),
        event.confidence,
        event.length_tokens,
        event.oov_share,
        _storable(event.error),
        _storable(event.request_id),
        _storable(event.user_id),
        _storable(event.session_id),
    )


def _storable(text: str) -> str:
    """Give `text` without NUL characters, which PostgreSQL does not take."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
