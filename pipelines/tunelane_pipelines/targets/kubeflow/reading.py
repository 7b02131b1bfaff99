"""Runs and recurring runs as the API gives them, read into what every target gives."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tunelane_pipelines.targets.kubeflow.logs import log_command
from tunelane_pipelines.targets.target import (
    ENDED_STATES,
    RUN_LABEL,
    Recurrence,
    RemoteRun,
    RemoteSchedule,
    RemoteState,
    RemoteTask,
    ScheduleState,
    TaskState,
)
from tunelane_pipelines.targets.walking import container_tasks

# https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/ (v2beta1RuntimeState)
_RUN_STATES: dict[str, RemoteState] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "PAUSED": "running",
    "CANCELING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "SKIPPED": "cancelled",
    "CANCELED": "cancelled",
}
_TASK_STATES: dict[str, TaskState] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "PAUSED": "running",
    "CANCELING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "SKIPPED": "skipped",
    "CANCELED": "cancelled",
}

_FIRST_YEAR = 2000
"""A time that has not come yet is given as 1970."""


def run_of(run: Any, host: str, namespace: str) -> RemoteRun:
    """Read a `V2beta1Run`, its tasks included where it has any."""
    state = _RUN_STATES.get(run.state or "", "pending")
    tasks = tuple(_tasks(run, state, namespace))
    marks = read_marks(run.description)
    is_ours = marks.get(RUN_LABEL) == run.display_name
    return RemoteRun(
        resource=run.run_id,
        run_id=run.display_name if is_ours else "",
        display_name=_title(run.description) if is_ours else run.display_name,
        pipeline=_pipeline(run),
        state=state,
        created_at=run.created_at or datetime.fromtimestamp(0, UTC),
        console_url=f"{host}/#/runs/details/{run.run_id}",
        ended_at=_time(run.finished_at) if state in ENDED_STATES else None,
        error=_run_error(run, state, tasks),
        tasks=tasks,
        schedule=run.recurring_run_id or "",
        parameters=_parameters(run),
    )


def schedule_of(recurring: Any, host: str, time_zone: str, now: datetime) -> RemoteSchedule:
    """Read a `V2beta1RecurringRun` of ours."""
    recurrence = recurrence_of(recurring, time_zone)
    state: ScheduleState = "active" if recurring.status == "ENABLED" else "paused"
    if recurrence.ends_at and recurrence.ends_at <= now:
        state = "completed"
    return RemoteSchedule(
        resource=recurring.recurring_run_id,
        name=recurring.display_name,
        run_id=read_marks(recurring.description).get(RUN_LABEL, ""),
        pipeline=_pipeline(recurring),
        state=state,
        recurrence=recurrence,
        console_url=f"{host}/#/recurringrun/details/{recurring.recurring_run_id}",
        last_error=(recurring.error.message or "") if recurring.error else "",
    )


def recurrence_of(recurring: Any, time_zone: str) -> Recurrence:
    """Read when a recurring run starts runs; of its six fields the first is the second, which is 0."""
    schedule = recurring.trigger.cron_schedule if recurring.trigger else None
    return Recurrence(
        cron=(schedule.cron or "").partition(" ")[2] if schedule else "",
        time_zone=time_zone,
        max_concurrent_runs=int(recurring.max_concurrency or 1),
        catch_up=not recurring.no_catchup,
        starts_at=_time(schedule.start_time) if schedule else None,
        ends_at=_time(schedule.end_time) if schedule else None,
    )


def written_marks(title: str, marks: Mapping[str, str]) -> str:
    """Write a description: a line for people, then our labels, which runs here have no other place for."""
    return "\n".join([title, *(f"{name}={value}" for name, value in marks.items())])


def read_marks(description: str | None) -> dict[str, str]:
    """Read the labels in a description; none where somebody else wrote it."""
    lines = (description or "").splitlines()[1:]
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def pipeline_spec_of(run: Any) -> dict[str, Any]:
    """Read the spec of a run or a recurring run as it was sent, alone or beside a platform's."""
    content = run.pipeline_spec if isinstance(run.pipeline_spec, dict) else {}
    return content.get("pipeline_spec", content)  # type: ignore[no-any-return]


def _pipeline(run: Any) -> str:
    return str(pipeline_spec_of(run).get("pipelineInfo", {}).get("name", ""))


def _title(description: str | None) -> str:
    return (description or "").partition("\n")[0]


def _parameters(run: Any) -> dict[str, Any]:
    return dict((run.runtime_config.parameters or {}) if run.runtime_config else {})


def _time(given: datetime | None) -> datetime | None:
    return given if given and given.year >= _FIRST_YEAR else None


def _tasks(run: Any, state: RemoteState, namespace: str) -> Iterator[RemoteTask]:
    """The tasks of the DAG; those that the service does not know have not started, or never will.

    It lists a node for everything that the workflow does (drivers, branches, containers as "executor"); the node with
    a task's own name has its state.
    """
    details = (run.run_details.task_details or []) if run.run_details else []
    if not run.run_details:
        return
    unknown: TaskState = "skipped" if state in ENDED_STATES else "pending"
    for name, _ in container_tasks(pipeline_spec_of(run)):
        detail = next((detail for detail in reversed(details) if detail.display_name == name), None)
        if detail is None:
            yield RemoteTask(name, unknown)
            continue
        task_state = _TASK_STATES.get(detail.state or "", "pending")
        yield RemoteTask(
            name,
            task_state,
            started_at=_time(detail.start_time),
            ended_at=_time(detail.end_time),
            error=_task_error(detail, details, run.run_id, namespace) if task_state == "failed" else "",
        )


def _task_error(detail: Any, details: list[Any], run_id: str, namespace: str) -> str:
    """The task's message, or that of the node inside it that failed, or where to look.

    Releases up to 2.17 give no message at all: https://github.com/kubeflow/pipelines/issues/14007
    """
    inside = [other for other in details if other.parent_task_id and other.parent_task_id == detail.task_id]
    for node in (detail, *inside):
        for error in (node.error, *(status.error for status in reversed(node.state_history or []))):
            if error and error.message:
                return str(error.message)
    return f"Kubeflow gives no reason. Read the log: {log_command(run_id, namespace)}"


def _run_error(run: Any, state: RemoteState, tasks: tuple[RemoteTask, ...]) -> str:
    if state != "failed":
        return ""
    failed = next((f"{task.name}: {task.error}" for task in tasks if task.state == "failed"), "")
    return failed or (str(run.error.message or "") if run.error else "")
