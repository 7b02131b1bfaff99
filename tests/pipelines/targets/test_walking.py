"""Every task that runs a container is found once, with the groups it stands under, after what it waits for."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.targets.walking import container_tasks


def _task(component: str, *needs: str) -> dict[str, Any]:
    return {"componentRef": {"name": component}, "dependentTasks": list(needs)}


def test_tasks_of_groups_stand_where_their_group_does() -> None:
    spec = {
        "root": {
            "dag": {"tasks": {"last": _task("plain", "if"), "if": _task("group", "first"), "first": _task("plain")}}
        },
        "components": {
            "plain": {"executorLabel": "exec"},
            "group": {"dag": {"tasks": {"inside": _task("inner")}}},
            "inner": {"dag": {"tasks": {"deep": _task("plain")}}},
        },
    }
    assert list(container_tasks(spec)) == [("first", ()), ("deep", ("if", "inside")), ("last", ())]


def test_a_spec_without_a_dag_has_no_tasks() -> None:
    assert list(container_tasks({})) == []


@given(st.lists(st.booleans(), max_size=12), st.randoms())
def test_what_a_task_waits_for_comes_before_it(waits: list[bool], shuffled: Any) -> None:
    names = [f"t{number}" for number in range(len(waits))]
    tasks = {
        name: _task("plain", *(names[:number] if is_waiting else []))
        for number, (name, is_waiting) in enumerate(zip(names, waits, strict=True))
    }
    order = list(tasks)
    shuffled.shuffle(order)
    spec = {"root": {"dag": {"tasks": {name: tasks[name] for name in order}}}, "components": {"plain": {}}}
    found = [name for name, _ in container_tasks(spec)]
    assert sorted(found) == sorted(names)
    for name in names:
        assert all(found.index(need) < found.index(name) for need in tasks[name]["dependentTasks"])
