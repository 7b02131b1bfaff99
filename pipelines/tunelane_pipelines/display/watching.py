"""`tunelane runs watch`: a run that another process carries on, followed by its record."""

import sys
import time
from pathlib import Path

import typer

from tunelane_pipelines.display.interface import Display
from tunelane_pipelines.display.plain import PlainDisplay
from tunelane_pipelines.runs.finding import find_run
from tunelane_pipelines.runs.record import RunRecord, read_record

_POLL_S = 0.5


def watch_run(root: Path, name: str) -> bool:
    """Show the run called `name` until it has ended; says whether it succeeded.

    Raises:
        InputError: there is no such run, or it left nothing since the input ended it.
    """
    run_id = find_run(root, name).run_id
    if sys.stdout.isatty():
        from rich.console import Console

        from tunelane_pipelines.display.live import LiveDisplay

        with LiveDisplay(Console()) as display:
            record = _follow(root, run_id, display)
    else:
        record = _follow(root, run_id, PlainDisplay())
    if record.error:
        # As `tunelane run` ends in such a case.
        typer.echo(f"tunelane: {record.error}", err=True)
    return record.state == "succeeded"


def _follow(root: Path, run_id: str, display: Display) -> RunRecord:
    """Poll the record, and tell the display what changed since the last look; gives the record at the end."""
    # One object, changed in place, as a run's own display has it.
    record = read_record(Path(find_run(root, run_id).place))
    display.run_started(record)
    seen: dict[str, tuple[str, str]] = {}
    while True:
        for task in record.tasks:
            state, line = seen.get(task.name, ("pending", ""))
            if task.state not in (state, "skipped"):
                display.task_changed(task)
            if task.last_line not in ("", line) and task.state == "running":
                display.task_said(task, task.last_line)
            seen[task.name] = task.state, task.last_line
        if record.state != "running":
            return record
        time.sleep(_POLL_S)
        # Found anew each time: that is where a run whose command was killed is seen to be interrupted.
        latest = read_record(Path(find_run(root, run_id).place))
        for field in record.__struct_fields__:
            setattr(record, field, getattr(latest, field))
