"""The journal of runs: one SQLite file below the root, one row a run, wherever it runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tunelane_pipelines.runs.record import LOCAL, RunRecord
from tunelane_serving.errors import InputError, TunelaneError

JOURNAL = "journal.db"

_SCHEMA_VERSION = 1
_SCHEMA = """
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
_WAIT_S = 30.0


class Entry(NamedTuple):
    """A run as the journal has it. `place` is the run's directory, or where a remote one can be looked at.

    Where a local run lies follows from its id: a root that was moved or copied is as good as before.
    """

    run_id: str
    pipeline: str
    target: str
    state: str
    started_at: datetime
    wall_s: float
    model: str
    decision: str
    macro_f1: float | None
    place: str
    error: str


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
        evaluated = record.task("evaluate-model")
        row = (
            record.run_id,
            record.pipeline,
            record.target,
            record.state,
            record.started_at.isoformat(),
            record.wall_s,
            str(record.parameters.get("model_name", "")),
            record.decision,
            evaluated.metrics.get("macro_f1") if evaluated else None,
            place,
            record.error,
        )
        with self._open() as connection:
            connection.execute(f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def forget(self, run_id: str) -> None:
        """Take a run's row out: it left nothing."""
        with self._open() as connection:
            connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))

    def entries(self) -> list[Entry]:
        """Every run, the newest first; none where there is no journal yet."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            rows = connection.execute("SELECT * FROM runs ORDER BY started_at DESC, run_id DESC").fetchall()
        return [self._entry(Entry(*row)) for row in rows]

    def _entry(self, row: Entry) -> Entry:
        place = str(self.path.parent / row.run_id) if row.target == LOCAL else row.place
        return row._replace(started_at=datetime.fromisoformat(str(row.started_at)), place=place)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction, which waits for other processes' ones."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level="IMMEDIATE")
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(f"Cannot write the journal {self.path}: {error}. Choose another root: --root.") from error
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                self._prepare(connection)
                yield connection
        except sqlite3.OperationalError as error:
            raise InputError(f"Cannot write the journal {self.path}: {error}. Choose another root: --root.") from error
        except sqlite3.DatabaseError as error:
            raise TunelaneError(f"{self.path} is no journal of runs ({error}). Move it away.") from error
        finally:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > _SCHEMA_VERSION:
            raise TunelaneError(f"{self.path} was written by a newer release. Upgrade tunelane.")
        if found == 0:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
