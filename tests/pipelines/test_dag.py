"""DAGs read from what kfp compiled: order, needs, branches, and the fewest arrows that say the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.dag import Dag, DagTask, direct_needs, read_dag


@dsl.component(base_image="tunelane/trainer:python3.11", install_kfp_package=False)
def judge(text: str = "") -> str:
    return text


@dsl.component(base_image="tunelane/trainer:python3.11", install_kfp_package=False)
def numbers(text: str = "") -> list:
    return [text]


@dsl.component(base_image="tunelane/trainer:python3.11", install_kfp_package=False)
def total(numbers: list) -> int:
    return len(numbers)


@dsl.component(base_image="tunelane/trainer:python3.11", install_kfp_package=False)
def clean_up(text: str = "") -> None:
    del text


def _needs(dag: Dag) -> dict[str, tuple[str, ...]]:
    return {task.name: task.needs for task in dag.tasks}


def _assert_in_order(dag: Dag) -> None:
    seen: set[str] = set()
    for task in dag.tasks:
        assert set(task.needs) <= seen, f"{task.name} stands before what it needs"
        seen.add(task.name)


@dsl.pipeline(name="nested", display_name="Nested conditions", description="Two gates, one in the other.")
def _nested() -> None:
    first = judge(text="a").set_display_name("First judge")
    with dsl.If(first.output == "a", name="good"):
        second = judge(text=first.output)
        with dsl.If(second.output == "a", name="better"):
            clean_up(text=second.output)
        with dsl.Else(name="worse"):
            judge(text="b")
    with dsl.Else(name="bad"):
        clean_up(text="bad")


def test_a_task_stands_under_its_innermost_condition_and_needs_what_the_outer_ones_wait_for() -> None:
    dag = read_dag(_nested)
    assert (dag.name, dag.display_name, dag.description) == (
        "nested",
        "Nested conditions",
        "Two gates, one in the other.",
    )
    assert {task.name: (task.branch, task.needs) for task in dag.tasks} == {
        "judge": ("", ()),
        "judge-2": ("good", ("judge",)),
        "clean-up": ("better", ("judge", "judge-2")),
        "judge-3": ("worse", ("judge", "judge-2")),
        "clean-up-2": ("bad", ("judge",)),
    }
    _assert_in_order(dag)


def test_two_tasks_of_one_component_have_its_name_and_their_own() -> None:
    tasks = {task.name: task for task in read_dag(_nested).tasks}
    assert [tasks[name].component for name in ("judge", "judge-2", "judge-3")] == ["judge"] * 3
    assert (tasks["judge"].display_name, tasks["judge-2"].display_name) == ("First judge", "judge-2")
    assert tasks["clean-up"].component == "clean_up"


@dsl.pipeline(name="loop")
def _loop() -> None:
    made = numbers(text="a")
    with dsl.ParallelFor(made.output) as item:
        judged = judge(text=item)
        judge(text=judged.output)
    total(numbers=dsl.Collected(judged.output))


def test_what_collects_a_loop_comes_after_all_of_it() -> None:
    dag = read_dag(_loop)
    assert dag.display_name == "loop"
    assert _needs(dag) == {
        "numbers": (),
        "judge": ("numbers",),
        "judge-2": ("judge", "numbers"),
        "total": ("judge", "judge-2"),
    }
    _assert_in_order(dag)


@dsl.pipeline(name="guarded")
def _guarded() -> None:
    # Its name is the first of all: without the group's members it would stand first.
    last = clean_up(text="always")
    with dsl.ExitHandler(last):
        total(numbers=numbers(text="a").output)


def test_an_exit_handler_comes_last() -> None:
    dag = read_dag(_guarded)
    assert _needs(dag) == {"numbers": (), "total": ("numbers",), "clean-up": ("numbers", "total")}
    _assert_in_order(dag)


@dsl.pipeline(name="either")
def _either() -> None:
    first = judge(text="a")
    with dsl.If(first.output == "a"):
        one = judge(text="b")
    with dsl.Else():
        other = judge(text="c")
    clean_up(text=dsl.OneOf(one.output, other.output))


def test_what_takes_one_of_two_branches_needs_both() -> None:
    dag = read_dag(_either)
    assert _needs(dag)["clean-up"] == ("judge-2", "judge-3")
    _assert_in_order(dag)


@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
def test_every_pipeline_of_the_catalog_reads_in_order(name: str) -> None:
    dag = read_dag(load_pipeline(name))
    assert dag.name == name
    assert dag.description
    assert all(task.display_name != task.name for task in dag.tasks), "a name for people is missing"
    _assert_in_order(dag)
    assert read_dag(load_pipeline(name)) == dag


def test_the_main_pipeline_has_two_branches_after_its_gate() -> None:
    tasks = {task.name: task for task in read_dag(load_pipeline("train-classifier")).tasks}
    assert {name for name, task in tasks.items() if task.branch == "promote"} == {
        "register-candidate",
        "deploy",
        "smoke-test",
        "confirm-champion",
    }
    assert [name for name, task in tasks.items() if task.branch == "otherwise"] == ["report-verdict"]
    assert direct_needs(tuple(tasks.values()))["deploy"] == ("register-candidate",)


@st.composite
def _dags(draw: Any) -> tuple[DagTask, ...]:
    tasks: list[DagTask] = []
    for number in range(draw(st.integers(0, 9))):
        names = [task.name for task in tasks]
        needs = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        tasks.append(DagTask(f"t{number}", "", "", tuple(needs)))
    return tuple(tasks)


def _reached(needs: dict[str, tuple[str, ...]], name: str) -> set[str]:
    return set(needs[name]).union(*(_reached(needs, need) for need in needs[name]))


@given(_dags())
def test_the_direct_needs_reach_as_far_with_no_arrow_too_many(tasks: tuple[DagTask, ...]) -> None:
    all_needs = {task.name: task.needs for task in tasks}
    direct = direct_needs(tasks)
    for name in all_needs:
        assert set(direct[name]) <= set(all_needs[name])
        assert _reached(direct, name) == _reached(all_needs, name)
        for need in direct[name]:
            others = {**direct, name: tuple(other for other in direct[name] if other != need)}
            assert need not in _reached(others, name), f"{need} → {name} says nothing"
