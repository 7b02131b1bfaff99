"""Vertex AI Pipelines: jobs that go through the states they are told to.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs and the comments of
https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/pipeline_job.proto and, beside it,
pipeline_service.proto.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import empty_pb2, json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.cloud.bench.custom_jobs import custom_job
from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.filters import values_of
from tests.cloud.bench.state import PROJECT, PROJECT_NUMBER, REGION, State, listed

_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,126}")
_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_NETWORK = re.compile(r"projects/[^/]+/global/networks/[^/]+")
_TEMPLATE = re.compile(r"https://[a-z0-9-]+-kfp\.pkg\.dev/[^/]+/[^/]+/[^/]+/[^/]+")
_FILTERABLE = frozenset(
    {
        "pipeline_name", "display_name", "pipeline_job_user_id", "state", "create_time", "update_time", "end_time",
        "labels", "template_uri", "template_metadata.version",
    }
)  # fmt: skip
_ORDER = frozenset({"create_time", "update_time", "end_time", "start_time"})
_OUTPUT_ONLY = (
    "name", "create_time", "start_time", "end_time", "update_time", "state", "job_detail", "error", "schedule_name",
)  # fmt: skip

_JobState = aiplatform_v1.PipelineState
_TaskState = aiplatform_v1.PipelineTaskDetail.State
_ENDED = {_JobState.PIPELINE_STATE_SUCCEEDED, _JobState.PIPELINE_STATE_FAILED, _JobState.PIPELINE_STATE_CANCELLED}
_TASK_ENDED = {
    _TaskState.SUCCEEDED, _TaskState.FAILED, _TaskState.CANCELLED, _TaskState.SKIPPED, _TaskState.NOT_TRIGGERED,
}  # fmt: skip
_CANCELLED_CODE = 1


@dataclass(frozen=True)
class Step:
    """What a poll shows.

    Attributes:
        state: PipelineState's without its prefix.
        tasks: PipelineTaskDetail.State's by task; other tasks stay as they are.
        errors: message by failed task.
        error: the run's own message.
    """

    state: str = "RUNNING"
    tasks: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def succeeding(*tasks: str) -> list[Step]:
    """Give the steps of a run whose tasks succeed one after another."""
    steps = [Step(tasks=dict.fromkeys(tasks, "PENDING"))]
    for task in tasks:
        steps += [Step(tasks={task: "RUNNING"}), Step(tasks={task: "SUCCEEDED"})]
    return [*steps, Step("SUCCEEDED")]


def failing(*tasks: str, failed: str, message: str) -> list[Step]:
    """Give the steps of a run that ends with the failure of one of its tasks."""
    before = tasks[: tasks.index(failed)]
    return [
        *succeeding(*before)[:-1],
        Step(tasks={failed: "RUNNING"}),
        Step(tasks={failed: "FAILED"}, errors={failed: message}),
        Step(
            "FAILED",
            tasks=dict.fromkeys(tasks[tasks.index(failed) + 1 :], "NOT_TRIGGERED"),
            error=f"The DAG failed because some tasks failed. The failed tasks are: [{failed}].",
        ),
    ]


def small_spec(*tasks: str, name: str = "small") -> dict[str, Any]:
    """Give a compiled pipeline of such tasks, one after another, with one parameter `n` (an int, 1 by default)."""
    executor = {"container": {"image": "europe-west4-docker.pkg.dev/tunelane-test/tunelane/trainer:1"}}
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
        "deploymentSpec": {"executors": {f"exec-{task}": executor for task in tasks}},
    }


class PipelineJobs:
    """The jobs, and the reins of a test on them."""

    service = "google.cloud.aiplatform.v1.PipelineService"

    def __init__(self, state: State, templates: Mapping[str, dict[str, Any]]) -> None:
        """`templates`: compiled pipelines by the URI of their version."""
        self._state = state
        self._templates = templates
        self.when_ended: Callable[[], None] = lambda: None
        self.reset()

    def reset(self) -> None:
        self._default: Sequence[Step] | None = None
        self._holds_all = False
        self._steps: dict[str, list[Step]] = {}
        self._held: set[str] = set()

    # What a test does.

    def script(self, steps: Sequence[Step], job: str = "") -> None:
        """Have the polls of a job (id or name), or of each one made from now on, show these steps."""
        if job:
            self._steps[self.name(job)] = list(steps)
        else:
            self._default = list(steps)

    def hold(self, job: str = "") -> None:
        """Let polls change nothing: of a job, or of each one made from now on."""
        if job:
            self._held.add(self.name(job))
        else:
            self._holds_all = True

    def step(self, job: str) -> None:
        """Go one step on, held or not."""
        name = self.name(job)
        if self._steps.get(name):
            self._apply(self._state.get(name), self._steps[name].pop(0))

    def finish(self, job: str, state: str = "SUCCEEDED", error: str = "") -> None:
        """End a job, its tasks that still ran with it."""
        resource = self._state.get(self.name(job))
        ended = {"SUCCEEDED": "SUCCEEDED", "FAILED": "FAILED"}.get(state, "CANCELLED")
        self._steps[resource.name] = []
        self._apply(resource, Step(state, dict.fromkeys(self._unfinished(resource), ended), error=error))

    def jobs(self) -> list[Any]:
        """Give all jobs, the newest first, as the client's messages."""
        return [aiplatform_v1.PipelineJob.wrap(copy.deepcopy(job)) for job in self._all()]

    def job(self, job: str) -> Any:
        """Give a job by id or name. Raises ApiError."""
        return aiplatform_v1.PipelineJob.wrap(copy.deepcopy(self._state.get(self.name(job))))

    def name(self, job: str) -> str:
        """Give the name of a job by its id, in the region that the tests use."""
        return job if "/" in job else f"projects/{PROJECT_NUMBER}/locations/{REGION}/pipelineJobs/{job}"

    # What a client does.

    def create_pipeline_job(self, request: Any, schedule: str = "") -> Any:
        job = request.pipeline_job
        for name in _OUTPUT_ONLY:
            job.ClearField(name)
        spec = self.check(request)
        job_id = request.pipeline_job_id or f"{spec.pipeline_info.name}-{self._state.new_id()}"
        if not _JOB_ID.fullmatch(job_id):
            raise invalid(f"Invalid pipeline_job_id {job_id}: less than 128 characters of [a-z][0-9]-.")
        job.state = _JobState.PIPELINE_STATE_PENDING
        job.schedule_name = schedule
        job.labels["vertex-ai-pipelines-run-billing-id"] = self._state.new_id()
        # Kept before its tasks are named: a name that is taken changes nothing.
        self._state.add(f"{request.parent}/pipelineJobs/{job_id}", job)
        self._add_tasks(job, spec)
        tasks = [task.task_name for task in job.job_detail.task_details][1:]
        self._steps[job.name] = list(self._default if self._default is not None else _plain_steps(tasks))
        if self._holds_all:
            self._held.add(job.name)
        return job

    def get_pipeline_job(self, request: Any) -> Any:
        job = self._state.get(request.name)
        if job.name not in self._held:
            self.step(job.name)
        return job

    def list_pipeline_jobs(self, request: Any) -> Any:
        response = aiplatform_v1.ListPipelineJobsResponse.pb()()
        # "Not available in the list view": job_detail's comment.
        shown = (_without_detail(job) for job in self._state.children(request.parent, "pipelineJobs"))
        listed(request, response, shown, _FILTERABLE, _ORDER, _values)
        if request.read_mask.paths:
            for position, job in enumerate(list(response.pipeline_jobs)):
                kept = type(job)()
                request.read_mask.MergeMessage(job, kept)
                response.pipeline_jobs[position].CopyFrom(kept)
        return response

    def cancel_pipeline_job(self, request: Any) -> Any:
        """Ask for a job's end: the next poll shows it as it is on its way, the one after that ended."""
        job = self._state.get(request.name)
        if job.state in _ENDED:
            raise ApiError(
                "FAILED_PRECONDITION", f"The PipelineJob {job.name} is in a terminal state and cannot be cancelled."
            )
        job.state = _JobState.PIPELINE_STATE_CANCELLING
        unfinished = self._unfinished(job)
        self._steps[job.name] = [
            Step("CANCELLING", dict.fromkeys(unfinished, "CANCELLING")),
            Step("CANCELLED", dict.fromkeys(unfinished, "CANCELLED"), error="The pipeline job was cancelled."),
        ]
        return empty_pb2.Empty()

    def delete_pipeline_job(self, request: Any) -> Any:
        self._state.remove(request.name)
        return self._state.begin(request.name.rsplit("/", 2)[0], empty_pb2.Empty())

    # What goes on inside.

    def check(self, request: Any) -> Any:
        """Give the pipeline of a request. Raises INVALID_ARGUMENT and others for what the service would not take."""
        spec = self._spec(request.pipeline_job)
        _check_job(request.pipeline_job, request.parent.split("/")[3])
        _check_parameters(request.pipeline_job.runtime_config, spec)
        return spec

    def _all(self) -> Iterator[Any]:
        return (self._state.resources[name] for name in reversed(self._state.resources) if "/pipelineJobs/" in name)

    def _spec(self, job: Any) -> Any:
        """Read the pipeline; a template of the registry stands in for a missing one."""
        content = json_format.MessageToDict(job.pipeline_spec)
        if job.template_uri and not _TEMPLATE.fullmatch(job.template_uri):
            raise invalid(f"Invalid template_uri: {job.template_uri}")
        if not content and job.template_uri:
            if job.template_uri not in self._templates:
                raise ApiError("NOT_FOUND", f"Template {job.template_uri} is not found.")
            content = self._templates[job.template_uri]
            json_format.ParseDict(content, job.pipeline_spec)
        if job.template_uri:
            job.template_metadata.version = job.template_uri.rsplit("/", 1)[1]
        if not content:
            raise invalid("One of pipeline_spec and template_uri is required.")
        spec = pipeline_spec_pb2.PipelineSpec()
        try:
            json_format.ParseDict(content, spec)
        except json_format.ParseError as error:
            raise invalid(f"Invalid pipeline_spec: {error}") from error
        if not spec.pipeline_info.name or not spec.schema_version:
            raise invalid("Invalid pipeline_spec: pipelineInfo.name and schemaVersion are required.")
        return spec

    def _add_tasks(self, job: Any, spec: Any) -> None:
        """List the tasks as the service does: the run itself, and below it each task, those within groups too."""
        executors = json_format.MessageToDict(spec.deployment_spec).get("executors", {})
        root = self._add_task(job, job.name.rsplit("/", 1)[1], 0, "system.Run")

        def add(component: Any, parent: int) -> None:
            for name, task in _in_order(component.dag.tasks):
                inner = spec.components[task.component_ref.name]
                is_group = inner.HasField("dag")
                kind = "system.DagExecution" if is_group else "system.ContainerExecution"
                task_id = self._add_task(job, name, parent, kind)
                if is_group:
                    add(inner, task_id)
                elif inner.executor_label in executors:
                    self._add_custom_job(job, executors[inner.executor_label], task)

        add(spec.root, root)

    def _add_task(self, job: Any, name: str, parent: int, kind: str) -> int:
        detail = job.job_detail.task_details.add(
            task_id=int(self._state.new_id()), parent_task_id=parent, task_name=name, state=_TaskState.PENDING
        )
        detail.create_time.CopyFrom(self._state.stamp())
        detail.execution.schema_title = kind
        return int(detail.task_id)

    def _add_custom_job(self, job: Any, executor: dict[str, Any], task: Any) -> None:
        """A container runs as a custom job: https://cloud.google.com/vertex-ai/docs/pipelines/build-pipeline."""
        if "container" not in executor:
            return
        parent = job.name.rsplit("/", 2)[0]
        name = f"{parent}/customJobs/{self._state.new_id()}"
        self._state.add(name, custom_job(executor["container"], task, job))
        job.job_detail.task_details[-1].executor_detail.container_detail.main_job = name

    def _apply(self, job: Any, step: Step) -> None:
        now = self._state.stamp()
        job.state = _JobState[f"PIPELINE_STATE_{step.state}"]
        job.update_time.CopyFrom(now)
        if job.state != _JobState.PIPELINE_STATE_PENDING and not job.HasField("start_time"):
            job.start_time.CopyFrom(now)
        details = {detail.task_name: detail for detail in job.job_detail.task_details}
        root = job.job_detail.task_details[0].task_name
        for task, state in {**step.tasks, root: _root_state(step.state)}.items():
            if task not in details:
                raise ValueError(f"no task {task}; there are: {', '.join(details)}")
            detail = details[task]
            if detail.state == _TaskState[state]:
                continue
            detail.state = _TaskState[state]
            detail.pipeline_task_status.add(update_time=now, state=detail.state)
            if detail.state != _TaskState.PENDING and not detail.HasField("start_time"):
                detail.start_time.CopyFrom(now)
            if detail.state in _TASK_ENDED:
                detail.end_time.CopyFrom(now)
            if task in step.errors:
                detail.error.code, detail.error.message = 9, step.errors[task]
        if job.state in _ENDED:
            job.end_time.CopyFrom(now)
            self.when_ended()
        # "Only populated when the pipeline's state is FAILED or CANCELLED": error's comment.
        if job.state == _JobState.PIPELINE_STATE_FAILED:
            job.error.code, job.error.message = 9, step.error or "The pipeline job failed."
        if job.state == _JobState.PIPELINE_STATE_CANCELLED:
            job.error.code, job.error.message = _CANCELLED_CODE, step.error

    def _unfinished(self, job: Any) -> list[str]:
        return [task.task_name for task in job.job_detail.task_details[1:] if task.state not in _TASK_ENDED]


