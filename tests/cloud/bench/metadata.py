"""Vertex ML Metadata: the contexts of runs, which the service makes, and those of experiments, which clients make.

Rules: the comments of context.proto and metadata_service.proto in
https://github.com/googleapis/googleapis/tree/master/google/cloud/aiplatform/v1
"""

import re
from typing import Any

from google.cloud import aiplatform_v1

from tests.cloud.bench.errors import invalid, not_found
from tests.cloud.bench.request_rules import check_labels
from tests.cloud.bench.state import State, listed, numbered

_ID = re.compile(r"[a-z0-9-]{4,128}")
# https://cloud.google.com/vertex-ai/docs/ml-metadata/system-schemas
_SCHEMAS = {("system.Experiment", "0.0.1"), ("system.ExperimentRun", "0.0.1"), ("system.PipelineRun", "0.0.1")}
_MAX_PARENTS = 10
_FILTERABLE = frozenset({"name", "display_name", "schema_title", "create_time", "update_time", "parent_contexts"})


class Metadata:
    """The contexts of the store `default`, which the first run of a region brings with it."""

    service = "google.cloud.aiplatform.v1.MetadataService"

    def __init__(self, state: State) -> None:
        self._state = state

    # What pipeline jobs do.

    def show_run(self, job: Any) -> None:
        """Put a job's context into its details; it is made the first time."""
        location, _, job_id = job.name.partition("/pipelineJobs/")
        name = f"{location}/metadataStores/default/contexts/{job_id}"
        if name not in self._state.resources:
            context = aiplatform_v1.Context.pb()(
                display_name=job_id, schema_title="system.PipelineRun", schema_version="0.0.1"
            )
            self._state.add(name, context)
        job.job_detail.pipeline_run_context.CopyFrom(self._state.get(name))

    # What a client does.

    def create_context(self, request: Any) -> Any:
        context = request.context
        if not any(name.startswith(f"{request.parent}/") for name in self._state.resources):
            raise not_found(request.parent)
        if request.context_id and not _ID.fullmatch(request.context_id):
            raise invalid(f"Invalid context_id {request.context_id}: 4-128 characters of [a-z][0-9]-.")
        if len(context.display_name) > 128:
            raise invalid("display_name: at most 128 characters.")
        if (context.schema_title, context.schema_version) not in _SCHEMAS:
            raise invalid(f"The schema {context.schema_title} {context.schema_version} is not registered.")
        check_labels(context.labels)
        del context.parent_contexts[:]
        return self._state.add(f"{request.parent}/contexts/{request.context_id or self._state.new_id()}", context)

    def get_context(self, request: Any) -> Any:
        return self._state.get(request.name)

    def list_contexts(self, request: Any) -> Any:
        response = aiplatform_v1.ListContextsResponse.pb()()
        return listed(request, response, self._state.children(request.parent, "contexts"), _FILTERABLE, frozenset())

    def add_context_children(self, request: Any) -> Any:
        """Add children; those that are ones already are skipped."""
        parent = self._state.get(numbered(request.context))
        children = [self._state.get(numbered(name)) for name in request.child_contexts]
        for child in children:
            if self._is_below(parent, child):
                raise invalid(f"{child.name} cannot be a child of {parent.name}: they would stand in a cycle.")
            if parent.name not in child.parent_contexts and len(child.parent_contexts) >= _MAX_PARENTS:
                raise invalid(f"{child.name} has {_MAX_PARENTS} parents already.")
        for child in children:
            if parent.name not in child.parent_contexts:
                child.parent_contexts.append(parent.name)
        return aiplatform_v1.AddContextChildrenResponse.pb()()

    def _is_below(self, context: Any, other: Any) -> bool:
        """Whether a context is another one, or below it."""
        above = (self._state.get(name) for name in context.parent_contexts)
        return context.name == other.name or any(self._is_below(parent, other) for parent in above)
