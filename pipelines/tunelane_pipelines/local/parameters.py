"""The parameters of a run on this machine: from every place, checked, and refused before anything runs."""

import glob
import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tunelane_components.deploy.open import open_deployer
from tunelane_components.etl.sources.transformers import transformer_names
from tunelane_components.gate.gate import check_thresholds
from tunelane_components.parity.comparison import ParityBounds
from tunelane_components.train.lora import LoraOptions
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.defaults import default_parameters
from tunelane_pipelines.local.configs import config_path
from tunelane_pipelines.local.runner import check_paths
from tunelane_pipelines.parameters import check_parameters, parse_assignments, read_config
from tunelane_pipelines.samples import resolve
from tunelane_pipelines.settings import Settings
from tunelane_serving.errors import InputError
from tunelane_serving.files import home_expanded

_PATH_PARAMETERS = ("data", "test_data", "taxonomy", "checkpoint", "base_model")
_DATA_PARAMETERS = ("data", "test_data")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def local_parameters(pipeline: str, *, config: str, assignments: list[str], settings: Settings) -> dict[str, Any]:
    """The pipeline's parameters for a run on this machine, checked: settings < config < assignments.

    Samples are fetched, relative paths made absolute, and files that are not there refused.
    """
    function = load_pipeline(pipeline)
    known = set(inspect.signature(function.pipeline_func).parameters)
    defaults = {
        "registry_uri": settings.registry_uri,
        "deployment_uri": settings.deployment_uri,
        **({"base_model": settings.base_model} if pipeline == "train-classifier" else {}),
    }
    given = {name: value for name, value in defaults.items() if name in known}
    given |= default_parameters(pipeline, known, settings)
    if config:
        given |= read_config(config_path(config))
    parameters = check_parameters(function, given, parse_assignments(assignments))
    check_paths(settings.root, parameters)
    is_transformed = parameters.get("source_format", "") in transformer_names()
    check_text(parameters)
    check_ahead(parameters)
    if "deployment_uri" in parameters:
        open_deployer(parameters["deployment_uri"])
    for name in _PATH_PARAMETERS:
        # What a transformer reads need not be files: only it knows.
        if parameters.get(name) and not (is_transformed and name in _DATA_PARAMETERS):
            parameters[name] = _located(name, resolve(parameters[name]))
    if parameters.get("upload_root") and "://" not in parameters["upload_root"]:
        parameters["upload_root"] = str(home_expanded(Path(parameters["upload_root"])).absolute())
    return parameters


def check_text(parameters: Mapping[str, Any]) -> None:
    """Refuse bytes that are no text: a shell passes them on, and no JSON file could hold them.

    Raises:
        InputError: names the first such parameter.
    """
    for name, value in parameters.items():
        if isinstance(value, str) and value != value.encode(errors="ignore").decode():
            raise InputError(f"Parameter {name} is not UTF-8: {value!r}. Rename it, or what it names.")


def is_hub_id(name: str) -> bool:
    """Whether a base model is written as one of a hub: NAME or OWNER/NAME."""
    return _HUB_ID.fullmatch(name) is not None


def check_ahead(parameters: Mapping[str, Any]) -> None:
    """Let the tasks from the training on refuse their parameters now, rather than when their turn comes.

    Raises:
        InputError: one is out of its bounds.
    """
    ParityBounds(min_agreement=parameters["min_agreement"], min_f1_delta=parameters["min_f1_delta"])
    if "minimum_f1" in parameters:
        LoraOptions(**{field.name: parameters[field.name] for field in fields(LoraOptions)})
        check_thresholds(parameters["minimum_f1"], parameters["margin"], parameters["minimum_support"])


def _located(name: str, value: str) -> str:
    """`value` as an absolute path where it is local; hub ids and URIs as they are."""
    if "://" in value:
        return value
    path = home_expanded(Path(value))
    try:
        is_there = path.exists()
    except OSError as error:
        raise InputError(f"{error.strerror}: {value}. Pass --set {name}=PATH or a gs:// URI that exists.") from error
    # Whether a pattern finds anything is for the task to say.
    if is_there or (name in _DATA_PARAMETERS and glob.has_magic(str(path))):
        return str(path.absolute())
    if name == "base_model" and is_hub_id(value):
        return value
    raise InputError(f"No such file or directory: {value}. Pass --set {name}=PATH or a gs:// URI that exists.")
