"""One database for everything the server keeps. SQLAlchemy is imported when it is first used, not before."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelane_serving.errors import InputError, first_line
from tunelane_serving.problems import DatabaseAway, DatabaseUnusable

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

# How long a writer waits for another one's transaction.
_BUSY_TIMEOUT_S = 10
_POOL_TIMEOUT_S = 5
# How long the end of the process waits for an opening, which may take longer than the process has.
_CLOSE_TIMEOUT_S = 0.5
_RETRY_AFTER_S = 2.0
_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL = "postgresql+psycopg"
# libpq's: a host that went away without a word is given up after 20 s, not after the kernel's quarter of an hour.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# What SQLite says of a file that waiting does not mend: https://www.sqlite.org/rescode.html (low byte).
_UNUSABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}


class Database:
    """A connection pool that opens itself, and makes the tables, at the first use. Safe to call from several threads.

    An opening that fails is tried again at the next use, so a database may come up after the server, and restart.
    """

    def __init__(self, url: str) -> None:
        """Name the database.

        Args:
            url: `sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/NAME`, or with its driver's name:
                `postgresql+psycopg://…`.
        """
        self.url = url.replace("postgresql://", f"{_POSTGRESQL}://", 1)
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    def check_url(self) -> None:
        """Stop early at a URL that nothing could open; the database itself may be away.

        Raises:
            InputError: it is not SQLite's or PostgreSQL's, or PostgreSQL's driver is not installed.
        """
        scheme, separator, _ = self.url.partition("://")
        if not separator:
            # Not to be shown: a password may stand in it.
            raise InputError(f"The database URL cannot be read. {_PASS_ANOTHER}")
        if scheme not in (*_SQLITE, _POSTGRESQL):
            raise InputError(f"The database URL begins with {scheme}://. {_PASS_ANOTHER}")
        if scheme == _POSTGRESQL and find_spec("psycopg") is None:
            raise _driver_missing("psycopg is not installed")

    @contextmanager
    def transaction(self, *, durable: bool = True, lock: str = "") -> "Iterator[Connection]":
        """Give a connection in a transaction: committed when the block ends well, rolled back when not.

        Without a `lock`, write before you read: on SQLite a transaction that has read cannot write any more once
        another one has written.

        Args:
            durable: the commit is on the disk when the block has ended. Without it a power cut, or on PostgreSQL a
                crash of the database, may take the last commits; never half of one, and never those of this process'
                end. PostgreSQL's durable is what its administrator made it.
            lock: transactions that name the same lock take turns, from here to the commit. On SQLite they take turns
                with every writer.

        Raises:
            DatabaseAway: the database does not answer, is locked for longer than 10 s, takes no writes (as a standby
                does), or is damaged.
            DatabaseUnusable: the URL, or what is there, cannot be used.
            sqlalchemy.exc.DataError, sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError: it refuses the
                statement.
        """
        try:
            from sqlalchemy.exc import DBAPIError
            from sqlalchemy.exc import TimeoutError as PoolTimeout
        except ImportError as error:
            raise _driver_missing(error) from error

        try:
            with _transaction(self._opened(), durable=durable, lock=lock) as connection:
                yield connection
        except PoolTimeout as error:
            raise _away(error) from error
        except DBAPIError as error:
            if _is_refusal(error):
                raise
            raise _away(error) from error

    def close(self) -> None:
        """Close the connections that nobody uses; the next use opens new ones. Waits for an opening for 0.5 s only."""
        if not self._opening.acquire(timeout=_CLOSE_TIMEOUT_S):
            return
        try:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None
        finally:
            self._opening.release()

    def _opened(self) -> "Engine":
        engine = self._engine
        if engine is not None:
            return engine
        # One after the other: behind a database that is away nobody waits for more than one other's attempt.
        if not self._opening.acquire(timeout=_POOL_TIMEOUT_S):
            raise DatabaseAway("The database does not answer: it is being opened", retry_after_s=_RETRY_AFTER_S)
        try:
            if self._engine is None:
                self._engine = _open(self.url)
            return self._engine
        except InputError as error:
            # A request that needs the database is answered with this, too.
            raise DatabaseUnusable(str(error)) from error
        finally:
            self._opening.release()


def sqlite_url(path: Path) -> str:
    """Give the URL of a SQLite file, whose directory is made; the path may have any characters.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make {path.parent}: {error.strerror}. Choose another place.") from error
    # What a URL gives a meaning of its own.
    quoted = str(path).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{quoted}"


