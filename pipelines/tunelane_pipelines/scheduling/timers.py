"""What a timer of this machine is told: the command that it calls."""

import sys
from pathlib import Path

from tunelane_pipelines.scheduling.record import ScheduleRecord


def timer_command(record: ScheduleRecord, root: Path) -> list[str]:
    """Give the command that starts a run of a schedule if one may start."""
    call = [sys.executable, "-m", "tunelane_pipelines.cli", "schedule", "trigger", record.name]
    return [*call, "--root", str(root.absolute())]
