"""The file of the journal: SQLite, opened for one transaction at a time."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelane_serving.errors import InputError, TunelaneError

_WAIT_S = 30.0


def is_there(path: Path) -> bool:
    """Whether there is a journal at all.

    Raises:
        InputError: the directory cannot be read.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"Cannot read the journal {path}: {error.strerror}. Choose another root: --root.") from error
    return True


@contextmanager
def transaction(path: Path, prepare: Callable[[sqlite3.Connection], object]) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction, which waits for other processes' ones; `prepare` makes its tables first.

    Raises:
        InputError: the file cannot be written, or what is to be written is no text.
        TunelaneError: it is no journal.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level="IMMEDIATE")
    except (OSError, sqlite3.OperationalError) as error:
        raise InputError(f"Cannot write the journal {path}: {error}. Choose another root: --root.") from error
    try:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            prepare(connection)
            yield connection
    except UnicodeEncodeError as error:
        # The name of a directory can hold bytes that are no text.
        raise InputError(f"{error.object!r} is not UTF-8, as a journal is. Rename it, or choose another.") from error
    except sqlite3.OperationalError as error:
        raise InputError(f"Cannot write the journal {path}: {error}. Choose another root: --root.") from error
    except sqlite3.DatabaseError as error:
        raise TunelaneError(f"{path} is no journal of runs ({error}). Move it away.") from error
    finally:
        connection.close()
