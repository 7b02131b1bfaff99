"""A run as a tree of its tasks: state, seconds, what there is to say of each. One drawing for live and past runs."""

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunelane_pipelines.display.highlights import duration, highlight
from tunelane_pipelines.runs.record import ENDED, Progress, RunRecord, TaskRecord

_GLYPHS = {
    "pending": ("○", "dim"),
    "running": ("●", "cyan"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("·", "dim"),
    "interrupted": ("◼", "yellow"),
}
_STATE_STYLES = {
    "submitting": "cyan",
    "needs-resume": "bold yellow",
    "pending": "cyan",
    "running": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "interrupted": "yellow",
    "cancelled": "yellow",
}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_PER_S = 5
_BAR_WIDTH = 12


def tree(record: RunRecord, *, is_live: bool = False, now: datetime | None = None) -> RenderableType:
    """Draw a run.

    Args:
        record: the run's.
        is_live: the drawing is repeated: what runs turns.
        now: the time that running tasks are counted to; the present unless given.
    """
    now = now or datetime.now(UTC)
    wall_s = record.wall_s if record.state in ENDED else max((now - record.started_at).total_seconds(), 0.0)
    head = Text.assemble(
        (record.display_name, "bold"),
        "  ",
        (record.run_id, "dim"),
        "  ",
        (record.state, _STATE_STYLES[record.state]),
        (f"  {duration(wall_s)}", "bold"),
    )
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(justify="right", no_wrap=True)
    # The one that gives way where the terminal is narrow: names and times are never cut. Its texts do not wrap.
    rows.add_column()
    frame = _FRAMES[int(now.timestamp() * _FRAMES_PER_S) % len(_FRAMES)] if is_live else ""
    for task in record.tasks:
        if not task.branch:
            _add(rows, task, "", frame, now)
    branches = list(dict.fromkeys(task.branch for task in record.tasks if task.branch))
    for number, branch in enumerate(branches, start=1):
        is_last = number == len(branches)
        rows.add_row(Text.assemble(("└─ " if is_last else "├─ ", "dim"), (branch, "italic dim")), "", "")
        for task in record.tasks:
            if task.branch == branch:
                _add(rows, task, "   " if is_last else "│  ", frame, now)
    return Group(head, rows)


def _add(rows: Table, task: TaskRecord, indent: str, frame: str, now: datetime) -> None:
    """One row; a second with what a task says last, where the first shows how far it is."""
    glyph, style = _GLYPHS[task.state]
    is_running = task.state == "running"
    is_idle = task.state in ("pending", "skipped")
    name = Text.assemble(
        (indent, "dim"),
        (f"{frame if is_running and frame else glyph} ", style),
        (task.display_name, "dim" if is_idle else "bold" if is_running else ""),
    )
    seconds = task.wall_s
    if is_running and task.started_at is not None:
        seconds = max((now - task.started_at).total_seconds(), 0.0)
    time = Text("" if is_idle else duration(seconds), "dim")
    if is_running and task.progress is not None:
        rows.add_row(name, time, _progress(task.progress))
        rows.add_row(Text(indent, "dim"), "", _cut(task.last_line, "dim"))
    elif is_running:
        rows.add_row(name, time, _cut(task.last_line, "dim"))
    else:
        rows.add_row(name, time, _cut(highlight(task), "red" if task.state == "failed" else ""))


def _progress(progress: Progress) -> RenderableType:
    f1 = "" if progress.valid_macro_f1 is None else f"  F1 {progress.valid_macro_f1:.3f}"
    left = duration(round(progress.left_s)).replace(".0 s", " s")
    loss = "nan" if progress.loss is None else f"{progress.loss:.3f}"
    words = f"{progress.step}/{progress.steps}  loss {loss}{f1}  about {left} left"
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column()
    grid.add_row(ProgressBar(total=progress.steps, completed=progress.step, width=_BAR_WIDTH), _cut(words))
    return grid


def _cut(words: str, style: str = "") -> Text:
    """One line, cut where there is no more room."""
    return Text(words, style, no_wrap=True, overflow="ellipsis")
