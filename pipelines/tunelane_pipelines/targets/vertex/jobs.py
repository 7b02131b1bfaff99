"""Runs on Vertex AI: the calls of `PipelineServiceClient`."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tunelane_pipelines.targets.errors import NoSuchResource, Refused
from tunelane_pipelines.targets.target import RUN_LABEL, RemoteRun
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors, reply_lost
from tunelane_pipelines.targets.vertex.reading import read_run

_PAGE = 100
# Without the pipeline itself, which is most of a job: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/
# projects.locations.pipelineJobs/list
_LISTED = ("name", "display_name", "state", "create_time", "end_time", "labels", "schedule_name", "error")


def start_job(clients: Clients, request: Mapping[str, Any]) -> RemoteRun:
    """Send a `CreatePipelineJobRequest`; where its id is taken by the same run, that one is given.

    Raises:
        ServiceAway: no answer; with `is_reply_lost` the run may be there, or come later.
        Refused: the id is taken by something else, or the service finds the request wrong.
    """
    from google.api_core.exceptions import AlreadyExists
    from google.cloud.aiplatform_v1.types import CreatePipelineJobRequest
    from google.protobuf import json_format

    message = json_format.ParseDict(request, CreatePipelineJobRequest.pb(CreatePipelineJobRequest()))
    with plain_errors("start the run", clients.project, "aiplatform.pipelineJobs.create", creates=True):
        try:
            job = clients.pipelines.create_pipeline_job(
                CreatePipelineJobRequest.wrap(message), retry=None, timeout=CALL_TIMEOUT_S
            )
        except AlreadyExists:
            job = None
    if job is not None and not job.name:
        raise reply_lost("start the run")
    if job is not None:
        return read_run(job, clients.project)
    found = get_job(clients, f"{request['parent']}/pipelineJobs/{request['pipelineJobId']}")
    run_id = request["pipelineJob"]["labels"][RUN_LABEL]
    if found.labels.get(RUN_LABEL) != run_id:
        raise Refused(f"{found.name} is there already, and is not this run. Submit again, for another id.")
    return read_run(found, clients.project)


def find_job(clients: Clients, parent: str, run_id: str) -> RemoteRun | None:
    """Give the run with this id, which is also its label; None where there is none."""
    try:
        job = get_job(clients, f"{parent}/pipelineJobs/{run_id}")
    except NoSuchResource:
        return None
    return read_run(job, clients.project) if job.labels.get(RUN_LABEL) == run_id else None


def get_job(clients: Clients, resource: str) -> Any:
    """Give a `PipelineJob` with everything in it.

    Raises:
        NoSuchResource: it is not there.
    """
    with plain_errors("read the run", clients.project, "aiplatform.pipelineJobs.get"):
        return clients.pipelines.get_pipeline_job(name=resource, retry=None, timeout=CALL_TIMEOUT_S)


def list_jobs(clients: Clients, parent: str, since: datetime) -> Iterator[RemoteRun]:
    """Give the runs with our label that were made since then, the newest first, without tasks and parameters."""
    request = {
        "parent": parent,
        "filter": f'labels.{RUN_LABEL}:* AND create_time>="{since.astimezone(UTC).isoformat()}"',
        "order_by": "create_time desc",
        "page_size": _PAGE,
        "read_mask": {"paths": list(_LISTED)},
    }
    with plain_errors("list the runs", clients.project, "aiplatform.pipelineJobs.list"):
        for job in clients.pipelines.list_pipeline_jobs(request, retry=None, timeout=CALL_TIMEOUT_S):
            yield read_run(job, clients.project)


def cancel_job(clients: Clients, resource: str) -> None:
    """Ask for a run's end. The service goes on for a while; a run that has ended, or is about to, stays as it is."""
    from google.api_core.exceptions import FailedPrecondition

    with plain_errors("cancel the run", clients.project, "aiplatform.pipelineJobs.cancel"):
        try:
            clients.pipelines.cancel_pipeline_job(name=resource, retry=None, timeout=CALL_TIMEOUT_S)
        except FailedPrecondition:
            job = get_job(clients, resource)
            if job.end_time is None and job.state.name != "PIPELINE_STATE_CANCELLING":
                raise
