"""Where things stand in a drawing, whatever the DAG."""

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_pipelines.dag import Dag, DagTask, direct_needs
from tunelane_pipelines.drawing.layout import arrange

# Coordinates are sums of floats.
_EPSILON = 1e-6
Rectangle = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def check(any_dag: st.SearchStrategy[Dag]) -> Any:
    """Run a check on many DAGs."""

    def run(on: Any) -> None:
        settings(max_examples=120, derandomize=True)(given(any_dag)(on))()

    return run


def _corners(item: Any) -> Rectangle:
    return item.x, item.y, item.x + item.width, item.y + item.height


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return (
        one[0] < other[2] - _EPSILON
        and other[0] < one[2] - _EPSILON
        and one[1] < other[3] - _EPSILON
        and other[1] < one[3] - _EPSILON
    )


def _holds(outer: Rectangle, inner: Rectangle) -> bool:
    return (
        outer[0] <= inner[0] + _EPSILON
        and outer[1] <= inner[1] + _EPSILON
        and inner[2] <= outer[2] + _EPSILON
        and inner[3] <= outer[3] + _EPSILON
    )


def test_every_task_has_one_box_and_no_two_overlap(check: Any) -> None:
    def holds(dag: Dag) -> None:
        boxes = arrange(dag).boxes
        assert sorted(box.task for box in boxes) == sorted(task.name for task in dag.tasks)
        assert not any(_overlap(_corners(one), _corners(other)) for one, other in combinations(boxes, 2))

    check(holds)


def test_everything_stands_inside_the_drawing(check: Any) -> None:
    def holds(dag: Dag) -> None:
        layout = arrange(dag)
        sheet = (0.0, 0.0, layout.width, layout.height)
        assert all(_holds(sheet, _corners(item)) for item in (*layout.boxes, *layout.frames))
        points = [point for arrow in layout.arrows for point in arrow.points]
        assert all(_holds(sheet, (x, y, x, y)) for x, y in points)

    check(holds)


def test_there_is_an_arrow_for_every_direct_need_and_no_other(check: Any) -> None:
    def holds(dag: Dag) -> None:
        drawn = sorted((arrow.source, arrow.target) for arrow in arrange(dag).arrows)
        assert drawn == sorted((need, name) for name, needs in direct_needs(dag.tasks).items() for need in needs)

    check(holds)


def test_arrows_run_downwards_from_box_to_box(check: Any) -> None:
    def holds(dag: Dag) -> None:
        layout = arrange(dag)
        boxes = {box.task: box for box in layout.boxes}
        for arrow in layout.arrows:
            source, target = boxes[arrow.source], boxes[arrow.target]
            assert arrow.points[0] == pytest.approx((source.x + source.width / 2, source.y + source.height))
            assert arrow.points[-1] == pytest.approx((target.x + target.width / 2, target.y))
            assert all(start[1] < end[1] for start, end in pairwise(arrow.points))

    check(holds)


def test_no_arrow_leads_through_a_box(check: Any) -> None:
    def holds(dag: Dag) -> None:
        layout = arrange(dag)
        # A leg is drawn as a curve that stays within the rectangle of its ends.
        legs = [
            (min(x, to_x), y, max(x, to_x), to_y)
            for arrow in layout.arrows
            for (x, y), (to_x, to_y) in pairwise(arrow.points)
        ]
        assert not any(_overlap(leg, _corners(box)) for leg in legs for box in layout.boxes)

    check(holds)


def test_a_frame_holds_its_branch_and_nothing_else(check: Any) -> None:
    def holds(dag: Dag) -> None:
        layout = arrange(dag)
        branches = {task.name: task.branch for task in dag.tasks}
        assert {frame.branch for frame in layout.frames} == set(branches.values()) - {""}
        for frame in layout.frames:
            for box in layout.boxes:
                inside = _holds(_corners(frame), _corners(box))
                assert inside if branches[box.task] == frame.branch else not _overlap(_corners(frame), _corners(box))
        assert not any(_overlap(_corners(one), _corners(other)) for one, other in combinations(layout.frames, 2))

    check(holds)


def test_the_pipelines_fit_a_phone_in_their_own_size(catalog: dict[str, Dag]) -> None:
    for dag in catalog.values():
        assert 340 <= arrange(dag).width <= 370


def test_a_row_of_many_tasks_is_broken() -> None:
    tasks = tuple(DagTask(f"task-{number}", "Task", "component") for number in range(12))
    layout = arrange(Dag("wide", "Wide", "", tasks))
    assert layout.width <= 520
    assert len({box.y for box in layout.boxes}) == 4


def test_branches_stand_side_by_side(catalog: dict[str, Dag]) -> None:
    promote, otherwise = arrange(catalog["train-classifier"]).frames
    assert (promote.branch, otherwise.branch) == ("promote", "otherwise")
    assert promote.x + promote.width < otherwise.x
    assert promote.y == otherwise.y


def test_a_chain_stands_in_one_line(catalog: dict[str, Dag]) -> None:
    trunk = [task.name for task in catalog["train-classifier"].tasks if not task.branch]
    layout = arrange(catalog["train-classifier"])
    assert len({round(box.x, 3) for box in layout.boxes if box.task in trunk}) == 1


def test_a_need_that_is_no_task_of_the_dag_is_passed_over() -> None:
    dag = Dag("part", "Part", "", (DagTask("gate", "Gate", "gate_model", ("condition-1",)),))
    assert arrange(dag).arrows == ()


def test_a_dag_of_nothing_is_drawn_empty() -> None:
    assert arrange(Dag("none", "None", "", ())).boxes == ()
