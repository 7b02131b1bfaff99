"""The record of a whole run."""

from pathlib import Path

import pytest

from tunelane_pipelines.runs.record import RunRecord
from tunelane_serving.contract import read

_GOLDEN = Path(__file__).parent / "golden" / "run_v1.json"


@pytest.fixture
def golden() -> Path:
    """The record of a whole run, as version 1 wrote it."""
    return _GOLDEN


@pytest.fixture
def record() -> RunRecord:
    """The golden record, for a test to change."""
    return read(_GOLDEN, RunRecord)
