"""A DAG as one SVG that stands alone: in a README, in an <img>, or inline in a page."""

from collections.abc import Mapping
from html import escape
from itertools import pairwise
from typing import Literal

from tunelane_pipelines.dag import Dag, DagTask, direct_needs
from tunelane_pipelines.display.highlights import duration
from tunelane_pipelines.drawing.layout import (
    BOX_PADDING,
    FRAME_HEAD,
    NAME_LINE,
    NAME_SIZE,
    Arrow,
    Box,
    Frame,
    Layout,
    Point,
    arrange,
)
from tunelane_pipelines.drawing.text import shortened, width
from tunelane_pipelines.runs.record import TaskState

_SMALL_SIZE = 12.0
_HEAD_LENGTH = 7.0
_HEAD_HALF_WIDTH = 4.0
_GLYPH_RADIUS = 7.0
_MONOSPACE_EM = 0.61
# Untaken branches and tasks that never ran step back.
_IDLE_STATES = ("skipped", "pending")

# Light and dark, under the name of the page's own variable: in a report a drawing looks like part of it.
COLOURS = {
    "card": ("#ffffff", "#1d2026"),
    "ground": ("#f6f7f9", "#14161a"),
    "ink": ("#1a1d23", "#e8eaee"),
    "quiet": ("#5b6371", "#9fa8b6"),
    "line": ("#dfe3ea", "#343a44"),
    "good": ("#17703c", "#6fd39a"),
    "bad": ("#b3261e", "#ff8f86"),
    "doubt": ("#855600", "#f0bd5b"),
    "accent": ("#2457d6", "#7ea2ff"),
}
COLOUR_BY_STATE = {
    "succeeded": "good",
    "failed": "bad",
    "interrupted": "doubt",
    "running": "accent",
    "skipped": "quiet",
    "pending": "quiet",
}
# In a square from -7 to 7: the solid shape, then the mark upon it. No two states share both.
_GLYPH_BY_STATE = {
    "succeeded": ('<circle class="solid" r="7"/>', "M-3.2 .2 -.9 2.6 3.4 -2.4"),
    "failed": (
        '<path class="solid" d="M-2.9 -7H2.9L7 -2.9V2.9L2.9 7H-2.9L-7 2.9V-2.9Z"/>',
        "M-2.6 -2.6 2.6 2.6M2.6 -2.6 -2.6 2.6",
    ),
    "interrupted": ('<path class="solid" d="M0 -7.6 7.6 0 0 7.6 -7.6 0Z"/>', "M0 -3.4V.8M0 3.2V3.3"),
    "running": ('<path class="solid" d="M-5 -7 7 0 -5 7Z"/>', ""),
    "skipped": ('<circle class="hollow" r="6.2"/>', "M-2.8 0H2.8"),
    "pending": ('<circle class="hollow" r="6.2"/>', ""),
}


def svg(dag: Dag, *, states: Mapping[str, TaskState] | None = None, seconds: Mapping[str, float] | None = None) -> str:
    """Draw `dag` from top to bottom, with an arrow for every direct need and a frame for every branch.

    The same arguments give the same bytes. Colours follow the reader's light or dark scheme; in a page that defines
    them, its variables (--ink, --line, …).

    Args:
        dag: the pipeline.
        states: the state of each task by name; None draws the pipeline itself, with its components' names.
        seconds: how long each task took, by name.
    """
    layout = arrange(dag)
    tasks = {task.name: task for task in dag.tasks}
    parts = [
        _head(dag, layout, states),
        *(_frame(frame) for frame in layout.frames),
        *(_arrow(arrow, states) for arrow in layout.arrows),
        *(_box(box, tasks[box.task], states, (seconds or {}).get(box.task, 0.0)) for box in layout.boxes),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _head(dag: Dag, layout: Layout, states: Mapping[str, TaskState] | None) -> str:
    size = f'width="{_number(layout.width)}" height="{_number(layout.height)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tunelane-dag" role="img" '
        f'viewBox="0 0 {_number(layout.width)} {_number(layout.height)}" {size}>\n'
        f"<title>{escape(dag.display_name)}</title>\n<desc>{escape(_described(dag, states))}</desc>\n"
        f"<style>\n{_style()}</style>\n"
        f'<rect class="sheet" {size} rx="10"/>'
    )


