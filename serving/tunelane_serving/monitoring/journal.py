"""Where events wait on the local disk while the database is away: files of JSON lines, in order."""

import fcntl
import itertools
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from tunelane_serving.events import InferenceEvent

_SUFFIX = ".events.jsonl"
# A file is removed when all its events are in the database, so a long journal is many files.
_FILE_BYTES = 8 << 20

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(InferenceEvent).decode


class Journal:
    """A first-in, first-out list of events in a directory that several processes may share. For one thread at a time.

    Every file is locked by the process that writes or reads it, and the kernel frees the lock when that process ends,
    however it does. What a dead process left is adopted by the next that asks. A line is one event; the torn last line
    of a killed process is skipped. Written lines survive the process, not a power cut: they are not synced.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Name the journal; nothing is made before the first event.

        Args:
            directory: of the files; their names end in `.events.jsonl`.
            max_bytes: of this process's files together, those it adopted included.
        """
        self._directory = directory
        self._max_bytes = max_bytes
        self._files: deque[_File] = deque()
        self.unreadable = 0
        """Lines that were skipped because they hold no event."""

    def __len__(self) -> int:
        """Events that wait."""
        return sum(file.lines for file in tuple(self._files))

    def adopt(self) -> None:
        """Take over the files that dead processes left, and put them before this one's own, the oldest first.

        Raises:
            OSError: a file cannot be read.
        """
        own = {file.path for file in self._files}
        # The names begin with the time; a directory that is not there has none.
        for path in sorted(self._directory.glob(f"*{_SUFFIX}"), reverse=True):
            if path in own or (file := _File.adopt(path)) is None:
                continue
            if file.lines:
                self._files.appendleft(file)
            else:
                file.remove()

    def append(self, events: Sequence[InferenceEvent]) -> int:
        """Write events behind those that wait.

        Returns:
            How many fitted: the first so many of `events`. The rest is left out where `max_bytes` are used.

        Raises:
            OSError: the disk does not take them; what it took is cut off again, and none counts as written.
        """
        lines = [_line(event) for event in events]
        room_bytes = self._max_bytes - sum(file.size_bytes for file in self._files)
        fitting = sum(size_bytes <= room_bytes for size_bytes in itertools.accumulate(map(len, lines)))
        if fitting:
            if not self._files or not self._files[-1].takes_more:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._files.append(_File.make(self._directory))
            self._files[-1].append(lines[:fitting])
        return fitting

    def first(self, limit: int) -> list[InferenceEvent]:
        """Read the first events, at most `limit`, and leave them where they are.

        Raises:
            OSError: a file cannot be read.
        """
        while self._files:
            if events := self._files[0].first(limit):
                return events
            self.remove_first()
        return []

    def remove_first(self) -> None:
        """Remove what `first` gave last. A file goes once nothing in it waits."""
        file = self._files[0]
        self.unreadable += file.advance()
        if not file.lines:
            self._files.popleft().remove()

    def leave_first(self) -> tuple[Path, int]:
        """Let go of the first file and leave it where it is, for whoever can read it; give it, and its events."""
        file = self._files.popleft()
        file.close()
        return file.path, file.lines

    def close(self) -> None:
        """Free the files for whoever comes next; what waits in them stays."""
        while self._files:
            self._files.popleft().close()


class _File:
    """One file of the journal, locked: lines are appended at its end and read from its start."""

    def __init__(self, path: Path, handle: int, *, lines: int, is_own: bool) -> None:
        self.path = path
        self.lines = lines
        self.size_bytes = os.fstat(handle).st_size
        self._handle = handle
        self._is_own = is_own
        self._reader = path.open("rb")
        # Of the lines that were read last: how many, how many of them hold no event, and where they end.
        self._read_lines = 0
        self._unreadable = 0
        self._start = 0
        self._end = 0

    @classmethod
    def make(cls, directory: Path) -> "_File":
        while True:
            path = directory / f"{time.time_ns():020}-{os.getpid()}{_SUFFIX}"
            # Appending: after a torn write is cut off, the next one begins where the file ends.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            # Before it is locked, another process may take it for a leftover, an empty one, and remove it.
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, path):
                return cls(path, handle, lines=0, is_own=True)
            os.close(handle)

    @classmethod
    def adopt(cls, path: Path) -> "_File | None":
        """Lock what a dead process left; None where its writer lives, or another process was quicker."""
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(handle, path):
                    with path.open("rb") as stream:
                        lines = sum(1 for _ in stream)
                    return cls(path, handle, lines=lines, is_own=False)
            except OSError:
                pass
            os.close(handle)
        return None

    @property
    def takes_more(self) -> bool:
        # Not behind another's torn line.
        return self._is_own and self.size_bytes < _FILE_BYTES

    def append(self, lines: Sequence[bytes]) -> None:
        content = b"".join(lines)
        try:
            written = 0
            while written < len(content):
                written += os.write(self._handle, content[written:])
        except OSError:
            os.ftruncate(self._handle, self.size_bytes)
            raise
        self.size_bytes += len(content)
        self.lines += len(lines)

    def first(self, limit: int) -> list[InferenceEvent]:
        self._reader.seek(self._start)
        events: list[InferenceEvent] = []
        self._read_lines = self._unreadable = 0
        for line in itertools.islice(self._reader, limit):
            self._read_lines += 1
            try:
                events.append(_decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._unreadable += 1
        self._end = self._reader.tell()
        if not self._read_lines:
            # Somebody cut the file off.
            self.lines = 0
        return events

    def advance(self) -> int:
        """Pass over the lines that were read last; give how many of them held no event."""
        self._start = self._end
        self.lines -= self._read_lines
        unreadable = self._unreadable
        self._read_lines = self._unreadable = 0
        return unreadable

    def remove(self) -> None:
        # Unlinked before it is unlocked, so that nobody adopts it. Where that cannot be, its events will be written
        # once more, and are stored once all the same: by id.
        with suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        self._reader.close()
        os.close(self._handle)


def _line(event: InferenceEvent) -> bytes:
    try:
        return _encode(event) + b"\n"
    except (ValueError, TypeError, OverflowError):
        # A lone surrogate, or no value of JSON's, which no database holds either: an empty line counts as unreadable.
        return b"\n"


def _is_at(handle: int, path: Path) -> bool:
    """Say whether `path` names the open file still."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
