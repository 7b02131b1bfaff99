"""Feedback: what turned out to be true of a prediction. Durable when it is acknowledged."""

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tunelane_serving.problems import InvalidRequest

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database

MAX_INFERENCE_ID_CHARACTERS = 128


def give_feedback(
    database: "Database", *, inference_id: str, outcome: str, correct: bool | None = None, now_s: float
) -> None:
    """Store feedback on a prediction, in the database and on its disk when this returns. Blocks; call it in a thread.

    The prediction's event may come later, or from another instance: both are joined when they are read. The newest
    feedback on a prediction counts. Where `correct` is not given and exactly one label was predicted, it is whether
    that label is the outcome. Where several were predicted, or none, it stays open.

    Calls at the same time share one transaction, since what takes long is the disk's answer at the end of each.

    Args:
        database: where it is kept.
        inference_id: of the prediction.
        outcome: the label that was right, in the taxonomy's spelling; empty where only `correct` is known.
        correct: whether the prediction was right, where the caller knows.
        now_s: seconds since the epoch.

    Raises:
        InvalidRequest: the id or the outcome cannot be stored.
        DatabaseAway: the database does not answer; the feedback may be lost, and may be given again.
    """
    if not 0 < len(inference_id) <= MAX_INFERENCE_ID_CHARACTERS:
        raise InvalidRequest(f"inferenceId: 1 to {MAX_INFERENCE_ID_CHARACTERS} characters")
    # What one caller cannot store must not fail the others in its transaction.
    for name, text in (("inferenceId", inference_id), ("outcome", outcome)):
        if not _is_storable(text):
            raise InvalidRequest(f"{name}: holds a character that is no text (NUL, or half of a surrogate pair)")
    with _lock:
        group = _groups.setdefault(database, _GroupCommit())
    group.write(database, {"inference_id": inference_id, "outcome": outcome, "correct": correct, "time": now_s})


class _GroupCommit:
    """Rows of callers that wait together. The first to get its turn writes them all; the others find it done."""

    def __init__(self) -> None:
        self._rows: list[tuple[dict[str, Any], Future[None]]] = []
        self._adding = threading.Lock()
        self._writing = threading.Lock()

    def write(self, database: "Database", row: dict[str, Any]) -> None:
        written: Future[None] = Future()
        with self._adding:
            self._rows.append((row, written))
        with self._writing:
            if not written.done():
                with self._adding:
                    batch, self._rows = self._rows, []
                _insert(database, batch)
        written.result()


_groups: "WeakKeyDictionary[Database, _GroupCommit]" = WeakKeyDictionary()
_lock = threading.Lock()


def _insert(database: "Database", batch: list[tuple[dict[str, Any], Future[None]]]) -> None:
    from sqlalchemy import insert

    from tunelane_serving.database.tables import feedback

    try:
        with database.transaction() as connection:
            connection.execute(insert(feedback), [row for row, _ in batch])
    except BaseException as error:
        for _, written in batch:
            written.set_exception(error)
    else:
        for _, written in batch:
            written.set_result(None)


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