def _style() -> str:
    """The drawing's own rules; every selector begins with its class, so that none reaches into a page."""
    light, dark = (
        " ".join(f"--dag-{name}: var(--{name}, {pair[scheme]});" for name, pair in COLOURS.items()) for scheme in (0, 1)
    )
    states = "\n".join(
        f".tunelane-dag .{state} {{ --dag-state: var(--dag-{colour}); }}" for state, colour in COLOUR_BY_STATE.items()
    )
    return f"""\
.tunelane-dag {{ {light}
  width: auto; max-width: 100%; height: auto; }}
@media (prefers-color-scheme: dark) {{ .tunelane-dag {{ {dark} }} }}
.tunelane-dag .sheet {{ fill: var(--dag-card); }}
.tunelane-dag .dag-frame {{ fill: none; stroke: var(--dag-quiet); stroke-opacity: .6; stroke-dasharray: 3 4; }}
.tunelane-dag .dag-box {{ fill: var(--dag-ground); stroke: var(--dag-line); stroke-width: 1.2; }}
.tunelane-dag .dag-arrow {{ fill: none; stroke: var(--dag-quiet); stroke-width: 1.5; }}
.tunelane-dag .dag-tip {{ fill: var(--dag-quiet); }}
.tunelane-dag text {{ font: 500 {NAME_SIZE:g}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  fill: var(--dag-ink); }}
.tunelane-dag .dag-small {{ font-size: {_SMALL_SIZE:g}px; font-weight: 400; fill: var(--dag-quiet); }}
.tunelane-dag .dag-code {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
.tunelane-dag .dag-idle text {{ fill: var(--dag-quiet); font-weight: 400; }}
.tunelane-dag .dag-idle .dag-box {{ fill: none; stroke: var(--dag-quiet); stroke-opacity: .6; stroke-dasharray: 3 4; }}
.tunelane-dag .dag-arrow.dag-idle {{ stroke-opacity: .6; stroke-dasharray: 4 4; }}
.tunelane-dag .dag-tip.dag-idle {{ fill-opacity: .6; }}
{states}
.tunelane-dag .solid {{ fill: var(--dag-state); }}
.tunelane-dag .hollow {{ fill: none; stroke: var(--dag-state); stroke-width: 1.6; }}
.tunelane-dag .mark {{ fill: none; stroke: var(--dag-ground); stroke-width: 1.9; stroke-linecap: round; }}
.tunelane-dag .hollow + .mark {{ stroke: var(--dag-state); }}
.tunelane-dag .failed .dag-box, .tunelane-dag .running .dag-box, .tunelane-dag .interrupted .dag-box {{
  stroke: var(--dag-state); stroke-width: 1.8; }}
"""


def _frame(frame: Frame) -> str:
    # The left half of the head: arrows come in through the middle.
    name = shortened(frame.branch, _SMALL_SIZE, frame.width / 2 - 2 * BOX_PADDING)
    x, y, across, down = map(_number, frame[1:])
    return (
        f'<g><title>{escape(frame.branch)}</title><rect class="dag-frame" x="{x}" y="{y}" width="{across}" '
        f'height="{down}" rx="10"/><text class="dag-small" x="{_number(frame.x + BOX_PADDING)}" '
        f'y="{_number(frame.y + FRAME_HEAD - 9)}">{escape(name)}</text></g>'
    )