def _in_order(tasks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give tasks after those they depend on, otherwise by name: a protobuf map has no order of its own."""
    left = dict(sorted(tasks.items()))
    while left:
        ready = [name for name, task in left.items() if not left.keys() & set(task.dependent_tasks)]
        if not ready:
            raise invalid(f"Invalid pipeline_spec: {', '.join(left)} depend on each other.")
        for name in ready:
            yield name, left.pop(name)


def _plain_steps(tasks: Sequence[str]) -> list[Step]:
    return [
        Step("RUNNING", dict.fromkeys(tasks, "RUNNING")),
        Step("SUCCEEDED", dict.fromkeys(tasks, "SUCCEEDED")),
    ]


def _root_state(state: str) -> str:
    known = ("PENDING", "RUNNING", "SUCCEEDED", "CANCELLING", "CANCELLED", "FAILED")
    return state if state in known else "RUNNING"


def _values(job: Any, path: list[str]) -> list[str]:
    if path == ["pipeline_name"]:
        return [json_format.MessageToDict(job.pipeline_spec)["pipelineInfo"]["name"]]
    if path == ["pipeline_job_user_id"]:
        return [job.name.rsplit("/", 1)[1]]
    return values_of(job, path)


def _without_detail(job: Any) -> Any:
    shown = type(job)()
    shown.CopyFrom(job)
    shown.ClearField("job_detail")
    return shown


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that no service takes: https://cloud.google.com/resource-manager/docs/labels-overview#requirements."""
    if len(labels) > 64:
        raise invalid(f"{len(labels)} labels: at most 64.")
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][-_a-z0-9]{0,62}", key) or not re.fullmatch(r"[-_a-z0-9]{0,63}", value):
            raise invalid(f"Invalid label {key}={value}: lowercase letters, digits, _ and -, at most 63 of them.")


