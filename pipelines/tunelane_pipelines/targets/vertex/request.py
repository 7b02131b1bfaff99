"""The requests that start runs on Vertex AI, as the JSON of its REST API; pure, so that a dry run needs no client.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.labels import check_label
from tunelane_pipelines.targets.target import RUN_LABEL, Submission
from tunelane_pipelines.targets.vertex.templates import template_uri
from tunelane_serving.errors import InputError

PIPELINE_LABEL = "tunelane-pipeline"
EXPERIMENT_LABEL = "tunelane-experiment"

_MAX_LABELS = 64
_MAX_DISPLAY_NAME_CHARACTERS = 128
# The service takes longer ids, but a run's id is a label's value, too.
_RUN_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
# The id of a metadata context, which has 4 characters at least; and a label's value, which has 63 at most.
_EXPERIMENT = re.compile(r"[a-z0-9][a-z0-9-]{3,62}")

_NEEDED = {
    "project": "my-project",
    "region": "europe-west4",
    "pipeline_root": "gs://my-bucket/runs",
}
_FORM_BY_SETTING = {
    "project": (r"[a-z][a-z0-9:.-]*[a-z0-9]", "my-project"),
    "region": (r"[a-z]+-[a-z]+\d+", "europe-west4"),
    "pipeline_root": (r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/.*)?", "gs://my-bucket/runs"),
    "service_account": (r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", "runner@my-project.iam.gserviceaccount.com"),
    "network": (r"projects/\d+/global/networks/[a-z0-9-]+", "projects/123456789012/global/networks/my-network"),
    "encryption_key": (
        r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
        "projects/P/locations/REGION/keyRings/R/cryptoKeys/K",
    ),
    "template_repository": (r"[a-z0-9-]+-kfp\.pkg\.dev/[^/]+/[^/]+", "europe-west4-kfp.pkg.dev/my-project/templates"),
}


def check_settings(settings: GcpSettings) -> None:
    """Refuse settings without which, or with which, no run can be asked for.

    Raises:
        InputError: one that is needed is missing, or one is not of its form.
    """
    for name, example in _NEEDED.items():
        if not getattr(settings, name):
            raise InputError(
                f"No gcp.{name}. Set TUNELANE_GCP__{name.upper()}, or {name} below gcp in the profile: {example}."
            )
    for name, (form, example) in _FORM_BY_SETTING.items():
        value = getattr(settings, name)
        if value and not re.fullmatch(form, value):
            raise InputError(f"gcp.{name} is {value!r}. Write it like {example}.")
    _check_labels(settings.labels)


def location(settings: GcpSettings) -> str:
    """Give the parent of all of a project's resources in a region."""
    return f"projects/{settings.project}/locations/{settings.region}"


def run_request(submission: Submission, settings: GcpSettings) -> dict[str, Any]:
    """Give the `CreatePipelineJobRequest` that starts a run; its id there is the run's.

    The pipeline goes along whole even where it is kept as a template, so that what runs is what is seen here, whoever
    moves the template's tag.

    Raises:
        InputError: the run's id, display name or a label breaks the service's rules.
    """
    if not _RUN_ID.fullmatch(submission.run_id):
        raise InputError(
            f"The run id {submission.run_id!r} cannot be used: up to 63 of a-z, 0-9 and -, a letter first."
        )
    return {**scheduled_request(submission, settings), "pipelineJobId": submission.run_id}


def scheduled_request(submission: Submission, settings: GcpSettings) -> dict[str, Any]:
    """Give the request that a schedule repeats: `run_request` without an id, which the service makes for each run.

    Raises:
        InputError: the display name or a label breaks the service's rules.
    """
    if not 0 < len(submission.display_name) <= _MAX_DISPLAY_NAME_CHARACTERS:
        raise InputError(
            f"The display name has {len(submission.display_name)} characters, not 1 to {_MAX_DISPLAY_NAME_CHARACTERS}. "
            "Change model_name."
        )
    spec = submission.spec if submission.caching else _without_caching(submission.spec)
    policy = "FAST" if submission.fail_fast else "SLOW"
    job: dict[str, Any] = {
        "displayName": submission.display_name,
        "pipelineSpec": spec,
        "labels": _labels(submission, settings),
        "runtimeConfig": {
            "gcsOutputDirectory": settings.pipeline_root,
            "parameterValues": dict(submission.parameters),
            "failurePolicy": f"PIPELINE_FAILURE_POLICY_FAIL_{policy}",
        },
    }
    if settings.service_account:
        job["serviceAccount"] = settings.service_account
    if settings.network:
        job["network"] = settings.network
    if settings.encryption_key:
        job["encryptionSpec"] = {"kmsKeyName": settings.encryption_key}
    if settings.template_repository:
        job["templateUri"] = template_uri(spec, settings.template_repository)
    return {"parent": location(settings), "pipelineJob": job}


def _labels(submission: Submission, settings: GcpSettings) -> dict[str, str]:
    ours = {RUN_LABEL: submission.run_id, PIPELINE_LABEL: submission.pipeline}
    if submission.experiment:
        if not _EXPERIMENT.fullmatch(submission.experiment):
            raise InputError(
                f"The experiment {submission.experiment!r} cannot be used: 4 to 63 of a-z, 0-9 and -, no - first."
            )
        ours[EXPERIMENT_LABEL] = submission.experiment
    labels = {**settings.labels, **submission.labels, **ours}
    _check_labels(labels)
    return labels


def _check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > _MAX_LABELS:
        raise InputError(
            f"{len(labels)} labels are too many. A run has at most {_MAX_LABELS}: take some out of gcp.labels."
        )
    for name, value in labels.items():
        check_label(name, value)


def _without_caching(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Give a copy of a pipeline in which every task is told to take no earlier result."""
    changed = deepcopy(dict(spec))
    for component in (changed["root"], *changed["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {"enableCache": False}
    return changed
