"""`tunelane runs logs`: what a run's tasks wrote."""

from pathlib import Path

import typer

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.finding import find_run
from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.runs.looking import recorded
from tunelane_pipelines.runs.record import LOG
from tunelane_pipelines.runs.services import Opener, opened
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_serving.errors import InputError


def print_logs(root: Path, name: str, task: str, opener: Opener, clock: Clock, *, profile: Path | None = None) -> None:
    """Print what the tasks of the run called `name` wrote, oldest first; of one task where it is named.

    Raises:
        InputError: there is no such run or task, or it wrote nothing that can be read; or the run is at another service
            than the settings in force name.
        TunelaneError: the service does not answer, or its answer is no.
    """
    entry = find_run(root, name)
    tasks = [known.name for known in recorded(entry).tasks]
    if task and tasks and task not in tasks:
        raise InputError(no_such("task", task, tasks))
    show = again(f"runs show {entry.run_id}", root, profile)
    if not entry.is_remote:
        _print_local(entry, task, show)
        return
    if not entry.resource:
        raise InputError(f"{entry.run_id} has not started, as far as is known. See: {show}")
    target = opened(entry, entry.run_id, opener)
    # Read whole before it is printed: a reading that is broken off starts anew.
    for line in retried(lambda: list(target.logs(entry.resource, task=task)), clock):
        typer.echo(f"{line.time.astimezone():%Y-%m-%d %H:%M:%S}  {line.task}  {line.text}")


def _print_local(entry: Entry, task: str, show: str) -> None:
    if task:
        raise InputError("The log of a local run is one for all tasks. Leave --task out.")
    log = Path(entry.place) / LOG
    try:
        typer.echo(log.read_text(encoding="utf-8", errors="replace"), nl=False)
    except OSError as error:
        raise InputError(f"{log}: {error.strerror}. See the run itself: {show}") from error
