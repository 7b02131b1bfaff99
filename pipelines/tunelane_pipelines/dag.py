"""A pipeline's tasks in the order that they can run in, read from what kfp compiled."""

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any, NamedTuple


class DagTask(NamedTuple):
    """One task: its name in the DAG ("train-lora"), its name for people, its component ("train_lora").

    `needs` are the tasks that must end before it; `branch` is the name of the condition it stands under ("promote"), or
    empty.
    """

    name: str
    display_name: str
    component: str
    needs: tuple[str, ...] = ()
    branch: str = ""


class Dag(NamedTuple):
    """A pipeline for people: its names, what it does, and its tasks, each after all that it needs."""

    name: str
    display_name: str
    description: str
    tasks: tuple[DagTask, ...]


def read_dag(pipeline: Any) -> Dag:
    """Read the DAG of what `@dsl.pipeline` made.

    A task under a condition needs whatever its condition waits for; one that waits for a group (a loop, the branches of
    a condition) needs every task in it. A branch that is begun is told to its end as far as that can be; else tasks
    that could run at the same time stand in the order of their names, whatever order kfp wrote them in.
    """
    spec = pipeline.pipeline_spec
    groups: dict[str, list[str]] = {}
    found = {task.name: task for task in _tasks(spec, spec.root.dag, groups, around=(), needs=(), branch="")}
    for name, task in found.items():
        needs = {inner for need in task.needs for inner in groups.get(need, [need])}
        found[name] = task._replace(needs=tuple(sorted(needs)))
    info = spec.pipeline_info
    return Dag(info.name, info.display_name or info.name, info.description, tuple(_in_order(found)))


def direct_needs(tasks: tuple[DagTask, ...]) -> dict[str, tuple[str, ...]]:
    """What each task waits for last: `needs` without those that another need waits for already.

    This is the transitive reduction of the DAG: the fewest arrows that say the same.
    """
    needs = {task.name: task.needs for task in tasks}
    ancestors: dict[str, set[str]] = {}
    for task in tasks:
        ancestors[task.name] = set(task.needs).union(*(ancestors.get(need, set()) for need in task.needs))
    return {
        name: tuple(need for need in wanted if not any(need in ancestors.get(other, set()) for other in wanted))
        for name, wanted in needs.items()
    }


def _in_order(found: Mapping[str, DagTask]) -> Iterator[DagTask]:
    sorter = TopologicalSorter({name: task.needs for name, task in found.items()})
    sorter.prepare()
    ready: list[str] = []
    branch = ""
    while sorter.is_active():
        ready += sorter.get_ready()
        name = min(ready, key=lambda name: (found[name].branch != branch, name))
        ready.remove(name)
        sorter.done(name)
        branch = found[name].branch
        yield found[name]


def _tasks(
    spec: Any, dag: Any, groups: dict[str, list[str]], *, around: tuple[str, ...], needs: tuple[str, ...], branch: str
) -> Iterator[DagTask]:
    """Every task that runs a container, with what it and the groups around it wait for; fills in who is in a group."""
    for name, task in sorted(dag.tasks.items()):
        wanted = tuple(sorted({*needs, *task.dependent_tasks}))
        component = spec.components[task.component_ref.name]
        if component.HasField("dag"):
            # The group of all branches has no condition of its own.
            inner = task.task_info.name if task.trigger_policy.condition else branch
            groups[name] = []
            yield from _tasks(spec, component.dag, groups, around=(*around, name), needs=wanted, branch=inner)
        else:
            for group in around:
                groups[group].append(name)
            yield DagTask(name, task.task_info.name or name, _function(spec, component), wanted, branch)


def _function(spec: Any, component: Any) -> str:
    """The component's name, which is that of the function it runs: two tasks of one component have it in common."""
    executor = spec.deployment_spec["executors"][component.executor_label]
    return str(executor["container"]["args"][-1])
