"""What the service says of a run, as `RemoteRun`.

Source: `PipelineJob` and `PipelineTaskDetail`, at
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from tunelane_pipelines.targets.target import ENDED_STATES, RUN_LABEL, RemoteRun, RemoteState, RemoteTask, TaskState
from tunelane_pipelines.targets.vertex.request import PIPELINE_LABEL
from tunelane_pipelines.targets.walking import container_tasks

_CONSOLE = "https://console.cloud.google.com"
_STATES: dict[str, RemoteState] = {
    "PIPELINE_STATE_QUEUED": "pending",
    "PIPELINE_STATE_PENDING": "pending",
    "PIPELINE_STATE_RUNNING": "running",
    "PIPELINE_STATE_SUCCEEDED": "succeeded",
    "PIPELINE_STATE_FAILED": "failed",
    "PIPELINE_STATE_CANCELLING": "running",
    "PIPELINE_STATE_CANCELLED": "cancelled",
    "PIPELINE_STATE_PAUSED": "running",
}
# The service says skipped where it took an earlier result, and not triggered where a condition did not hold.
_TASK_STATES: dict[str, TaskState] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "CANCEL_PENDING": "running",
    "CANCELLING": "running",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "SKIPPED": "succeeded",
    "NOT_TRIGGERED": "skipped",
}
# Where several runs of one task stand in the details (the rounds of a loop), the first of these that one has counts.
_MOST_TELLING: tuple[TaskState, ...] = ("failed", "running", "pending", "cancelled", "succeeded", "skipped")


class _Resource(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    resource_uri: str = ""


class _GcpResources(msgspec.Struct):
    """What a launcher writes, as far as it is read here."""

    resources: list[_Resource] = []


def read_run(job: Any, project: str) -> RemoteRun:
    """Read a `PipelineJob`, of a list or with everything in it.

    Args:
        job: the message.
        project: the project's id, for links; the service writes its number into names.
    """
    from google.protobuf import json_format

    spec = json_format.MessageToDict(type(job).pb(job).pipeline_spec)
    labels = dict(job.labels)
    state = _STATES.get(job.state.name, "pending")
    tasks = tuple(_tasks(job, spec, state in ENDED_STATES, project))
    region, _, identifier = job.name.split("/")[3:6]
    return RemoteRun(
        resource=job.name,
        # A schedule's runs have its label, and copies that others make of a run have that run's.
        run_id=identifier if labels.get(RUN_LABEL) == identifier else "",
        display_name=job.display_name,
        pipeline=labels.get(PIPELINE_LABEL, "") or spec.get("pipelineInfo", {}).get("name", ""),
        state=state,
        created_at=read_time(job.create_time) or datetime.now(UTC),
        console_url=f"{_CONSOLE}/vertex-ai/locations/{region}/pipelines/runs/{identifier}?project={project}",
        ended_at=read_time(job.end_time),
        error=_error(job, tasks) if state in ("failed", "cancelled") else "",
        tasks=tasks,
        schedule=job.schedule_name,
        parameters=_parameters(job, spec),
    )


def job_ids_by_task(job: Any) -> dict[str, list[str]]:
    """Give the ids of the custom jobs of each task: of failed tries, of the last one, and what a launcher made."""
    found: dict[str, list[str]] = {}
    for detail in job.job_detail.task_details:
        container, custom = detail.executor_detail.container_detail, detail.executor_detail.custom_job_detail
        names = [*container.failed_main_jobs, container.main_job, *custom.failed_jobs, custom.job]
        names += _launched(detail)
        ids = [name.rpartition("/")[2] for name in names if name]
        if ids:
            found.setdefault(detail.task_name, []).extend(dict.fromkeys(ids))
    return found


def _launched(detail: Any) -> Iterator[str]:
    """The custom jobs that a task's launcher made, which stand in its output `gcp_resources` once it has ended.

    https://github.com/kubeflow/pipelines/tree/master/components/google-cloud/google_cloud_pipeline_components/proto
    """
    given = (detail.execution.metadata or {}).get("output:gcp_resources", "")
    try:
        launched = msgspec.json.decode(given, type=_GcpResources)
    except (msgspec.MsgspecError, TypeError):
        # Nothing yet, or nothing that can be read: what is said of the run must not fail for a link.
        return
    for resource in launched.resources:
        if resource.resource_type == "CustomJob":
            yield resource.resource_uri


def read_time(time: Any) -> datetime | None:
    """Give a time as a plain datetime, UTC; None where it is not set."""
    return datetime.fromtimestamp(time.timestamp(), UTC) if time else None


def _tasks(job: Any, spec: Mapping[str, Any], has_ended: bool, project: str) -> Iterator[RemoteTask]:
    """Every task that runs a container: those of the DAG, and where the service left that out, those it speaks of."""
    details: dict[str, list[Any]] = {}
    for detail in job.job_detail.task_details:
        details.setdefault(detail.task_name, []).append(detail)
    ids = job_ids_by_task(job)
    if "root" not in spec:
        groups_by_task: dict[str, tuple[str, ...]] = dict.fromkeys(ids, ())
    else:
        groups_by_task = dict(container_tasks(spec))
    for name, groups in groups_by_task.items():
        is_over = has_ended or any(_state(detail) == "skipped" for group in groups for detail in details.get(group, ()))
        log_url = _log_url(ids[name], project) if name in ids else ""
        yield _task(name, details.get(name, []), is_over, log_url)


def _state(detail: Any) -> TaskState:
    return _TASK_STATES.get(detail.state.name, "pending")


def _task(name: str, details: list[Any], is_over: bool, log_url: str) -> RemoteTask:
    """Read a task; one that the service does not speak of waits, or will never be reached."""
    if not details:
        return RemoteTask(name, "skipped" if is_over else "pending")
    states = {_state(detail): detail for detail in details}
    state = next(state for state in _MOST_TELLING if state in states)
    detail = states[state]
    return RemoteTask(
        name,
        state,
        started_at=read_time(detail.start_time),
        ended_at=read_time(detail.end_time),
        error=detail.error.message if state in ("failed", "cancelled") else "",
        log_url=log_url,
    )


def _error(job: Any, tasks: tuple[RemoteTask, ...]) -> str:
    """Say in a line why a run failed: what the first failed task says, else the run, which only lists failed tasks."""
    failed = next((task for task in tasks if task.state == "failed" and task.error), None)
    return " ".join((f"{failed.name}: {failed.error}" if failed else str(job.error.message)).split())


def _parameters(job: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Read the parameters; whole numbers come as floats from the service."""
    from google.protobuf import json_format

    values = type(job).pb(job).runtime_config.parameter_values
    types = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    whole = {name for name, definition in types.items() if definition.get("parameterType") == "NUMBER_INTEGER"}
    read = {name: json_format.MessageToDict(value) for name, value in sorted(values.items())}
    return {name: int(value) if name in whole and isinstance(value, float) else value for name, value in read.items()}


def _log_url(job_ids: list[str], project: str) -> str:
    return f"{_CONSOLE}/logs/query;query={quote(log_filter(job_ids), safe='')}?project={project}"


def log_filter(job_ids: list[str]) -> str:
    """Give the query of Cloud Logging for what these custom jobs wrote.

    https://cloud.google.com/logging/docs/api/v2/resource-list and
    https://cloud.google.com/logging/docs/view/logging-query-language
    """
    wanted = " OR ".join(f'"{job_id}"' for job_id in job_ids)
    return f'resource.type="ml_job" AND resource.labels.job_id=({wanted})'
