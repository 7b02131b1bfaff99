"""What every display of a run can do."""

from typing import Protocol

from tunelane_pipelines.runs.record import RunRecord, TaskRecord


class Display(Protocol):
    """Where a run is shown while it goes on."""

    def run_started(self, record: RunRecord) -> None:
        """Show the run; its record changes in place from now on."""
        ...

    def task_changed(self, task: TaskRecord) -> None:
        """Show that a task started or ended."""
        ...

    def task_said(self, task: TaskRecord, line: str) -> None:
        """Show a line of a task's own."""
        ...
