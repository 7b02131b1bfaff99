"""The journal of runs: one SQLite file below the root, one row a run, wherever it runs."""

import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tunelane_pipelines.runs.journal_file import is_there, transaction
from tunelane_pipelines.runs.record import LOCAL, RunRecord, RunState
from tunelane_serving.errors import TunelaneError

JOURNAL = "journal.db"

_SCHEMA_VERSION = 3
_FIRST_SCHEMA = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at TEXT NOT NULL,
    wall_s REAL NOT NULL,
    model TEXT NOT NULL,
    decision TEXT NOT NULL,
    macro_f1 REAL,
    place TEXT NOT NULL,
    error TEXT NOT NULL
)
"""
# What took each version to the next.
_CHANGES = {
    0: (_FIRST_SCHEMA,),
    1: (
        "ALTER TABLE runs ADD COLUMN resource TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN console_url TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN schedule TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE looks (target TEXT PRIMARY KEY, tried_at TEXT NOT NULL, looked_at TEXT)",
    ),
    2: (
        "ALTER TABLE runs ADD COLUMN service TEXT NOT NULL DEFAULT ''",
        # Of which service a target's last look was is not known: its list is read once more from the beginning.
        "DROP TABLE looks",
        "CREATE TABLE looks (service TEXT PRIMARY KEY, looked_at TEXT NOT NULL)",
    ),
}


class Entry(NamedTuple):
    """A run as the journal has it.

    `place` is the run's directory. It follows from the run's id: a root that was moved or copied is as good as before.
    A run that others started has none until it is looked at. `resource` is the service's name of a remote run, empty
    until it is known; `console_url` is where people look at it; `schedule` is the resource of what started it.
    `service` is the one that it belongs to, empty for a local run and for one that an older release submitted.
    """

    run_id: str
    pipeline: str
    target: str
    state: RunState
    started_at: datetime
    wall_s: float
    model: str
    decision: str
    macro_f1: float | None
    place: str
    error: str
    resource: str = ""
    console_url: str = ""
    schedule: str = ""
    service: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether a service carries it on."""
        return self.target != LOCAL


def entry_of(record: RunRecord, place: str) -> Entry:
    """The row of a run whose record is known."""
    evaluated = record.task("evaluate-model")
    remote = record.remote
    return Entry(
        record.run_id,
        record.pipeline,
        record.target,
        record.state,
        record.started_at,
        record.wall_s,
        str(record.parameters.get("model_name", "")),
        record.decision,
        evaluated.metrics.get("macro_f1") if evaluated else None,
        place,
        record.error,
        remote.resource if remote else "",
        remote.console_url if remote else "",
        remote.schedule if remote else record.schedule,
        record.service,
    )


class Journal:
    """The journal below `root`. Each call opens the file, so that nothing is held while a run goes on.

    Raises (every method):
        InputError: the file cannot be written.
        TunelaneError: it is no journal, or one of a newer release.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "runs" / JOURNAL

    def enter(self, record: RunRecord, place: str) -> None:
        """Write a run's row, new or again."""
        self.put([entry_of(record, place)])

    def put(self, entries: Iterable[Entry]) -> None:
        """Write rows, new or again, all of them or none."""
        rows = [entry._replace(started_at=entry.started_at.isoformat()) for entry in entries]  # type: ignore[arg-type]
        marks = ", ".join("?" * len(Entry._fields))
        with self._open() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO runs ({', '.join(Entry._fields)}) VALUES ({marks})",  # noqa: S608
                rows,
            )

    def forget(self, run_id: str) -> None:
        """Take a run's row out: it left nothing."""
        with self._open() as connection:
            connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))

    def entries(self) -> list[Entry]:
        """Every run, the newest first; none where there is no journal yet."""
        if not is_there(self.path):
            return []
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(Entry._fields)} FROM runs ORDER BY started_at DESC, run_id DESC"  # noqa: S608
            ).fetchall()
        return [self._entry(Entry(*row)) for row in rows]

    def place(self, run_id: str) -> Path:
        """The directory of a run."""
        return self.path.parent / run_id

    def looked(self, service: str, at: datetime) -> None:
        """Note that a service's own list was read."""
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO looks VALUES (?, ?)", (service, at.isoformat()))

    def looked_at(self, service: str) -> datetime | None:
        """When a service's own list was last read; None for never."""
        if not is_there(self.path):
            return None
        with self._open() as connection:
            row = connection.execute("SELECT looked_at FROM looks WHERE service = ?", (service,)).fetchone()
        return datetime.fromisoformat(row[0]) if row else None

    def _entry(self, row: Entry) -> Entry:
        started_at = datetime.fromisoformat(str(row.started_at))
        return row._replace(started_at=started_at, place=str(self.place(row.run_id)))

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, self._prepare)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Bring an older journal to this release's form, in the transaction that it is wanted for."""
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > _SCHEMA_VERSION:
            raise TunelaneError(f"{self.path} was written by a newer release. Upgrade tunelane.")
        if found == _SCHEMA_VERSION:
            return
        for version in range(found, _SCHEMA_VERSION):
            for change in _CHANGES[version]:
                connection.execute(change)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