def check_key(key: str, location: str) -> None:
    """Refuse a key of another form or region: https://cloud.google.com/vertex-ai/docs/general/cmek."""
    match = _KEY.fullmatch(key)
    if key and (match is None or match[1] != location):
        raise invalid(f"Invalid kms_key_name {key}: it must be a key of {location}.")


def _check_job(job: Any, location: str) -> None:
    if len(job.display_name) > 128:
        raise invalid("display_name: at most 128 characters.")
    check_labels(job.labels)
    check_key(job.encryption_spec.kms_key_name, location)
    if job.network and not _NETWORK.fullmatch(job.network):
        raise invalid(f"Invalid network {job.network}: projects/NUMBER/global/networks/NAME.")
    if job.service_account and not re.fullmatch(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", job.service_account):
        raise invalid(f"Service account {job.service_account} is not valid.")
    if job.service_account and f"@{PROJECT}." not in job.service_account:
        raise ApiError(
            "PERMISSION_DENIED",
            f"You do not have permission to act as service_account: {job.service_account}. (or it may not exist).",
        )
    if not re.fullmatch(r"gs://[a-z0-9][-_.a-z0-9]+(/.*)?", job.runtime_config.gcs_output_directory):
        raise invalid(
            f"Invalid runtime_config.gcs_output_directory {job.runtime_config.gcs_output_directory!r}: gs://BUCKET/…"
        )


_KINDS = {
    "NUMBER_INTEGER": "number_value",
    "NUMBER_DOUBLE": "number_value",
    "STRING": "string_value",
    "BOOLEAN": "bool_value",
    "LIST": "list_value",
    "STRUCT": "struct_value",
}


def _check_parameters(config: Any, spec: Any) -> None:
    """Hold the values against the pipeline's inputs: https://www.kubeflow.org/docs/components/pipelines/reference/ir/."""
    if config.parameters and spec.schema_version.startswith("2.1"):
        raise invalid("runtime_config.parameters is for schema 2.0.0 and below. Use parameter_values.")
    definitions = spec.root.input_definitions.parameters
    for name, value in config.parameter_values.items():
        if name not in definitions:
            raise invalid(f"The input parameter {name} is not found in the pipeline's inputs.")
        kind = type(definitions[name]).DESCRIPTOR.fields_by_name["parameter_type"].enum_type
        wanted = _KINDS.get(kind.values_by_number[definitions[name].parameter_type].name)
        is_whole = wanted != "number_value" or float(value.number_value).is_integer()
        if wanted is not None and value.WhichOneof("kind") != wanted:
            raise invalid(f"The input parameter {name} must be a {wanted.removesuffix('_value')}.")
        if definitions[name].parameter_type == kind.values_by_name["NUMBER_INTEGER"].number and not is_whole:
            raise invalid(f"The input parameter {name} must be a whole number.")
    for name, definition in definitions.items():
        has_default = definition.HasField("default_value") or definition.is_optional
        if name not in config.parameter_values and not has_default:
            raise invalid(f"The input parameter {name} is required and has no value.")
