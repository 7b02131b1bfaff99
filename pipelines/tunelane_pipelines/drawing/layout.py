"""Where everything stands in a drawn DAG: rows from top to bottom, a frame for each branch, arrows around boxes.

Rows are the layers of Sugiyama's method, by the longest path. An arrow over several rows gets a bend in each of them,
which takes a place in the row as a box does: that is what leads it around boxes. Rows in which branches stand are cut
into lanes, one a branch, so that a frame never holds what is not of its branch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple

from tunelane_pipelines.dag import Dag, direct_needs
from tunelane_pipelines.drawing.text import wrapped

BOX_WIDTH = 154.0
FRAME_HEAD = 26.0
"""Height of a frame's head, where the name of its branch stands."""
NAME_SIZE = 13.0
NAME_LINE = 16.0
BOX_PADDING = 10.0

_BOX_HEIGHT = 30.0
"""Height of a box without its name."""
_ROW_GAP = 28.0
_ITEM_GAP = 16.0
_BEND_WIDTH = 12.0
_FRAME_PADDING = 8.0
_LANE_GAP = 10.0
_MARGIN = 6.0
_MINIMUM_WIDTH = 340.0
# Wider rows are broken: the whole has to be readable on a phone.
_BOXES_A_ROW = 3
_BOXES_A_BRANCH_ROW = 2
_SWEEPS = 4

Point = tuple[float, float]
Extent = tuple[float, float]


class Box(NamedTuple):
    """A task's place; x and y are its upper left corner. `lines` are its display name."""

    task: str
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float


class Frame(NamedTuple):
    """A branch's place, around all of its boxes and its head."""

    branch: str
    x: float
    y: float
    width: float
    height: float


class Arrow(NamedTuple):
    """A way from one task to another: from the lower edge of one box to the upper edge of the other.

    Of the legs between its points every second one, the first excepted, passes a row and is vertical; the others lie
    between two rows.
    """

    source: str
    target: str
    points: tuple[Point, ...]


class Layout(NamedTuple):
    """A drawing's measures; the origin is its upper left corner."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]
    arrows: tuple[Arrow, ...]


@dataclass(eq=False)
class _Item:
    """What takes a place in a row: a task's box, or the bend of an arrow. `x` is its middle."""

    row: int
    lane: str
    width: float = _BEND_WIDTH
    task: str = ""
    x: float = 0.0
    above: list["_Item"] = field(default_factory=list)
    below: list["_Item"] = field(default_factory=list)


def arrange(dag: Dag) -> Layout:
    """Place every task, branch and arrow of `dag`, whose tasks stand after all that they need."""
    known = {task.name for task in dag.tasks}
    needs = {name: tuple(n for n in found if n in known) for name, found in direct_needs(dag.tasks).items()}
    row_by_task = _rows(dag, needs)
    spans = _spans(dag, row_by_task)
    items = [_Item(row_by_task[task.name], task.branch, BOX_WIDTH, task.name) for task in dag.tasks]
    item_by_task = {item.task: item for item in items}
    chains = [
        _chain(item_by_task[source], item_by_task[task.name], spans)
        for task in dag.tasks
        for source in needs[task.name]
    ]
    items += [bend for chain in chains for bend in chain[1:-1]]
    count = 1 + max(row_by_task.values(), default=-1)
    rows = [[item for item in items if item.row == row] for row in range(count)]

    width, lanes = _lanes(rows, spans)
    _place(rows, lanes)
    return _measured(dag, rows, lanes, spans, chains, width)


