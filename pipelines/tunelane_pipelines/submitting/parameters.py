"""The parameters of a run on a cluster: from every place, checked, and refused where a cluster could not use them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelane_components.bucket import SCHEME, BucketFolder
from tunelane_components.etl.sources.transformers import transformer_names
from tunelane_components.secrets import is_secret_version
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.defaults import default_parameters
from tunelane_pipelines.local.configs import config_path
from tunelane_pipelines.local.parameters import check_ahead, check_text, is_hub_id
from tunelane_pipelines.parameters import check_parameters, parameter_model, parse_assignments, read_config
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.settings import Settings
from tunelane_serving.errors import InputError

_PATHS = ("data", "test_data", "taxonomy", "checkpoint", "upload_root")
_TRANSFORMED = ("data", "test_data")
_SAMPLE = "sample://"
_FILE = re.compile(r"(file|sqlite(\+\w+)?):", re.IGNORECASE)
_SETTINGS = ("registry_uri", "deployment_uri")


def cluster_parameters(
    pipeline: str, *, config: str, assignments: Sequence[str], settings: Settings
) -> dict[str, str | int | float | bool]:
    """The pipeline's parameters for a run on a cluster, checked: settings < config < assignments.

    What to fine-tune is `model.base_model`, else the pipeline's own default: `base_model` is meant for this machine.

    Raises:
        InputError: a parameter is missing, of another type or out of bounds; is on this machine only; or has a password
            in it.
    """
    function = load_pipeline(pipeline)
    known = parameter_model(function).model_fields
    given: dict[str, Any] = {name: getattr(settings, name) for name in _SETTINGS if name in known}
    given |= default_parameters(pipeline, known, settings)
    if config:
        given |= read_config(config_path(config))
    parameters = check_parameters(function, given, parse_assignments(assignments))
    check_text(parameters)
    refuse_local(parameters)
    refuse_passwords(parameters)
    check_ahead(parameters)
    return parameters


def refuse_local(parameters: Mapping[str, Any]) -> None:
    """Refuse what a cluster does not reach: paths and samples of this machine, its registry and its deployments.

    Raises:
        InputError: names the first such parameter, and what to use.
    """
    is_transformed = parameters.get("source_format", "") in transformer_names()
    for name, value in parameters.items():
        if not isinstance(value, str) or not value:
            continue
        if name == "registry_uri" and is_secret_version(value):
            continue
        if name == "registry_uri" and not value.startswith(SCHEME):
            raise InputError(
                f"The registry {mask(value)} is none that a cluster reaches. Pass --set "
                "registry_uri=gs://BUCKET/PATH, or set registry_uri in the profile."
            )
        if name == "deployment_uri" and not value.startswith(SCHEME):
            raise InputError(
                f"The deployment {mask(value)} is none that a cluster reaches. Pass --set "
                "deployment_uri=gs://BUCKET/PATH, or set deployment_uri in the profile."
            )
        if name in _SETTINGS:
            # Its form is looked at, and nobody is asked.
            BucketFolder(value)
        if value.startswith(_SAMPLE):
            raise InputError(
                f"Parameter {name} is a sample ({value}), which is on this machine only. Copy it to a bucket (tunelane "
                f"samples fetch {value.removeprefix(_SAMPLE)} says where it lies) and pass --set {name}=gs://BUCKET/PATH."
            )
        # What a transformer reads need not be files: only it knows.
        is_foreign = is_transformed and name in _TRANSFORMED and not Path(value).is_absolute()
        if not is_foreign and (_FILE.match(value) or (name in _PATHS and "://" not in value) or _is_model(name, value)):
            raise InputError(
                f"Parameter {name} is a path on this machine ({mask(value)}). Copy it to a bucket (gcloud storage cp) "
                f"and pass --set {name}=gs://BUCKET/PATH."
            )


def refuse_passwords(parameters: Mapping[str, Any]) -> None:
    """Refuse a URI with a password in it: kfp prints a task's parameters into its log, and consoles show them.

    Raises:
        InputError: names the first such parameter.
    """
    for name, value in parameters.items():
        if isinstance(value, str) and mask(value) != value:
            raise InputError(
                f"Parameter {name} has a password in it ({mask(value)}), which logs would show. Leave it out: give the "
                "task's account the right, or have registry_uri name a secret: projects/P/secrets/S/versions/V."
            )


def _is_model(name: str, value: str) -> bool:
    """Whether a base model is a directory here rather than a hub id or a URI."""
    if name != "base_model" or "://" in value:
        return False
    return not is_hub_id(value) or Path(value).exists()
