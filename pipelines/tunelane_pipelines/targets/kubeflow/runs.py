"""Runs: what is sent to start one, and how one is found again. Runs have no labels here: the name is our run id."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.errors import Refused
from tunelane_pipelines.targets.kubeflow.client import Api
from tunelane_pipelines.targets.kubeflow.reading import written_marks
from tunelane_pipelines.targets.target import RUN_LABEL, Submission

_PAGE = 100


def run_body(submission: Submission, settings: KubeflowSettings) -> dict[str, Any]:
    """Give a `V2beta1Run` as JSON, but for the experiment's id, which the service gives.

    Raises:
        Refused: the submission asks for what Kubeflow cannot do.
    """
    return {
        "display_name": submission.run_id,
        "description": written_marks(submission.display_name, {RUN_LABEL: submission.run_id, **submission.labels}),
        **what_runs(submission, settings),
    }


def what_runs(submission: Submission, settings: KubeflowSettings) -> dict[str, Any]:
    """Give the fields that a run and a recurring run share.

    Raises:
        Refused: the submission asks for what Kubeflow cannot do.
    """
    if not submission.fail_fast:
        # The DAGs that Kubeflow makes have Argo's failFast, and no field of the API turns it off:
        # https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/compiler/argocompiler/dag.go
        raise Refused("Kubeflow ends a run with its first failed task. Leave --fail-slow out, or submit to Vertex AI.")
    # Nothing that is compiled for Kubeflow may be cached, whether the submission would have it or not.
    spec: dict[str, Any] = submission.spec
    if submission.manifests:
        platform: dict[str, Any] = {}
        for manifest in submission.manifests:
            platform.update(manifest)
        spec = {"pipeline_spec": spec, "platform_spec": platform}
    runtime: dict[str, Any] = {"parameters": submission.parameters}
    if settings.pipeline_root:
        runtime["pipeline_root"] = settings.pipeline_root
    body: dict[str, Any] = {"pipeline_spec": spec, "runtime_config": runtime}
    if settings.service_account:
        body["service_account"] = settings.service_account
    return body


def experiment_body(name: str, settings: KubeflowSettings) -> dict[str, Any]:
    """Give a `V2beta1Experiment` as JSON."""
    return {"display_name": name, **({"namespace": settings.namespace} if settings.namespace else {})}


def find_experiment(api: Api, name: str, namespace: str) -> str | None:
    """Give an experiment's id, or None where there is none of that name."""
    found = api.call("experiment", "list_experiments", filter=_equal("display_name", name), namespace=namespace or None)
    return next((str(one.experiment_id) for one in found.experiments or [] if one.display_name == name), None)


def experiment_id(api: Api, name: str, settings: KubeflowSettings) -> str:
    """Give an experiment's id; it is made where it is missing. Names are unique: it is never made twice."""
    found = find_experiment(api, name, settings.namespace)
    if found is not None:
        return found
    try:
        made = api.call("experiment", "create_experiment", experiment=experiment_body(name, settings))
    except Refused:
        # Somebody else made it meanwhile.
        found = find_experiment(api, name, settings.namespace)
        if found is None:
            raise
        return found
    return str(made.experiment_id)


def find_run(api: Api, run_id: str, namespace: str) -> Any | None:
    """Give the `V2beta1Run` of that name, or None."""
    runs = _listed(api, namespace, _equal("display_name", run_id))
    return next((run for run in runs if run.display_name == run_id), None)


def runs_since(api: Api, since: datetime, namespace: str) -> Iterator[Any]:
    """Give the runs made since then, the newest first."""
    predicate = {"operation": "GREATER_THAN_EQUALS", "key": "created_at", "timestamp_value": since.isoformat()}
    return _listed(api, namespace, json.dumps({"predicates": [predicate]}))


def runs_of_schedule(api: Api, resource: str, namespace: str) -> tuple[int, datetime | None]:
    """Give how many runs a schedule started, and when the last one."""
    answer = api.call(
        "run",
        "list_runs",
        namespace=namespace or None,
        filter=_equal("recurring_run_id", resource),
        sort_by="created_at desc",
        page_size=1,
    )
    runs = answer.runs or []
    return int(answer.total_size or len(runs)), runs[0].created_at if runs else None


def _listed(api: Api, namespace: str, matching: str) -> Iterator[Any]:
    token = None
    while True:
        page = api.call(
            "run",
            "list_runs",
            namespace=namespace or None,
            filter=matching,
            sort_by="created_at desc",
            page_size=_PAGE,
            page_token=token,
        )
        yield from page.runs or []
        token = page.next_page_token
        if not token:
            return


def _equal(key: str, value: str) -> str:
    """A filter as the API takes it: https://github.com/kubeflow/pipelines/blob/master/backend/api/v2beta1/filter.proto."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})
