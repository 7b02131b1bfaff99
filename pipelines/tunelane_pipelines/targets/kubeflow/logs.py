"""The logs of tasks: by the server's own route where it is open to us, else in words: the command that reads them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

from tunelane_pipelines.targets.errors import Refused
from tunelane_pipelines.targets.kubeflow.client import Api, NoSuchRoute
from tunelane_pipelines.targets.target import LogLine, RemoteTask
from tunelane_pipelines.targets.walking import container_tasks

_DEFAULT_NAMESPACE = "kubeflow"

# What the container of a task is called in the workflow, and its pod's template without retries and with them:
# https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/compiler/argocompiler/container.go
_ROOT, _CONTAINER = "root", "executor"
_ONCE, _RETRIED = "system-container-impl", "retry-system-container-impl"


def log_command(run_id: str, namespace: str) -> str:
    """Give the command that prints what a run's tasks wrote.

    Every pod of a run has the label pipeline/runid:
    https://github.com/kubeflow/pipelines/blob/master/backend/src/common/util/consts.go
    """
    where = f"--namespace {namespace or _DEFAULT_NAMESPACE}"
    return f"kubectl logs {where} --selector pipeline/runid={run_id} --container main --prefix --tail -1"


def read_logs(api: Api, run: Any, spec: dict[str, Any], tasks: tuple[RemoteTask, ...], namespace: str) -> list[LogLine]:
    """Give what tasks wrote, oldest first, one task after the other; a task that has not begun wrote nothing.

    A log has no times: each line has that of its task's start. Where a task's is gone, a line says so.

    Args:
        api: the installation's.
        run: its `V2beta1Run`.
        spec: the pipeline's.
        tasks: those that are wanted.
        namespace: the user's; empty for an installation without users.

    Raises:
        Refused: the installation has no route for logs, or all of them are gone; names the command that reads them.
    """
    begun = sorted((task for task in tasks if task.started_at and task.state != "skipped"), key=_start)
    groups_by_task = dict(container_tasks(spec))
    command = log_command(run.run_id, namespace)
    lines: list[LogLine] = []
    is_any_left = not begun
    for task in begun:
        tries = list(_tries(run, task.name, groups_by_task[task.name])) or [_named_pods(run, task.name)]
        try:
            found = [text for pods in tries if (text := _first(api, run.run_id, pods)) is not None]
        except NoSuchRoute:
            raise Refused(f"This Kubeflow does not serve logs. Read them with: {command}") from None
        is_any_left = is_any_left or bool(found)
        # Before its pod is there, and after it has been taken away.
        texts = found or [f"(No log here. Read it with: {command})"]
        lines += [LogLine(_start(task), task.name, line) for text in texts for line in text.splitlines()]
    if not is_any_left:
        raise Refused(f"Kubeflow has no log of these tasks, or no more. Read them with: {command}")
    return lines


def _start(task: RemoteTask) -> datetime:
    return task.started_at or datetime.fromtimestamp(0, UTC)


def _first(api: Api, run_id: str, pods: list[str]) -> str | None:
    """What the first of these pods that is there wrote."""
    return next((text for pod in pods if (text := api.log(run_id, pod)) is not None), None)


def _tries(run: Any, task: str, groups: tuple[str, ...]) -> Iterator[list[str]]:
    """For each try of a task the names that its pod can have.

    The API has a field for them and leaves it empty (`toApiPipelineTaskDetail` in
    https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/server/api_converter.go). What it gives are
    the ids of the workflow's nodes, each as the child of another; and such an id is the workflow's name and a hash of
    the node's: https://github.com/argoproj/argo-workflows/blob/main/pkg/apis/workflow/v1alpha1/workflow_types.go
    (`NodeID`). A pod is called by workflow, template and the same hash; or by the node's id, where POD_NAMES is v1:
    https://github.com/argoproj/argo-workflows/blob/main/workflow/util/pod_name.go
    """
    nodes = {child.pod_name for detail in _details(run) for child in detail.child_tasks or [] if child.pod_name}
    for workflow in sorted({node.rpartition("-")[0] for node in nodes}):
        path = ".".join((workflow, _ROOT, *groups, task, _CONTAINER))
        if _node(workflow, f"{path}(0)") not in nodes:
            if _node(workflow, path) in nodes:
                yield _pods(workflow, path, _ONCE)
            continue
        for number in count():
            if _node(workflow, f"{path}({number})") not in nodes:
                break
            yield _pods(workflow, f"{path}({number})", _RETRIED)


def _named_pods(run: Any, task: str) -> list[str]:
    """The pods that the service names after all."""
    return [detail.pod_name for detail in _details(run) if detail.display_name == task and detail.pod_name]


def _details(run: Any) -> list[Any]:
    return (run.run_details.task_details or []) if run.run_details else []


def _pods(workflow: str, path: str, template: str) -> list[str]:
    return [f"{workflow}-{template}-{_hash(path)}", _node(workflow, path)]


def _node(workflow: str, path: str) -> str:
    return f"{workflow}-{_hash(path)}"


def _hash(text: str) -> int:
    """FNV-1a of 32 bits, as Go's New32a has it: https://pkg.go.dev/hash/fnv."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value
