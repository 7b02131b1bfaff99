"""`tunelane runs watch`: a run that another process or a service carries on, followed by its record."""

import sys
from pathlib import Path

import typer

from tunelane_pipelines.display.interface import Display
from tunelane_pipelines.display.plain import PlainDisplay
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.finding import find_run
from tunelane_pipelines.runs.looking import seen
from tunelane_pipelines.runs.record import ENDED, LOCAL, RunRecord
from tunelane_pipelines.runs.services import Opener
from tunelane_pipelines.runs.unclear import and_how_to_go_on
from tunelane_pipelines.targets.clock import Clock

_POLL_S = 0.5
# Services count what they are asked, and their tasks take minutes.
_REMOTE_POLL_S = 5.0
# Of each call, over some four minutes: a service that restarts ends no watch.
_ATTEMPTS = 12


def watch_run(root: Path, name: str, opener: Opener, clock: Clock, *, profile: Path | None = None) -> bool:
    """Show the run called `name` until it has ended; says whether it succeeded. Ctrl-C ends the watching, not the run.

    Raises:
        InputError: there is no such run, or it left nothing since the input ended it; or it goes on at another service
            than the settings in force name.
        ServiceAway: the service of a remote run did not answer for minutes.
        typer.Exit: with 130, after Ctrl-C.
    """
    run_id = find_run(root, name).run_id
    try:
        record = _shown(root, run_id, opener, clock)
    except KeyboardInterrupt:
        watch = again(f"runs watch {run_id}", root, profile)
        typer.echo(f"The run goes on. Watch it again: {watch}", err=True)
        raise typer.Exit(130) from None
    if record.error:
        # As `tunelane run` or `submit` ends in such a case.
        is_unclear = record.state == "needs-resume"
        said = and_how_to_go_on(record.error, run_id, root, profile) if is_unclear else record.error
        typer.echo(f"tunelane: {said}", err=True)
    return record.state == "succeeded"


def _shown(root: Path, run_id: str, opener: Opener, clock: Clock) -> RunRecord:
    if not sys.stdout.isatty():
        return _follow(root, run_id, PlainDisplay(), opener, clock)
    from rich.console import Console

    from tunelane_pipelines.display.live import LiveDisplay

    with LiveDisplay(Console()) as display:
        return _follow(root, run_id, display, opener, clock)


def _follow(root: Path, run_id: str, display: Display, opener: Opener, clock: Clock) -> RunRecord:
    """Poll the record, and tell the display what changed since the last look; gives the record at the end."""
    # One object, changed in place, as a run's own display has it.
    record = _look(root, run_id, opener, clock)
    display.run_started(record)
    told: dict[str, tuple[str, str]] = {}
    while True:
        for task in record.tasks:
            state, line = told.get(task.name, ("pending", ""))
            # What waits again, between two tries or rounds, has not ended.
            if task.state not in (state, "pending", "skipped"):
                display.task_changed(task)
            if task.last_line not in ("", line) and task.state == "running":
                display.task_said(task, task.last_line)
            told[task.name] = task.state, task.last_line
        if record.state in ENDED or record.state == "needs-resume":
            return record
        clock.sleep(_POLL_S if record.target == LOCAL or record.state == "submitting" else _REMOTE_POLL_S)
        latest = _look(root, run_id, opener, clock)
        for field in record.__struct_fields__:
            setattr(record, field, getattr(latest, field))


def _look(root: Path, run_id: str, opener: Opener, clock: Clock) -> RunRecord:
    # Found anew each time: that is where a run whose command was killed is seen to be interrupted.
    return seen(root, find_run(root, run_id), opener, clock, attempts=_ATTEMPTS)
