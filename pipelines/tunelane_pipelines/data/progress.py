"""How far a build is: bars where somebody looks, a line every few seconds elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tunelane_components.etl.progress import BuildProgress, OnProgress, progress_line, say_progress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def shown_progress(*, is_plain: bool) -> Iterator[OnProgress]:
    """Give what shows the progress of a build on stderr, where it does not disturb a table in a pipe."""
    if is_plain or not sys.stderr.isatty():
        yield say_progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield Bars(progress)


class Bars:
    """A bar a phase, each below the one before."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task_by_phase: dict[str, TaskID] = {}

    def __call__(self, at: BuildProgress) -> None:
        """Move the bar of the phase; where it is a new one, fill those before it."""
        said = progress_line(at).partition(": ")[2]
        if at.phase not in self._task_by_phase:
            for before in self._task_by_phase.values():
                total = self._progress.tasks[before].total or 1
                self._progress.update(before, completed=total, total=total)
            self._task_by_phase[at.phase] = self._progress.add_task(at.phase, total=None, said=said)
        task = self._task_by_phase[at.phase]
        self._progress.update(task, completed=at.done, total=at.total or None, said=said)
