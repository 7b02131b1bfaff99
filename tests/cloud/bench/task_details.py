"""The tasks of a pipeline job as the service tells of them, and what a step makes of them.

Rules: the comments of PipelineTaskDetail in
https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/pipeline_job.proto
"""

import json
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import json_format

from tests.cloud.bench.custom_jobs import check_custom_job, container_job
from tests.cloud.bench.launchers import is_launcher, launched_job
from tests.cloud.bench.specs import in_order
from tests.cloud.bench.state import State
from tests.cloud.bench.steps import Step

_JobState = aiplatform_v1.PipelineState
_TaskState = aiplatform_v1.PipelineTaskDetail.State
_TASK_ENDED = {
    _TaskState.SUCCEEDED, _TaskState.FAILED, _TaskState.CANCELLED, _TaskState.SKIPPED, _TaskState.NOT_TRIGGERED,
}  # fmt: skip
_ROOT_STATES = ("PENDING", "RUNNING", "SUCCEEDED", "CANCELLING", "CANCELLED", "FAILED")


def check_containers(job: Any, spec: Any, location: str) -> None:
    """Refuse a pipeline with a container that no custom job can run, or whose launcher's job is none.

    The service would find that out when it comes to the task.
    """
    executors = json_format.MessageToDict(spec.deployment_spec).get("executors", {})
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for task in dag.tasks.values():
            component = spec.components[task.component_ref.name]
            container = executors.get(component.executor_label, {}).get("container")
            if container is not None:
                container_job(container, task, job)
            if container is not None and is_launcher(container):
                check_custom_job(launched_job(container, component, task, job, location), location)


def add_tasks(state: State, job: Any, spec: Any) -> None:
    """List the tasks as the service does: the run itself, and below it each task, those within groups too."""
    executors = json_format.MessageToDict(spec.deployment_spec).get("executors", {})
    root = _add_task(state, job, job.name.rsplit("/", 1)[1], 0, "system.Run")

    def add(component: Any, parent: int) -> None:
        for name, task in in_order(component.dag.tasks):
            inner = spec.components[task.component_ref.name]
            is_group = inner.HasField("dag")
            kind = "system.DagExecution" if is_group else "system.ContainerExecution"
            task_id = _add_task(state, job, name, parent, kind)
            if is_group:
                add(inner, task_id)
            elif "container" in executors.get(inner.executor_label, {}):
                _add_custom_jobs(state, job, executors[inner.executor_label]["container"], inner, task)

    add(spec.root, root)


def apply_step(state: State, job: Any, step: Step) -> None:
    """Show a step's states in the tasks of a job."""
    now = state.stamp()
    details = {detail.task_name: detail for detail in job.job_detail.task_details}
    root = job.job_detail.task_details[0].task_name
    root_state = step.state if step.state in _ROOT_STATES else "RUNNING"
    for task, name in {**step.tasks, root: root_state}.items():
        if task not in details:
            raise ValueError(f"no task {task}; there are: {', '.join(details)}")
        detail = details[task]
        if detail.state == _TaskState[name]:
            continue
        detail.state = _TaskState[name]
        detail.pipeline_task_status.add(update_time=now, state=detail.state)
        if detail.state != _TaskState.PENDING and not detail.HasField("start_time"):
            detail.start_time.CopyFrom(now)
        if detail.state in _TASK_ENDED:
            detail.end_time.CopyFrom(now)
            _show_outputs(state, detail)
        if task in step.errors:
            detail.error.code, detail.error.message = 9, step.errors[task]


def unfinished(job: Any) -> list[str]:
    """Give the tasks that have not ended."""
    return [task.task_name for task in job.job_detail.task_details[1:] if task.state not in _TASK_ENDED]


def _add_task(state: State, job: Any, name: str, parent: int, kind: str) -> int:
    detail = job.job_detail.task_details.add(
        task_id=int(state.new_id()), parent_task_id=parent, task_name=name, state=_TaskState.PENDING
    )
    detail.create_time.CopyFrom(state.stamp())
    detail.execution.schema_title = kind
    return int(detail.task_id)


def _show_outputs(state: State, detail: Any) -> None:
    """Show the output of a launcher: the job that it made."""
    if launched := state.launched.get(detail.executor_detail.container_detail.main_job):
        uri = f"https://{launched.split('/')[3]}-aiplatform.googleapis.com/v1/{launched}"
        resources = {"resources": [{"resourceType": "CustomJob", "resourceUri": uri}]}
        detail.execution.metadata["output:gcp_resources"] = json.dumps(resources)


def _add_custom_jobs(state: State, job: Any, container: dict[str, Any], component: Any, task: Any) -> None:
    """A container runs as a custom job: https://cloud.google.com/vertex-ai/docs/pipelines/build-pipeline.

    A launcher makes another one.
    """
    parent = job.name.rsplit("/", 2)[0]
    location = parent.split("/")[3]
    detail = job.job_detail.task_details[-1]
    made = state.add(f"{parent}/customJobs/{state.new_id()}", container_job(container, task, job))
    detail.executor_detail.container_detail.main_job = made.name
    if is_launcher(container):
        launched = launched_job(container, component, task, job, location)
        launched.state = aiplatform_v1.JobState.JOB_STATE_PENDING
        state.launched[made.name] = state.add(f"{parent}/customJobs/{state.new_id()}", launched).name
