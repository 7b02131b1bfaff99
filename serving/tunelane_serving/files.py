"""Files written whole or not at all, their digests, and one process at a time."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelane_serving.errors import InputError

_CHUNK_BYTES = 1 << 20


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the file at `path`, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` by temp file and rename, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes a file private; what is written here is as readable as any file the user writes.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def directory_written_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty directory beside `target` that becomes `target` when the block ends well, and vanishes when not.

    An existing `target` is replaced: kfp makes an output's directory before the task starts, and a retry meets
    what the first try left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    scratch.chmod(0o755)
    try:
        yield scratch
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as old:
            # Two renames: the moment without a target is as short as it can be, and the old one is never half-removed.
            if target.exists():
                target.rename(Path(old) / target.name)
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Put `source` at `target`: a hard link where the file system allows it (a model is large), else a copy.

    Only for files that nobody edits in place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, made where it is missing, and wait for it as long as it takes.

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


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock on `path` if nobody holds it, and say whether that is so; False too where there is no such file."""
    try:
        # Never made here; writable, since NFS grants no exclusive lock on a file that is open for reading.
        stream = path.open("r+")
    except OSError:
        yield False
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
