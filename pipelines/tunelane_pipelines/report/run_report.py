"""`report.html`: a run on one page that loads nothing. What came of it, its DAG, its stages, and how to repeat it."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunelane_components.report.page import page
from tunelane_pipelines import drawing
from tunelane_pipelines.dag import Dag, DagTask
from tunelane_pipelines.display.highlights import duration, highlight
from tunelane_pipelines.report.reproduce import digests, overhead, repeat_command
from tunelane_pipelines.report.sections import sections
from tunelane_pipelines.runs.figures import headline, verdict_of
from tunelane_pipelines.runs.record import LOG, REPORT, RunRecord, TaskRecord
from tunelane_serving.files import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


class Problem(NamedTuple):
    """What ended a run: the task, empty where it was none; the error in words; the last thing that the task said."""

    task: str
    error: str
    last_line: str


def write_report(directory: Path, record: RunRecord) -> Path:
    """Write the report of a run into its directory, atomically; returns its path.

    A stage has a section if its artifact is there. One that cannot be read says so in a line.
    """
    path = directory / REPORT
    write_atomically(path, render(directory, record).encode())
    return path


def render(directory: Path, record: RunRecord) -> str:
    """Show a run as an HTML document.

    Args:
        directory: the run's, which the paths in its record are relative to.
        record: the run; it may still go on.
    """
    stages = sections(directory, record)
    contents = [("tasks", "Tasks"), *((stage.id, stage.title) for stage in stages), ("reproduce", "How to reproduce")]
    body = (
        _environment()
        .get_template("run.html")
        .render(
            record=record,
            problem=problem(record),
            verdict=verdict_of(record),
            figures=headline(record),
            drawn=drawing.svg(
                dag(record),
                states={task.name: task.state for task in record.tasks},
                seconds={task.name: task.wall_s for task in record.tasks},
            ),
            contents=contents,
            stages=stages,
            log=LOG,
            log_path=directory.absolute() / LOG,
            command=repeat_command(directory, record),
            digests=digests(record),
            overhead=overhead(record),
        )
    )
    model = record.parameters.get("model_name", "")
    title = f"{record.display_name}: {model}" if model else record.display_name
    return page(title, body, head=f"<style>\n{(_TEMPLATES / 'run.css').read_text(encoding='utf-8')}</style>")


def dag(record: RunRecord) -> Dag:
    """The DAG that a run went through, as its record has it."""
    tasks = (DagTask(task.name, task.display_name, task.component, task.needs, task.branch) for task in record.tasks)
    return Dag(record.pipeline, record.display_name, "", tuple(tasks))


def problem(record: RunRecord) -> Problem | None:
    """What ended a run before its end, or None: the first task that failed, else the run's own error."""
    if record.state not in ("failed", "interrupted"):
        return None
    ended = next((task for task in record.tasks if task.state == record.state), None)
    if ended is None:
        return Problem("", record.error, "")
    return Problem(ended.display_name, ended.error or record.error, ended.last_line)


@cache
def _environment() -> "Environment":
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined

    environment = Environment(
        # The stages' pieces (tiles, facts, digests) are this page's, too.
        loader=ChoiceLoader([FileSystemLoader(_TEMPLATES), PackageLoader("tunelane_components.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "highlight": highlight, "figure": _figure, "summed": _summed}
    return environment


def _figure(value: object) -> str:
    """A measured value: whole numbers as such, others with as many digits as say something."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _summed(task: TaskRecord) -> str:
    """What there is to unfold of a task: "2 artifacts, 8 metrics"."""
    counts = ((len(task.artifacts), "artifact"), (len(task.metrics), "metric"), (len(task.outputs), "output"))
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)
