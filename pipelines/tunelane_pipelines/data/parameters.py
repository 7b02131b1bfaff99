"""The parameters of a build on the command line: those of `build_dataset` itself, from a config and from --set."""

import inspect
from collections.abc import Callable
from typing import Any

from tunelane_components.etl.build import build_dataset
from tunelane_pipelines.local.configs import config_path
from tunelane_pipelines.parameters import check_parameters, parse_assignments, read_config
from tunelane_pipelines.samples import resolve

_FLAT = (str, int, float, bool)
_DATA = "data"


def build_parameters(data: str, *, config: str, assignments: list[str]) -> dict[str, Any]:
    """Every flat parameter of `build_dataset` with its value: config < assignments < `data`, where that is not empty.

    A config of a run serves here, too: what `build_dataset` does not have and the pipeline has is passed over.

    Raises:
        InputError: a parameter is not known or of another type, the config cannot be read, or there is no such sample.
    """
    function = flat_build_dataset()
    known = set(inspect.signature(function).parameters)
    given = read_config(config_path(config)) if config else {}
    if given.keys() - known:
        given = {name: value for name, value in given.items() if name in known or name not in _pipeline_parameters()}
    assigned = parse_assignments(assignments) | ({_DATA: data} if data else {})
    parameters = check_parameters(function, given, assigned)
    return {**parameters, _DATA: resolve(parameters[_DATA])}


def settable_parameters() -> list[str]:
    """The parameters that --set takes."""
    return list(inspect.signature(flat_build_dataset()).parameters)


def flat_build_dataset() -> Callable[..., None]:
    """`build_dataset` as a signature of those parameters that are text, numbers or truth values."""
    signature = inspect.signature(build_dataset)

    def build_dataset_parameters(**_: Any) -> None:
        """Stand for the signature alone."""

    flat = [parameter for parameter in signature.parameters.values() if parameter.annotation in _FLAT]
    vars(build_dataset_parameters)["__signature__"] = signature.replace(parameters=flat, return_annotation=None)
    return build_dataset_parameters


def _pipeline_parameters() -> set[str]:
    """The parameters of train-classifier, whose configs have those of its first task among them."""
    from tunelane_pipelines.catalog import load_pipeline

    return set(inspect.signature(load_pipeline("train-classifier").pipeline_func).parameters)
