"""Inference events on their way to the database, off the request's path."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tunelane_serving.errors import InputError, first_line
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring.journal import Journal
from tunelane_serving.monitoring.storing import store_events
from tunelane_serving.problems import DatabaseAway

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database

_log = logging.getLogger(__name__)

_MAX_BATCH_EVENTS = 500
# How long events gather before they are written.
_GATHER_S = 0.2
# The first answers of a cold start do not compete with the import of SQLAlchemy.
_START_DELAY_S = 1.0
_FIRST_EVENT_DELAY_S = 0.5
# A share of the queue so small that it does not run over while SQLAlchemy is imported.
_FEW = 0.05
_MIN_BACKOFF_S = 0.5
_MAX_BACKOFF_S = 15.0


class EventRecorder:
    """Takes events from the event loop and writes them to the database in a thread of its own.

    Events wait in memory for 0.2 s at most, then they are in the database, or in the local journal while the database
    is away; from there they follow in order when it is back. While anything is in the journal, new events go to its
    end. Where queue and journal are full, the newest events are dropped and counted.

    A killed process (kill -9) loses the events that were in memory: 0.2 s of them as a rule, more in the first seconds
    after the start and while a database that is about to be given up lets the writer wait. An event is not feedback. A
    power cut may lose some more, in the database or the journal. No event is ever in the database twice: its id is the
    key. Ids that grow with time cost half the CPU of random ones, since they touch fewer pages of the key's index.
    """

    def __init__(
        self, database: "Database", journal: Path, *, max_waiting: int = 20_000, max_journal_bytes: int = 256 << 20
    ) -> None:
        """Name the ways; nothing happens before `start`.

        Args:
            database: where events go.
            journal: directory for events while the database is away. Processes may share it: what a dead one left
                there, the next one to start writes.
            max_waiting: events in memory.
            max_journal_bytes: of the journal's files.
        """
        self._database = database
        self._directory = journal
        self._max_journal_bytes = max_journal_bytes
        self._max_waiting = max_waiting
        self._queue: deque[InferenceEvent | Callable[[], InferenceEvent]] = deque()
        # Taken from the queue, and not yet in database or journal.
        self._in_flight: list[InferenceEvent] = []
        # Held while events go from one of the two to the other.
        self._moving = threading.Lock()
        self._journal = Journal(journal, max_bytes=max_journal_bytes)
        self._dropped = 0
        self._refused = 0
        self._closing = threading.Event()
        self._close_by = math.inf
        self._journal_failed = False
        self._thread = threading.Thread(target=self._run, name="event-recorder", daemon=True)
        self.database_away = False

    def start(self) -> None:
        """Start the writer. What dead processes left in the journal is written first.

        Raises:
            InputError: the journal's directory cannot be made.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Cannot make the event journal {self._directory}: {error.strerror}. "
                "Choose a directory that you may write to."
            ) from error
        self._thread.start()

    def record(self, event: InferenceEvent | Callable[[], InferenceEvent]) -> None:
        """Take an event, in well under a microsecond; for one thread, the event loop's. Drops it where full.

        A function that makes the event is called in the writer's thread, where making many in turn costs less.
        """
        if len(self._queue) < self._max_waiting:
            self._queue.append(event)
        else:
            self._dropped += 1

    @property
    def waiting(self) -> int:
        """Events in memory."""
        return len(self._queue) + len(self._in_flight)

    @property
    def in_journal(self) -> int:
        """Events in the journal."""
        return len(self._journal)

    @property
    def dropped(self) -> int:
        """Events that are lost: no room, not to be made, refused by the database, or torn in the journal."""
        return self._dropped + self._refused + self._journal.unreadable

    def close(self, *, timeout_s: float) -> None:
        """Write what waits to the database, or to the journal if that does not end in time; take nothing more."""
        self._max_waiting = 0
        self._close_by = time.monotonic() + timeout_s
        self._closing.set()
        was_started = self._thread.ident is not None
        if was_started:
            self._thread.join(timeout_s)
        if not was_started or self._thread.is_alive():
            # It hangs in the database. What it may still write there is written once all the same: by id.
            journal = Journal(self._directory, max_bytes=self._max_journal_bytes)
            with self._moving:
                left = [*self._in_flight, *self._queue]
            made = [event for event in map(self._made, left) if event is not None]
            self._refused += len(made) - self._append(journal, made)
            journal.close()

    def _run(self) -> None:
        self._rest(_START_DELAY_S)
        try:
            self._journal.adopt()
        except OSError as error:
            _log.warning("The event journal cannot be read: %s", error)
        backoff_s = 0.0
        try_again_at = 0.0
        is_first = True
        while not self._closing.wait(_GATHER_S):
            if not self._queue and not self._journal:
                continue
            if is_first:
                self._rest(_FIRST_EVENT_DELAY_S)
                is_first = False
            if time.monotonic() < try_again_at:
                self._spill()
            elif self._write():
                backoff_s = 0.0
            else:
                backoff_s = min(max(2 * backoff_s, _MIN_BACKOFF_S), _MAX_BACKOFF_S)
                try_again_at = time.monotonic() + backoff_s
        if self.database_away or not self._write():
            self._spill()
            self._refused += len(self._queue)
            self._queue.clear()
        self._journal.close()

    def _rest(self, seconds: float) -> None:
        """Leave the cores to a server that starts, unless it is at work already: the queue would run over."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and len(self._queue) < _FEW * self._max_waiting:
            if self._closing.wait(_GATHER_S):
                return

    def _write(self) -> bool:
        """Write everything that waits, the journal first; False as soon as the database is away or the time is up."""
        while self._queue or self._journal:
            if time.monotonic() > self._close_by:
                return False
            try:
                if self._journal:
                    self._spill()
                    if batch := self._read_journal():
                        self._store(batch)
                        self._journal.remove_first()
                else:
                    self._take()
                    self._store(self._in_flight)
                    self._in_flight = []
            except Exception as error:
                # Whatever it is, no event is lost for it and the thread lives on.
                self._give_back()
                self._spill()
                self._say_away(error)
                return False
            self._say_back()
        return True

    def _take(self) -> None:
        """Take events from the queue; what cannot be made is dropped."""
        batch = self._in_flight
        with self._moving:
            while self._queue and len(batch) < _MAX_BATCH_EVENTS:
                event = self._made(self._queue[0])
                if event is not None:
                    batch.append(event)
                self._queue.popleft()

    def _made(self, event: InferenceEvent | Callable[[], InferenceEvent]) -> InferenceEvent | None:
        if isinstance(event, InferenceEvent):
            return event
        try:
            return event()
        except Exception:
            self._refused += 1
            _log.exception("An event is dropped: it cannot be made")
            return None

    def _give_back(self) -> None:
        with self._moving:
            self._queue.extendleft(reversed(self._in_flight))
            self._in_flight = []

    def _read_journal(self) -> list[InferenceEvent]:
        """Read the journal's first events; a file that cannot be read is left behind: waiting does not mend it."""
        try:
            return self._journal.first(_MAX_BATCH_EVENTS)
        except OSError as error:
            path, events = self._journal.leave_first()
            _log.error(
                "%s, with %d events of the journal, cannot be read: %s; the next start tries again",
                path,
                events,
                error.strerror,
            )
            return []

    def _spill(self) -> None:
        """Move events from the queue to the journal; those for which there is no room stay."""
        while self._queue:
            self._take()
            taken = len(self._in_flight)
            written = self._append(self._journal, self._in_flight)
            del self._in_flight[:written]
            if written < taken:
                self._give_back()
                return

    def _append(self, journal: Journal, events: list[InferenceEvent]) -> int:
        try:
            written = journal.append(events)
        except OSError as error:
            if not self._journal_failed:
                _log.warning("The event journal cannot be written: %s", error)
            self._journal_failed = True
            return 0
        self._journal_failed = False
        return written

    def _store(self, batch: list[InferenceEvent]) -> None:
        from sqlalchemy.exc import DataError, IntegrityError

        refusals = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
        try:
            store_events(self._database, batch)
        except refusals:
            # One event that cannot be stored does not hold up the others.
            refused = 0
            for event in batch:
                try:
                    store_events(self._database, [event])
                except refusals as error:
                    refused += 1
                    _log.warning("Event %s is dropped: the database refuses it: %s", event.id, first_line(error))
            # Not before: where the database goes away meanwhile, the whole batch comes back.
            self._refused += refused

    def _say_away(self, error: Exception) -> None:
        if not self.database_away:
            self.database_away = True
            expected = isinstance(error, DatabaseAway | InputError)
            _log.warning(
                "%s; events wait in %s", first_line(error), self._directory, exc_info=None if expected else error
            )

    def _say_back(self) -> None:
        if self.database_away:
            self.database_away = False
            _log.info("The database answers again; %d events follow from %s", len(self._journal), self._directory)
