"""Vertex AI Pipelines: jobs that go through the states they are told to.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs and the comments of
https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/pipeline_job.proto and, beside it,
pipeline_service.proto.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import empty_pb2, json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.filters import values_of
from tests.cloud.bench.request_rules import check_job, check_parameters
from tests.cloud.bench.state import PROJECT_NUMBER, REGION, State, listed
from tests.cloud.bench.steps import Step, plain_steps
from tests.cloud.bench.task_details import add_tasks, apply_step, check_containers, unfinished

_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,126}")
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
_ENDED = {_JobState.PIPELINE_STATE_SUCCEEDED, _JobState.PIPELINE_STATE_FAILED, _JobState.PIPELINE_STATE_CANCELLED}
_CANCELLED_CODE = 1


class PipelineJobs:
    """The jobs, and the reins of a test on them."""

    service = "google.cloud.aiplatform.v1.PipelineService"

    def __init__(self, state: State, templates: Mapping[str, dict[str, Any]]) -> None:
        """`templates`: compiled pipelines by the URI of their version."""
        self._state = state
        self._templates = templates
        self.when_ended: Callable[[], None] = lambda: None
        self.show_context: Callable[[Any], None] = lambda _: None
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
        self._apply(resource, Step(state, dict.fromkeys(unfinished(resource), ended), error=error))

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
        add_tasks(self._state, job, spec)
        tasks = [task.task_name for task in job.job_detail.task_details][1:]
        self._steps[job.name] = list(self._default if self._default is not None else plain_steps(tasks))
        if self._holds_all:
            self._held.add(job.name)
        return job

    def get_pipeline_job(self, request: Any) -> Any:
        job = self._state.get(request.name)
        # The context comes a moment after the run has started.
        if job.HasField("start_time"):
            self.show_context(job)
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
        """Ask for a job's end: the next poll shows it as it is on its way, the one after that ended.

        Refused by its state: https://github.com/GoogleCloudPlatform/java-docs-samples/issues/9281. Whether one that is
        on its way is refused, too, nobody says; here it is.
        """
        job = self._state.get(request.name)
        if job.state in {*_ENDED, _JobState.PIPELINE_STATE_CANCELLING}:
            raise ApiError(
                "FAILED_PRECONDITION",
                f"The PipelineJob {job.name} is in state {_JobState(job.state).name} and cannot be canceled.",
            )
        job.state = _JobState.PIPELINE_STATE_CANCELLING
        going = unfinished(job)
        self._steps[job.name] = [
            Step("CANCELLING", dict.fromkeys(going, "CANCELLING")),
            Step("CANCELLED", dict.fromkeys(going, "CANCELLED"), error="The pipeline job was cancelled."),
        ]
        return empty_pb2.Empty()

    def delete_pipeline_job(self, request: Any) -> Any:
        self._state.remove(request.name)
        return self._state.begin(request.name.rsplit("/", 2)[0], empty_pb2.Empty())

    # What goes on inside.

    def check(self, request: Any) -> Any:
        """Give the pipeline of a request. Raises INVALID_ARGUMENT and others for what the service would not take."""
        spec = self._spec(request.pipeline_job)
        location = request.parent.split("/")[3]
        check_job(request.pipeline_job, location)
        check_parameters(request.pipeline_job.runtime_config, spec)
        check_containers(request.pipeline_job, spec, location)
        return spec

    def _all(self) -> Iterator[Any]:
        # A request that nobody waits for any more may still add one.
        names = reversed(list(self._state.resources))
        return (self._state.resources[name] for name in names if "/pipelineJobs/" in name)

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

    def _apply(self, job: Any, step: Step) -> None:
        now = self._state.stamp()
        apply_step(self._state, job, step)
        job.state = _JobState[f"PIPELINE_STATE_{step.state}"]
        job.update_time.CopyFrom(now)
        if job.state != _JobState.PIPELINE_STATE_PENDING and not job.HasField("start_time"):
            job.start_time.CopyFrom(now)
        if job.state in _ENDED:
            job.end_time.CopyFrom(now)
            self.when_ended()
        # "Only populated when the pipeline's state is FAILED or CANCELLED": error's comment.
        if job.state == _JobState.PIPELINE_STATE_FAILED:
            job.error.code, job.error.message = 9, step.error or "The pipeline job failed."
        if job.state == _JobState.PIPELINE_STATE_CANCELLED:
            job.error.code, job.error.message = _CANCELLED_CODE, step.error


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
