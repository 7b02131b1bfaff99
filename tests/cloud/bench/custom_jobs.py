"""Vertex AI custom jobs: what runs a pipeline's containers, and what training on several machines asks for itself.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs, CustomJobSpec
"""

import re
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import empty_pb2

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.request_rules import check_account, check_key, check_labels, check_network
from tests.cloud.bench.state import State, listed

_JobState = aiplatform_v1.JobState
_ENDED = (_JobState.JOB_STATE_SUCCEEDED, _JobState.JOB_STATE_FAILED, _JobState.JOB_STATE_CANCELLED)
_FILTERABLE = frozenset({"display_name", "state", "create_time", "update_time", "labels"})

# How many of an accelerator a machine can carry:
# https://cloud.google.com/vertex-ai/docs/training/configure-compute#gpu-compatibility-table and
# https://cloud.google.com/compute/docs/accelerator-optimized-machines
_COUNTS_BY_MACHINE = {
    "NVIDIA_L4": {
        **dict.fromkeys((f"g2-standard-{cores}" for cores in (4, 8, 12, 16, 32)), (1,)),
        "g2-standard-24": (2,),
        "g2-standard-48": (4,),
        "g2-standard-96": (8,),
    },
    "NVIDIA_TESLA_A100": {
        **{f"a2-highgpu-{count}g": (count,) for count in (1, 2, 4, 8)},
        "a2-megagpu-16g": (16,),
    },
    "NVIDIA_A100_80GB": {f"a2-ultragpu-{count}g": (count,) for count in (1, 2, 4, 8)},
    "NVIDIA_H100_80GB": {f"a3-highgpu-{count}g": (count,) for count in (1, 2, 4, 8)},
    "NVIDIA_TESLA_T4": {
        **dict.fromkeys((f"n1-{kind}-{cores}" for kind in ("standard", "highmem") for cores in (4, 8, 16)), (1, 2, 4)),
        **dict.fromkeys(("n1-standard-32", "n1-highmem-32"), (2, 4)),
    },
    "NVIDIA_TESLA_V100": {
        **dict.fromkeys((f"n1-{kind}-{cores}" for kind in ("standard", "highmem") for cores in (4, 8)), (1, 2, 4, 8)),
        **dict.fromkeys(("n1-standard-16", "n1-highmem-16"), (2, 4, 8)),
    },
}
# Their machines come with an accelerator, and with no other.
_ACCELERATED = ("g2-", "a2-", "a3-")
_MACHINE = re.compile(r"(n1|n2|n2d|e2|c2|c2d|c3|m1|g2|a2|a3)-[a-z]+-\d+g?")
_DISK_TYPES = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
_DISK_GB = range(100, 64001)
_MAX_POOLS = 4
_FAMILY_BY_ACCELERATOR = {"NVIDIA_TESLA_T4": "n1-standard-", "NVIDIA_TESLA_V100": "n1-standard-"}