def _arrow(arrow: Arrow, states: Mapping[str, TaskState] | None) -> str:
    idle = " dag-idle" if states is not None and _state(states, arrow.target) in _IDLE_STATES else ""
    *points, (x, y) = arrow.points
    # The line ends where the head begins, so that it does not show through the point.
    points.append((x, y - _HEAD_LENGTH))
    path = f"M{_point(points[0])}"
    for start, end in pairwise(points):
        path += f"V{_number(end[1])}" if start[0] == end[0] else _curve(start, end)
    head = f"M{_number(x - _HEAD_HALF_WIDTH)} {_number(y - _HEAD_LENGTH)}h{2 * _HEAD_HALF_WIDTH:g}L{_point((x, y))}Z"
    return f'<path class="dag-arrow{idle}" d="{path}"/><path class="dag-tip{idle}" d="{head}"/>'


def _box(box: Box, task: DagTask, states: Mapping[str, TaskState] | None, seconds: float) -> str:
    state: TaskState | Literal[""] = "" if states is None else _state(states, task.name)
    classes = " ".join(filter(None, ("dag-task", state, "dag-idle" if state in _IDLE_STATES else "")))
    said = ", ".join(filter(None, (task.display_name, state, duration(seconds) if seconds else "")))
    x, y, across, down = map(_number, (box.x, box.y, box.width, box.height))
    lines = "".join(
        f'<text x="{_number(box.x + BOX_PADDING)}" y="{_number(box.y + 19 + number * NAME_LINE)}">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    )
    baseline = box.y + 21 + NAME_LINE * len(box.lines)
    last = _state_line(box, state, seconds, baseline) if state else _component_line(box, task, baseline)
    return (
        f'<g class="{classes}"><title>{escape(said)}</title>'
        f'<rect class="dag-box" x="{x}" y="{y}" width="{across}" height="{down}" rx="8"/>{lines}{last}</g>'
    )


def _component_line(box: Box, task: DagTask, baseline: float) -> str:
    fits = int((box.width - 2 * BOX_PADDING) / (_MONOSPACE_EM * _SMALL_SIZE))
    name = task.component if len(task.component) <= fits else f"{task.component[: fits - 1]}…"
    place = f'x="{_number(box.x + BOX_PADDING)}" y="{_number(baseline)}"'
    return f'<text class="dag-small dag-code" {place}>{escape(name)}</text>'


def _state_line(box: Box, state: TaskState, seconds: float, baseline: float) -> str:
    """The state's glyph, and in words how long it took, or what became of it."""
    shape, mark = _GLYPH_BY_STATE[state]
    marked = f'<path class="mark" d="{mark}"/>' if mark else ""
    left = box.x + BOX_PADDING
    text_left = left + 2 * _GLYPH_RADIUS + 7
    words: str = state
    if seconds and state not in _IDLE_STATES:
        took = duration(seconds) if state == "succeeded" else f"{state}, {duration(seconds)}"
        # What became of a task comes before how long it took.
        words = took if width(took, _SMALL_SIZE) <= box.x + box.width - 4 - text_left else state
    return (
        f'<g transform="translate({_number(left + _GLYPH_RADIUS)} {_number(baseline - 4)})">{shape}{marked}</g>'
        f'<text class="dag-small" x="{_number(text_left)}" y="{_number(baseline)}">{words}</text>'
    )


def _state(states: Mapping[str, TaskState], task: str) -> TaskState:
    return states.get(task, "pending")


def _described(dag: Dag, states: Mapping[str, TaskState] | None) -> str:
    """The drawing in words: every task, what it waits for, and its state."""
    names = {task.name: task.display_name for task in dag.tasks}
    needs = direct_needs(dag.tasks)
    said = []
    for task in dag.tasks:
        after = ", ".join(names[need] for need in needs[task.name] if need in names)
        branch = f" (branch {task.branch})" if task.branch else ""
        state = f": {_state(states, task.name)}" if states is not None else ""
        said.append(f"{task.display_name}{branch}{f' after {after}' if after else ''}{state}.")
    return " ".join([f"{len(dag.tasks)} tasks.", *said])


def _curve(start: Point, end: Point) -> str:
    """A leg between two rows: down, across, down."""
    middle = (start[1] + end[1]) / 2
    return f"C{_point((start[0], middle))} {_point((end[0], middle))} {_point(end)}"


def _point(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    """With one decimal at most: short, and the same on every machine."""
    return f"{round(value, 1):g}"