@contextmanager
def _transaction(engine: "Engine", *, durable: bool = True, lock: str = "") -> "Iterator[Connection]":
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(durable=durable, immediate=bool(lock)) as connection, connection.begin():
        if not is_sqlite and not durable:
            connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
        if not is_sqlite and lock:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"tunelane {lock}",))
        yield connection


def _open(url: str) -> "Engine":
    """Make the engine and the tables; nothing is left open where that fails."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from tunelane_serving.database.tables import make_tables

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"The database URL cannot be read. {_PASS_ANOTHER}") from error
    if parsed.drivername in _SQLITE:
        engine = _open_sqlite(parsed)
    elif parsed.drivername == _POSTGRESQL:
        engine = _open_postgresql(parsed)
    else:
        raise InputError(f"The database URL begins with {parsed.drivername}://. {_PASS_ANOTHER}")
    try:
        # Two instances that start together would both make the tables.
        with _transaction(engine, lock="tables") as connection:
            make_tables(connection)
    except DBAPIError as error:
        engine.dispose()
        if not _is_refusal(error):
            raise
        raise InputError(
            f"The tables cannot be made: {_reason(error)}. Let the database's user create tables in it."
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _open_postgresql(url: "URL") -> "Engine":
    from sqlalchemy import create_engine, event

    try:
        engine = create_engine(
            url,
            connect_args=_POSTGRESQL_ARGUMENTS,
            pool_timeout=_POOL_TIMEOUT_S,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError as error:
        raise _driver_missing(error) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # A holder of a lock that stands still must not make everybody else stand still.
        connection.execute(f"SET lock_timeout = '{_BUSY_TIMEOUT_S}s'")
        connection.commit()

    return engine


def _open_sqlite(url: "URL") -> "Engine":
    from sqlalchemy import create_engine, event

    path = url.database or ""
    if path in ("", ":memory:") or path.startswith("file:"):
        raise InputError(f"The database URL names no file. {_PASS_ANOTHER}")
    _prepare_sqlite_file(path)
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY_TIMEOUT_S},
        pool_timeout=_POOL_TIMEOUT_S,
        hide_parameters=True,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: "Connection") -> None:
        # Left to itself the driver begins at the first write, and reads before it stand outside.
        options = connection.get_execution_options()
        synchronous = "FULL" if options.get("durable", True) else "NORMAL"
        # A connection keeps what was set, and there is no setting it inside a transaction.
        if connection.info.get("synchronous") != synchronous:
            connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
            connection.info["synchronous"] = synchronous
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("immediate") else "BEGIN")

    return engine


def _prepare_sqlite_file(path: str) -> None:
    """Turn the file's journal into a write-ahead log, for good: readers and the writer do not wait for one another.

    Raises:
        InputError: it cannot be written, or is no database.
        DatabaseAway: it is locked for longer than 10 s.
    """
    until_s = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                # A file that may not be written is opened for reading, and says so at the first write alone.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
        except sqlite3.DatabaseError as error:
            # Some raised by the module itself have no code.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _UNUSABLE:
                raise InputError(
                    f"Cannot use {path} as a SQLite database: {error}. Choose a file that you may write to, in a "
                    "directory that is there."
                ) from error
            # Changing the journal's mode fails at once while another connection is at it, whatever the timeout.
            if code != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise _away(error) from error
        time.sleep(0.01)


_PASS_ANOTHER = "Pass sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME."  # noqa: S105 - says what to pass


def _driver_missing(reason: object) -> InputError:
    return InputError(f"The database needs a driver: {reason}. Run: pip install 'tunelane[postgres]'")


def _is_refusal(error: "DBAPIError") -> bool:
    """Say whether the database refuses a statement. All else is its own state, which may be another one later."""
    from sqlalchemy.exc import DataError, IntegrityError, NotSupportedError, ProgrammingError

    refusals = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
    return isinstance(error, refusals) and not error.connection_invalidated


def _away(error: Exception) -> DatabaseAway:
    return DatabaseAway(f"The database does not answer: {_reason(error)}", retry_after_s=_RETRY_AFTER_S)


def _reason(error: Exception) -> str:
    return first_line(getattr(error, "orig", None) or error)
