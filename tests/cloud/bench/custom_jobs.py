"""Vertex AI custom jobs: what runs a pipeline's containers, and what training on several machines asks for itself.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs, CustomJobSpec
"""

from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import empty_pb2

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.state import State, listed

_JobState = aiplatform_v1.JobState
_ENDED = (_JobState.JOB_STATE_SUCCEEDED, _JobState.JOB_STATE_FAILED, _JobState.JOB_STATE_CANCELLED)
_FILTERABLE = frozenset({"display_name", "state", "create_time", "update_time", "labels"})

# What machine an accelerator comes with: https://cloud.google.com/vertex-ai/docs/training/configure-compute#gpu-compatibility
_FAMILY_BY_ACCELERATOR = {
    "NVIDIA_L4": "g2-standard-",
    "NVIDIA_TESLA_A100": "a2-highgpu-",
    "NVIDIA_A100_80GB": "a2-ultragpu-",
    "NVIDIA_H100_80GB": "a3-highgpu-",
    "NVIDIA_TESLA_T4": "n1-standard-",
    "NVIDIA_TESLA_V100": "n1-standard-",
}
_COUNTS_GPUS = ("a2-", "a3-")


class CustomJobs:
    """The jobs of JobService that are custom ones."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, state: State) -> None:
        self._state = state

    def create_custom_job(self, request: Any) -> Any:
        job = request.custom_job
        if not job.display_name:
            raise invalid("display_name is required.")
        check_pools(job.job_spec.worker_pool_specs)
        job.state = _JobState.JOB_STATE_PENDING
        return self._state.add(f"{request.parent}/customJobs/{self._state.new_id()}", job)

    def get_custom_job(self, request: Any) -> Any:
        job = self._state.get(request.name)
        following = {
            _JobState.JOB_STATE_PENDING: _JobState.JOB_STATE_RUNNING,
            _JobState.JOB_STATE_RUNNING: _JobState.JOB_STATE_SUCCEEDED,
            _JobState.JOB_STATE_CANCELLING: _JobState.JOB_STATE_CANCELLED,
        }
        job.state = following.get(job.state, job.state)
        return job

    def list_custom_jobs(self, request: Any) -> Any:
        response = aiplatform_v1.ListCustomJobsResponse.pb()()
        return listed(request, response, self._state.children(request.parent, "customJobs"), _FILTERABLE, frozenset())

    def cancel_custom_job(self, request: Any) -> Any:
        job = self._state.get(request.name)
        if job.state in _ENDED:
            raise ApiError("FAILED_PRECONDITION", f"The CustomJob {job.name} is in a terminal state.")
        job.state = _JobState.JOB_STATE_CANCELLING
        return empty_pb2.Empty()

    def delete_custom_job(self, request: Any) -> Any:
        self._state.remove(request.name)
        return self._state.begin(request.name.rsplit("/", 2)[0], empty_pb2.Empty())


def custom_job(container: dict[str, Any], task: Any, pipeline_job: Any) -> Any:
    """Give the job that runs a container of a compiled pipeline. Raises INVALID_ARGUMENT.

    Where a pipeline says what machine it wants: https://cloud.google.com/vertex-ai/docs/pipelines/machine-types
    """
    job = aiplatform_v1.CustomJob.pb()()
    job.display_name = task.task_info.name
    job.state = _JobState.JOB_STATE_PENDING
    job.job_spec.service_account = pipeline_job.service_account
    job.job_spec.network = pipeline_job.network
    job.encryption_spec.CopyFrom(pipeline_job.encryption_spec)
    pool = job.job_spec.worker_pool_specs.add(replica_count=1)
    pool.container_spec.image_uri = container["image"]
    pool.container_spec.command.extend(container.get("command", []))
    pool.container_spec.args.extend(container.get("args", []))
    resources = container.get("resources", {})
    accelerator = resources.get("accelerator", {})
    kind = accelerator.get("type") or accelerator.get("resourceType", "")
    count = int(accelerator.get("count") or accelerator.get("resourceCount") or 0)
    if kind and kind not in aiplatform_v1.AcceleratorType.__members__:
        raise invalid(f"Accelerator type {kind} is not supported.")
    if kind:
        pool.machine_spec.accelerator_type = aiplatform_v1.AcceleratorType[kind]
        pool.machine_spec.accelerator_count = count
    cores = max(4, round(float(resources.get("cpuLimit") or 0)))
    family = _FAMILY_BY_ACCELERATOR.get(kind, "e2-standard-")
    size = f"{count}g" if family.startswith(_COUNTS_GPUS) else str(cores)
    pool.machine_spec.machine_type = f"{family}{size}"
    return job


def check_pools(pools: Any) -> None:
    """Refuse what no machine can run: https://cloud.google.com/vertex-ai/docs/training/configure-compute."""
    if not pools:
        raise invalid("job_spec.worker_pool_specs is required.")
    if pools[0].replica_count != 1:
        raise invalid("The first worker pool has exactly one replica.")
    for pool in pools:
        machine = pool.machine_spec
        if not machine.machine_type and pool.replica_count:
            raise invalid("machine_spec.machine_type is required.")
        kind = aiplatform_v1.AcceleratorType(machine.accelerator_type).name if machine.accelerator_type else ""
        family = _FAMILY_BY_ACCELERATOR.get(kind, "")
        if not machine.machine_type.startswith(family):
            raise invalid(f"Accelerator {kind} does not come with machine type {machine.machine_type}.")
        if kind and machine.accelerator_count < 1:
            raise invalid("machine_spec.accelerator_count is required with an accelerator.")
        if not pool.container_spec.image_uri and not pool.python_package_spec.executor_image_uri:
            raise invalid("worker_pool_specs: container_spec or python_package_spec is required.")
