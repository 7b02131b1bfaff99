"""Events and feedback out of the database again when they are old."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Delete

    from tunelane_serving.database.database import Database

_DELETED_AT_ONCE = 2000


def delete_events_before(database: "Database", before_s: float) -> int:
    """Delete the events from before a moment, in seconds since the epoch, and the feedback that then belongs to none.

    Goes in small steps, so that other writers get their turn. Feedback whose event is yet to come stays until it is as
    old.

    Returns:
        How many events were deleted.

    Raises:
        DatabaseAway: the database does not answer; the steps until then are done.
    """
    from sqlalchemy import delete, exists, select

    from tunelane_serving.database.tables import events, feedback

    old_events = select(events.c.id).where(events.c.time < before_s).limit(_DELETED_AT_ONCE)
    has_event = exists().where(events.c.id == feedback.c.inference_id)
    old_feedback = select(feedback.c.number).where(feedback.c.time < before_s, ~has_event).limit(_DELETED_AT_ONCE)
    deleted = _repeat(database, delete(events).where(events.c.id.in_(old_events)))
    _repeat(database, delete(feedback).where(feedback.c.number.in_(old_feedback)))
    return deleted


def _repeat(database: "Database", statement: "Delete") -> int:
    total = 0
    while True:
        with database.transaction(durable=False) as connection:
            deleted = connection.execute(statement).rowcount
        total += deleted
        if deleted < _DELETED_AT_ONCE:
            return total
