"""The record of a whole run."""

from pathlib import Path

import pytest

from tests.pipelines.service import FakeClock, Service
from tunelane_pipelines.runs.record import RunRecord
from tunelane_serving.contract import read

_GOLDEN = Path(__file__).parent / "golden" / "run_v1.json"


@pytest.fixture
def golden() -> Path:
    """The record of a whole run, as version 1 wrote it."""
    return _GOLDEN


@pytest.fixture
def golden_v2() -> Path:
    """The record of a remote run, as version 2 wrote it."""
    return _GOLDEN.with_name("run_v2.json")


@pytest.fixture
def record() -> RunRecord:
    """The golden record, for a test to change."""
    return read(_GOLDEN, RunRecord)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still while nobody sleeps."""
    return FakeClock()


@pytest.fixture
def service(tmp_path: Path, clock: FakeClock) -> Service:
    """A service without runs."""
    return Service(tmp_path / "service.json", clock)
