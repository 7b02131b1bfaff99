"""A run line by line: for logs, pipes and `--plain`."""

import typer

from tunelane_pipelines.display.highlights import highlight
from tunelane_pipelines.runs.record import RunRecord, TaskRecord


class PlainDisplay:
    """Prints a line when a task starts and ends, and each line that it says."""

    def run_started(self, record: RunRecord) -> None:
        """Print the run's id."""
        typer.echo(record.run_id)

    def task_changed(self, task: TaskRecord) -> None:
        """Print that a task started, or how it ended."""
        if task.state == "running":
            typer.echo(f"▸ {task.name}")
            return
        glyph = "✓" if task.state == "succeeded" else "✗"
        said = highlight(task) if task.state == "succeeded" else ""
        typer.echo(f"{glyph} {task.name} {task.wall_s:.1f} s{f'  {said}' if said else ''}")

    def task_said(self, _task: TaskRecord, line: str) -> None:
        """Print a line of a task's own."""
        typer.echo(f"    {line}")