def _rows(dag: Dag, needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The row of each task: one after the last task that it needs, or the next that has a place."""
    rows: dict[str, int] = {}
    taken: Counter[tuple[str, int]] = Counter()
    for task in dag.tasks:
        row = max((rows[need] + 1 for need in needs[task.name]), default=0)
        while taken[task.branch, row] >= (_BOXES_A_BRANCH_ROW if task.branch else _BOXES_A_ROW):
            row += 1
        rows[task.name] = row
        taken[task.branch, row] += 1
    return rows


def _spans(dag: Dag, row_by_task: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The first and last row of each branch, in the order of the DAG."""
    spans: dict[str, tuple[int, int]] = {}
    for task in dag.tasks:
        if task.branch:
            row = row_by_task[task.name]
            first, last = spans.get(task.branch, (row, row))
            spans[task.branch] = min(first, row), max(last, row)
    return spans


def _chain(source: _Item, target: _Item, spans: Mapping[str, tuple[int, int]]) -> list[_Item]:
    """The items that an arrow leads through: its ends, and a bend in every row between them.

    A bend stands in the lane of the arrow's end, else of its start, where that branch has a frame in the row; else
    outside of all frames.
    """
    chain = [source]
    for row in range(source.row + 1, target.row):
        lanes = (end.lane for end in (target, source) if end.lane and spans[end.lane][0] <= row <= spans[end.lane][1])
        chain.append(_Item(row, next(lanes, "")))
    chain.append(target)
    for upper, lower in pairwise(chain):
        upper.below.append(lower)
        lower.above.append(upper)
    return chain


def _blocks(rows: int, spans: Mapping[str, tuple[int, int]]) -> list[list[int]]:
    """The rows in blocks: those that a branch's frame joins stand together, as its lane has one place in all."""
    blocks: list[list[int]] = []
    for row in range(rows):
        if any(first < row <= last for first, last in spans.values()):
            blocks[-1].append(row)
        else:
            blocks.append([row])
    return blocks


def _lanes(rows: list[list[_Item]], spans: Mapping[str, tuple[int, int]]) -> tuple[float, list[dict[str, Extent]]]:
    """The drawing's width, and for every row where each of its lanes begins and ends."""
    order = ("", *spans)
    blocks = _blocks(len(rows), spans)
    widths_by_block = []
    for block in blocks:
        needed = {lane: max(_width(rows[row], lane) for row in block) for lane in order}
        widths_by_block.append({lane: width for lane, width in needed.items() if width})
    totals = [sum(widths.values()) + _LANE_GAP * (len(widths) - 1) for widths in widths_by_block]
    width = max([_MINIMUM_WIDTH, *(total + 2 * _MARGIN for total in totals)])
    lanes: list[dict[str, Extent]] = []
    for block, widths, total in zip(blocks, widths_by_block, totals, strict=True):
        left, extents = (width - total) / 2, {}
        for lane, wide in widths.items():
            extents[lane] = (left, left + wide)
            left += wide + _LANE_GAP
        if list(widths) == [""]:
            # Without frames a box may stand wherever its arrows are shortest.
            extents[""] = (_MARGIN, width - _MARGIN)
        lanes += [extents] * len(block)
    return width, lanes


def _width(row: Sequence[_Item], lane: str) -> float:
    widths = [item.width for item in row if item.lane == lane]
    if not widths:
        return 0.0
    return sum(widths) + _ITEM_GAP * (len(widths) - 1) + (2 * _FRAME_PADDING if lane else 0.0)


def _place(rows: list[list[_Item]], lanes: list[dict[str, Extent]]) -> None:
    """Give every item its x: in the order in which few arrows cross, and near to what it is joined with."""

    def sweep(numbers: Iterable[int], joined: Callable[[_Item], list[_Item]], *, reorder: bool) -> None:
        for number in numbers:
            for lane, extent in lanes[number].items():
                items = [item for item in rows[number] if item.lane == lane]
                if reorder:
                    items.sort(key=lambda item: _middle(joined(item), item.x))
                else:
                    items.sort(key=lambda item: item.x)
                _place_lane(items, lane, extent, joined)

    downwards = range(len(rows))
    upwards = downwards[::-1]
    sweep(downwards, lambda _: [], reorder=False)
    for _ in range(_SWEEPS):
        sweep(downwards, lambda item: item.above, reorder=True)
        sweep(upwards, lambda item: item.below, reorder=True)
    for _ in range(_SWEEPS):
        sweep(downwards, lambda item: item.above + item.below, reorder=False)
        sweep(upwards, lambda item: item.above + item.below, reorder=False)


def _place_lane(items: list[_Item], lane: str, extent: Extent, joined: Callable[[_Item], list[_Item]]) -> None:
    """Place items, in this order, as near to the middle of those they are joined with as their widths allow."""
    if not items:
        return
    padding = _FRAME_PADDING if lane else 0.0
    left, right = extent[0] + padding, extent[1] - padding
    offsets = list(accumulate(((a.width + b.width) / 2 + _ITEM_GAP for a, b in pairwise(items)), initial=0.0))
    wanted = [
        _middle(joined(item), (left + right - offsets[-1]) / 2 + offset) - offset
        for item, offset in zip(items, offsets, strict=True)
    ]
    low, high = left + items[0].width / 2, right - items[-1].width / 2 - offsets[-1]
    for item, offset, x in zip(items, offsets, _isotonic(wanted), strict=True):
        item.x = min(max(x, low), high) + offset


def _middle(items: Sequence[_Item], otherwise: float) -> float:
    return sum(item.x for item in items) / len(items) if items else otherwise


def _isotonic(values: Sequence[float]) -> list[float]:
    """The non-decreasing numbers nearest to `values` in squared distance, by pooling adjacent violators."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    return [mean for mean, size in pools for _ in range(size)]


def _measured(
    dag: Dag,
    rows: list[list[_Item]],
    lanes: list[dict[str, Extent]],
    spans: Mapping[str, tuple[int, int]],
    chains: list[list[_Item]],
    width: float,
) -> Layout:
    """Give rows their heights, and everything its corners."""
    names = {task.name: wrapped(task.display_name, NAME_SIZE, BOX_WIDTH - 2 * BOX_PADDING) for task in dag.tasks}
    tops: list[float] = []
    bottoms: list[float] = []
    for number, row in enumerate(rows):
        top = bottoms[-1] + _ROW_GAP if bottoms else _MARGIN
        top += FRAME_HEAD * any(first == number for first, _ in spans.values())
        tops.append(top)
        bottoms.append(top + _BOX_HEIGHT + NAME_LINE * max(len(names[item.task]) for item in row if item.task))
    boxes = tuple(
        Box(
            item.task,
            names[item.task],
            item.x - BOX_WIDTH / 2,
            tops[item.row],
            BOX_WIDTH,
            bottoms[item.row] - tops[item.row],
        )
        for row in rows
        for item in row
        if item.task
    )
    frames = tuple(
        Frame(
            branch,
            lanes[first][branch][0],
            tops[first] - FRAME_HEAD,
            lanes[first][branch][1] - lanes[first][branch][0],
            bottoms[last] + _FRAME_PADDING - tops[first] + FRAME_HEAD,
        )
        for branch, (first, last) in spans.items()
    )
    arrows = tuple(_arrow(chain, tops, bottoms) for chain in chains)
    ends = [box.y + box.height for box in boxes] + [frame.y + frame.height for frame in frames]
    return Layout(width, max(ends, default=_MARGIN) + _MARGIN, boxes, frames, arrows)


def _arrow(chain: Sequence[_Item], tops: Sequence[float], bottoms: Sequence[float]) -> Arrow:
    source, *bends, target = chain
    points = [(source.x, bottoms[source.row])]
    for bend in bends:
        points += [(bend.x, tops[bend.row]), (bend.x, bottoms[bend.row])]
    points.append((target.x, tops[target.row]))
    return Arrow(source.task, target.task, tuple(points))
