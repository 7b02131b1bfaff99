"""Experiments on Vertex AI: the calls of `MetadataServiceClient` that file a run under one.

An experiment is a context of the schema system.Experiment in the metadata store of the runs, and a run belongs to it
where the run's own context is its child. That is what `aiplatform.PipelineJob.submit(experiment=…)` makes, and what the
console and `aiplatform.get_experiment_df` read.

https://cloud.google.com/vertex-ai/docs/experiments/intro-vertex-ai-experiments and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.metadataStores.contexts
"""

from typing import Any

from tunelane_pipelines.targets.errors import NoSuchResource, Refused, ServiceAway
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors
from tunelane_pipelines.targets.vertex.jobs import get_job

_SCHEMA = "system.Experiment"
_SCHEMA_VERSION = "0.0.1"
# The console hides an experiment without it.
_METADATA = {"experiment_deleted": False}


def file_job(clients: Clients, resource: str, experiment: str) -> None:
    """File a run under an experiment, which is made where it is missing. Nothing changes where it is there already.

    The service makes a run's context, and with the first of a region the metadata store, a moment after the run.

    Raises:
        ServiceAway: the service does not answer, or the run has no context yet.
        NoSuchResource: the run ended before it got one.
        Refused: something else has the experiment's name.
    """
    job = get_job(clients, resource)
    context = job.job_detail.pipeline_run_context
    if not context.name and job.end_time:
        raise NoSuchResource("Cannot file the run: it ended before the service made its context. Start it again.")
    if not context.name:
        raise ServiceAway("Cannot file the run: the service has not made its context yet. Try again.")
    store = context.name.rpartition("/contexts/")[0]
    parent = _experiment(clients, store, experiment)
    with plain_errors("file the run", clients.project, "aiplatform.contexts.addContextChildren"):
        # One that is a child already is skipped by the service.
        clients.metadata.add_context_children(
            context=parent, child_contexts=[context.name], retry=None, timeout=CALL_TIMEOUT_S
        )


def _experiment(clients: Clients, store: str, name: str) -> str:
    """Give the resource of an experiment, which is made where it is missing."""
    from google.api_core.exceptions import AlreadyExists, NotFound

    resource = f"{store}/contexts/{name}"
    with plain_errors("read the experiment", clients.project, "aiplatform.contexts.get"):
        try:
            found = _get(clients, resource)
        except NotFound:
            found = None
    if found is None:
        with plain_errors("make the experiment", clients.project, "aiplatform.contexts.create"):
            try:
                clients.metadata.create_context(
                    parent=store,
                    context={
                        "display_name": name,
                        "schema_title": _SCHEMA,
                        "schema_version": _SCHEMA_VERSION,
                        "metadata": _METADATA,
                    },
                    context_id=name,
                    retry=None,
                    timeout=CALL_TIMEOUT_S,
                )
            except AlreadyExists:
                found = _get(clients, resource)
    if found is not None and found.schema_title != _SCHEMA:
        raise Refused(f"{resource} is there already, and is no experiment. Choose another name with --experiment.")
    return resource


def _get(clients: Clients, resource: str) -> Any:
    return clients.metadata.get_context(name=resource, retry=None, timeout=CALL_TIMEOUT_S)
