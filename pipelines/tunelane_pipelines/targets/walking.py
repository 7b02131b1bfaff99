"""The tasks of a compiled pipeline that run a container, in whichever branch they stand.

A component that is a DAG itself is a group (a condition, a loop): its tasks stand under it.
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto
"""

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any


def container_tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give each task that runs a container, after what it waits for, with the groups that it stands under.

    Args:
        spec: a `PipelineSpec` as JSON; one without a DAG has no tasks.
    """
    yield from _below(spec.get("components", {}), spec.get("root", {}).get("dag", {}), ())


def _below(
    components: Mapping[str, Any], dag: Mapping[str, Any], groups: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    tasks = dag.get("tasks", {})
    needs = {name: sorted(tasks[name].get("dependentTasks", ())) for name in sorted(tasks)}
    for name in TopologicalSorter(needs).static_order():
        component = components.get(tasks[name].get("componentRef", {}).get("name", ""), {})
        if "dag" in component:
            yield from _below(components, component["dag"], (*groups, name))
        else:
            yield name, groups
