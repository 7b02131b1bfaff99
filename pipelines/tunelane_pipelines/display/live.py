"""A run as a tree that redraws itself."""

from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from tunelane_pipelines.display.tree import tree
from tunelane_pipelines.runs.record import RunRecord, TaskRecord

_REDRAWS_PER_S = 5


class LiveDisplay:
    """The tree of a run, redrawn from its record until the block ends; what is drawn last stays."""

    def __init__(self, console: Console) -> None:
        self._record: RunRecord | None = None
        # In a terminal that is lower than the tree, its end is cut until the last drawing: what has scrolled away could
        # not be drawn over, and each drawing would stay.
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=_REDRAWS_PER_S, vertical_overflow="ellipsis"
        )

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def run_started(self, record: RunRecord) -> None:
        """Draw this record from now on; it changes in place."""
        self._record = record

    def task_changed(self, _task: TaskRecord) -> None:
        """Redraw at once: a short task would start and end between two redraws."""
        self._live.refresh()

    def task_said(self, _task: TaskRecord, _line: str) -> None:
        """The next redraw shows it."""

    def _draw(self) -> RenderableType:
        if self._record is None:
            return Text("starting …", "dim")
        return tree(self._record, is_live=True)
