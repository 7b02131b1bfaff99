"""Files written whole or not at all, their digests, and one process at a time."""

import ctypes
import errno
import fcntl
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunelane_serving.errors import InputError

_CHUNK_BYTES = 1 << 20
_SCRATCH_SUFFIX = ".partial"
# From linux/fcntl.h and linux/fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# What kernels and file systems without an exchange answer; EPERM is a sandbox that does not know the call.
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


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


def home_expanded(path: Path) -> Path:
    """Give `path` with the home directory that its `~` or `~USER` stands for.

    Raises:
        InputError: there is no such user, or the home directory is not known.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: this home directory is not known. Write the whole path, or set HOME.") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` by temp file and rename, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by mkstemp, which makes a file private: what is written here is as readable as any file the user writes.
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    stream = temporary.open("xb")
    try:
        with stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def directory_written_atomically(target: Path) -> Iterator[Path]:
    """Yield an empty directory beside `target` that becomes `target` when the block ends well, and vanishes when not.

    An existing `target` is replaced: kfp makes an output's directory before the task starts, and a retry meets
    what the first try left. Old and new change places in one step, so a process that is killed at any moment leaves
    the old one whole or the new one whole. What it was writing stays behind as a hidden directory, which the next call
    for the same `target` removes. Two writers of one `target` do not disturb one another: the last to end wins.

    Where the system cannot exchange two directories (macOS, some network file systems) that step is two renames: a
    process killed between them leaves no `target`, and the old one whole beside it as `.NAME.….partial.old`. Where
    locks hold on one machine only (Cloud Storage FUSE), two machines must not write one `target` at the same time.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    scratch, lock = _locked_scratch(target)
    try:
        scratch.chmod(0o755)
        yield scratch
        _move_into_place(scratch, target)
    finally:
        # What stood at `target` before, or what a block that failed had written.
        _remove(scratch)
        os.close(lock)


def _locked_scratch(target: Path) -> tuple[Path, int]:
    """Make an empty directory beside `target` and lock it, which says that its writer lives.

    Returns:
        The directory, and its file descriptor: closing it frees the lock, and the kernel does so for a killed process.
    """
    while True:
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_SCRATCH_SUFFIX))
        # Until it is locked, another call may take it for a leftover. That call removes it under the same lock, so
        # what is still there under ours stays; if it is gone, there is another turn. No clock is asked.
        with suppress(FileNotFoundError):
            lock = os.open(scratch, os.O_RDONLY)
            # Where directories cannot be locked (NFS), nobody removes leftovers either.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if scratch.exists():
                return scratch, lock
            os.close(lock)


def remove_leftovers(target: Path) -> None:
    """Remove what killed writers of `target` left beside it: whatever bears a scratch directory's name and no lock."""
    # mkdtemp fills in eight characters.
    for path in target.parent.glob(f".{glob.escape(target.name)}.????????{_SCRATCH_SUFFIX}"):
        # Gone already, another user's, or in use.
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    """Remove a directory with all that is in it, a file or a link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _move_into_place(scratch: Path, target: Path) -> None:
    """Make `scratch` the `target` in one step; what stood there, if it held anything, stands at `scratch` then."""
    try:
        scratch.rename(target)
    except OSError:
        if not os.path.lexists(target):
            raise
        try:
            _exchange(scratch, target)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            # Under a name that is no leftover's: should the process die here, it is the only copy.
            old = scratch.with_name(f"{scratch.name}.old")
            target.rename(old)
            scratch.rename(target)
            old.rename(scratch)


def _exchange(one: Path, other: Path) -> None:
    """Let two paths change names in one step, by Linux' renameat2: https://man7.org/linux/man-pages/man2/rename.2.html.

    Raises:
        OSError: it failed; ENOSYS where the C library has no such function.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one), None, str(other))


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
