"""What a timer of this machine is told: its name, and the command that it calls."""

import sys
from pathlib import Path

from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_serving.files import sha256_bytes


def timer_name(name: str, root: Path) -> str:
    """Give a schedule's name on this machine, of a-z, 0-9 and -; two roots may each have a schedule of one name."""
    return f"tunelane-{name}-{sha256_bytes(str(root.absolute()).encode())[:8]}"


def timer_command(record: ScheduleRecord, root: Path) -> list[str]:
    """Give the command that starts a run of a schedule if one may start."""
    call = [sys.executable, "-m", "tunelane_pipelines.cli", "schedule", "trigger", record.name]
    return [*call, "--root", str(root.absolute())]
