"""What a figure was measured with: versions, hardware, time."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from tunelane_pipelines.runs.surroundings import machine, versions


def environment() -> dict[str, Any]:
    """Versions, machine and the time, for a result file."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {**versions(), **{package: version(package) for package in ("numpy", "scikit-learn")}},
        "machine": machine(),
    }
