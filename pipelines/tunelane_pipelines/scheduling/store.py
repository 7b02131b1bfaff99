"""The journal of schedules: a table of its own in the file of the journal of runs."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.journal import JOURNAL
from tunelane_pipelines.runs.journal_file import is_there, transaction
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError, TunelaneError

FIRST = "schedule create train-classifier --cron '0 3 * * MON'"
"""What to do where there is no schedule yet."""

# The table holds documents: a new field changes nothing here. The version of the file is that of the runs' table.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS schedules (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    submission TEXT NOT NULL
)
"""


class ScheduleStore:
    """The schedules below `root`. Each call opens the file, so that nothing is held meanwhile.

    Raises (every method):
        InputError: the file cannot be written.
        TunelaneError: it is no journal, or a newer release wrote into it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "runs" / JOURNAL

    def lock(self, name: str) -> Path:
        """Where a change of that schedule is locked, so that no two go on at once."""
        return self.root / "schedules" / name / "change.lock"

    def add(self, record: ScheduleRecord, submission: Submission | None = None) -> None:
        """Write a new schedule's row, with what is to be submitted until the service has it.

        Raises:
            InputError: there is one of that name.
        """
        with self._open() as connection:
            row = (record.name, _text(record), _text(submission))
            try:
                connection.execute("INSERT INTO schedules VALUES (?, ?, ?)", row)
            except sqlite3.IntegrityError as error:
                raise self.already_there(record.name) from error

    def already_there(self, name: str) -> InputError:
        """Give the error for a new schedule under the name of another."""
        show = again(f"schedule show {name}", self.root)
        return InputError(f"There is a schedule {name!r} already. See it, or pass another --name: {show}")

    def change(self, name: str, edit: Callable[[ScheduleRecord], ScheduleRecord]) -> ScheduleRecord:
        """Write what `edit` makes of a schedule's row, with nobody else's change between; gives that."""
        with self._open() as connection:
            record = edit(self._find(connection, name))
            # Once nothing is to be created any more, nothing is to be submitted.
            keep = record.pending == "create"
            connection.execute(
                f"UPDATE schedules SET document = ?{'' if keep else ', submission = ?'} WHERE name = ?",  # noqa: S608
                (_text(record), name) if keep else (_text(record), _text(None), name),
            )
        return record

    def forget(self, name: str) -> None:
        """Take a schedule's row out."""
        with self._open() as connection:
            connection.execute("DELETE FROM schedules WHERE name = ?", (name,))

    def record(self, name: str) -> ScheduleRecord:
        """Give the schedule of that name.

        Raises:
            InputError: there is none; names the nearest.
        """
        if not is_there(self.path):
            raise InputError(_none_below(self.root))
        with self._open() as connection:
            return self._find(connection, name)

    def submission(self, name: str) -> Submission | None:
        """Give what is to be submitted for a schedule that is still to be created."""
        with self._open() as connection:
            row = connection.execute("SELECT submission FROM schedules WHERE name = ?", (name,)).fetchone()
        return msgspec.json.decode(row[0], type=Submission | None) if row else None

    def records(self) -> list[ScheduleRecord]:
        """Give every schedule by name; none where there is no journal yet."""
        if not is_there(self.path):
            return []
        with self._open() as connection:
            rows = connection.execute("SELECT document FROM schedules ORDER BY name").fetchall()
        return [self._read(row[0]) for row in rows]

    def _find(self, connection: sqlite3.Connection, name: str) -> ScheduleRecord:
        row = connection.execute("SELECT document FROM schedules WHERE name = ?", (name,)).fetchone()
        if row is None:
            names = [found[0] for found in connection.execute("SELECT name FROM schedules LIMIT 50")]
            raise InputError(no_such("schedule", name, names) if names else _none_below(self.root))
        return self._read(row[0])

    def _read(self, document: str) -> ScheduleRecord:
        try:
            return msgspec.json.decode(document, type=ScheduleRecord)
        except msgspec.MsgspecError as error:
            raise TunelaneError(
                f"{self.path}: a newer release wrote a schedule ({error}). Upgrade tunelane."
            ) from error

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, lambda connection: connection.execute(_SCHEMA))


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _none_below(root: Path) -> str:
    return f"No schedules below {root} yet. Make one: {again(FIRST, root)}"
