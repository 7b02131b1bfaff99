"""One process at a time, on one machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelane_serving.errors import InputError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, made where it is missing; waits for it as long as it takes.

    The kernel frees the lock when its holder ends, however that happens. The file stays: removing it would let two
    processes hold locks on two files of one name.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}. Choose a directory that you may write to.") from error
    with stream:
        # flock, not lockf: it also keeps two threads of one process apart.
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
