"""A clock that only moves when it is told to: `targets.clock.Clock` for the code under test, and the fakes' time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time stands still but for `sleep`, `advance` and `set`. It starts at the real time's whole minute."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Told each new time; gives the next time at which it has something to do, or None.
        self.next_due: Callable[[], datetime | None] = lambda: None
        self.fire: Callable[[datetime], None] = lambda _: None
        self.reset()

    def reset(self) -> None:
        self._now = datetime.now(UTC).replace(second=0, microsecond=0)
        self.slept_s = 0.0

    def now(self) -> datetime:
        """Give the time, UTC."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let so much of it pass, at once."""
        self.slept_s += seconds
        self.advance(seconds)

    def advance(self, by: timedelta | float) -> None:
        """Move on. What falls due in between is done at its own time, in order."""
        self.set(self._now + (by if isinstance(by, timedelta) else timedelta(seconds=by)))

    def set(self, until: datetime) -> None:
        """Move to a time; back only while nothing is due."""
        until = until.astimezone(UTC)
        with self._lock:
            while (due := self.next_due()) is not None and due <= until:
                self._now = max(self._now, due)
                self.fire(self._now)
            self._now = until