class CustomJobs:
    """The jobs of JobService that are custom ones."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, state: State) -> None:
        self._state = state

    def create_custom_job(self, request: Any) -> Any:
        job = request.custom_job
        check_custom_job(job, request.parent.split("/")[3])
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


def container_job(container: dict[str, Any], task: Any, pipeline_job: Any) -> Any:
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
    pool.machine_spec.machine_type = _machine_for(kind, count, max(4, round(float(resources.get("cpuLimit") or 0))))
    _check_machine(pool.machine_spec)
    return job


def _machine_for(kind: str, count: int, cores: int) -> str:
    """Give the least machine with so many cores that carries an accelerator."""
    family = _FAMILY_BY_ACCELERATOR.get(kind, "" if kind else "e2-standard-")
    if family:
        return f"{family}{cores}"
    fitting = [machine for machine, counts in _COUNTS_BY_MACHINE.get(kind, {}).items() if count in counts]
    if not fitting:
        raise invalid(f"No machine carries {count} of {kind}.")
    named = [machine for machine in fitting if machine.endswith(f"-{cores}")]
    return (named or fitting)[0]


def check_custom_job(job: Any, location: str) -> None:
    """Refuse a `CustomJob` that the service would not take. Raises INVALID_ARGUMENT."""
    if not job.display_name or len(job.display_name) > 128:
        raise invalid("display_name is required, with 128 characters at most.")
    check_labels(job.labels)
    check_key(job.encryption_spec.kms_key_name, location)
    check_network(job.job_spec.network)
    check_account(job.job_spec.service_account)
    check_pools(job.job_spec.worker_pool_specs)
    _check_scheduling(job.job_spec.scheduling)


def check_pools(pools: Any) -> None:
    """Refuse what no machine can run: https://cloud.google.com/vertex-ai/docs/training/configure-compute.

    The first pool is the primary replica; then come workers, parameter servers and evaluators, each of which may be
    left out: https://cloud.google.com/vertex-ai/docs/training/distributed-training
    """
    if not pools:
        raise invalid("job_spec.worker_pool_specs is required.")
    if len(pools) > _MAX_POOLS:
        raise invalid(f"{len(pools)} worker pools: at most {_MAX_POOLS}.")
    if pools[0].replica_count != 1:
        raise invalid("The first worker pool has exactly one replica.")
    for pool in pools:
        if pool == type(pool)():
            continue
        if pool.replica_count < 1:
            raise invalid("worker_pool_specs: replica_count is required.")
        if not pool.container_spec.image_uri and not pool.python_package_spec.executor_image_uri:
            raise invalid("worker_pool_specs: container_spec or python_package_spec is required.")
        _check_machine(pool.machine_spec)
        if pool.HasField("disk_spec"):
            _check_disk(pool.disk_spec, pool.machine_spec.machine_type)


def _check_machine(machine: Any) -> None:
    if not machine.machine_type:
        raise invalid("machine_spec.machine_type is required.")
    if not _MACHINE.fullmatch(machine.machine_type):
        raise invalid(f"Machine type {machine.machine_type} is not supported for training.")
    kind = aiplatform_v1.AcceleratorType(machine.accelerator_type).name if machine.accelerator_type else ""
    if kind and machine.accelerator_count < 1:
        raise invalid("machine_spec.accelerator_count is required with an accelerator.")
    if not kind and (machine.accelerator_count or machine.machine_type.startswith(_ACCELERATED)):
        raise invalid(f"machine_spec.accelerator_type is required with machine type {machine.machine_type}.")
    if kind and machine.machine_type not in _COUNTS_BY_MACHINE.get(kind, {}):
        raise invalid(f"Accelerator {kind} does not come with machine type {machine.machine_type}.")
    if kind and machine.accelerator_count not in _COUNTS_BY_MACHINE[kind][machine.machine_type]:
        raise invalid(f"Machine type {machine.machine_type} does not carry {machine.accelerator_count} of {kind}.")


def _check_disk(disk: Any, machine_type: str) -> None:
    """Refuse a disk of another kind or size: DiskSpec's comments, and what G2 machines boot from.

    https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/machine_resources.proto and
    https://cloud.google.com/compute/docs/accelerator-optimized-machines#g2-standard-vms
    """
    if disk.boot_disk_type and disk.boot_disk_type not in _DISK_TYPES:
        raise invalid(f"Invalid boot_disk_type {disk.boot_disk_type}: one of {', '.join(_DISK_TYPES)}.")
    if disk.boot_disk_type == "pd-standard" and machine_type.startswith("g2-"):
        raise invalid(f"boot_disk_type pd-standard does not come with machine type {machine_type}.")
    if disk.boot_disk_size_gb and disk.boot_disk_size_gb not in _DISK_GB:
        raise invalid(f"boot_disk_size_gb: {_DISK_GB.start} to {_DISK_GB.stop - 1}.")


def _check_scheduling(scheduling: Any) -> None:
    """Refuse times that are none, and a wait that the strategy does not know: Scheduling's comments.

    https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/custom_job.proto
    """
    if scheduling.HasField("timeout") and scheduling.timeout.ToTimedelta().total_seconds() <= 0:
        raise invalid("scheduling.timeout must be positive.")
    waits = scheduling.HasField("max_wait_duration")
    if waits and scheduling.strategy != aiplatform_v1.Scheduling.Strategy.FLEX_START:
        raise invalid("scheduling.max_wait_duration is for the strategy FLEX_START alone.")
