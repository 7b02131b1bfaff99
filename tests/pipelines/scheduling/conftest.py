"""A clock that passes in no time, and schedules below a root of their own."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import changed
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.target import Recurrence


class PassingClock:
    """Time that passes when somebody sleeps; what happens meanwhile is told to `on_sleep`."""

    def __init__(self) -> None:
        self.time = datetime(2090, 11, 2, 10, 30, tzinfo=UTC)
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.on_sleep()


@pytest.fixture(scope="session")
def systemd_analyze(give_up: Callable[[str], None]) -> None:
    """Have systemd's own reader of calendar events and units."""
    if shutil.which("systemd-analyze") is None:
        give_up("install systemd-analyze: apt-get install systemd")


@pytest.fixture
def clock() -> PassingClock:
    return PassingClock()


@pytest.fixture
def store(tmp_path: Path) -> ScheduleStore:
    return ScheduleStore(tmp_path / "root")


@pytest.fixture
def hourly(tmp_path: Path, clock: PassingClock) -> Callable[..., ScheduleRecord]:
    """Give a schedule of the daemon, due at every full hour unless something else is said."""

    def hourly(name: str = "nightly", cron: str = "0 * * * *", **fields: object) -> ScheduleRecord:
        recurrence = changed(Recurrence(cron=""), cron=cron, **fields)  # type: ignore[arg-type]
        return ScheduleRecord(
            name,
            "local",
            "convert",
            recurrence,
            clock.now(),
            starter="daemon",
            command=("run", "convert", "--plain"),
            directory=str(tmp_path),
            settled_until=clock.now(),
        )

    return hourly
