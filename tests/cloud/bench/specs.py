"""Compiled pipelines: a small one to submit, and the order of the tasks of any."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.cloud.bench.errors import invalid

_IMAGE = "europe-west4-docker.pkg.dev/tunelane-test/tunelane/trainer:1"


def small_spec(*tasks: str, name: str = "small") -> dict[str, Any]:
    """Give a compiled pipeline of such tasks, one after another, with one parameter `n` (an int, 1 by default)."""
    wired = {
        task: {
            "taskInfo": {"name": task},
            "componentRef": {"name": f"comp-{task}"},
            "cachingOptions": {},
            **({"dependentTasks": [tasks[position - 1]]} if position else {}),
        }
        for position, task in enumerate(tasks)
    }
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": name},
        "root": {
            "dag": {"tasks": wired},
            "inputDefinitions": {
                "parameters": {"n": {"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0, "isOptional": True}}
            },
        },
        "components": {f"comp-{task}": {"executorLabel": f"exec-{task}"} for task in tasks},
        "deploymentSpec": {"executors": {f"exec-{task}": {"container": {"image": _IMAGE}} for task in tasks}},
    }


def in_order(tasks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give tasks after those they depend on, otherwise by name: a protobuf map has no order of its own."""
    left = dict(sorted(tasks.items()))
    while left:
        ready = [name for name, task in left.items() if not left.keys() & set(task.dependent_tasks)]
        if not ready:
            raise invalid(f"Invalid pipeline_spec: {', '.join(left)} depend on each other.")
        for name in ready:
            yield name, left.pop(name)
