"""Settings that stand in for parameters of a pipeline, where neither a config nor the command line gives them."""

from collections.abc import Iterable
from typing import Any

from tunelane_pipelines.settings import Settings, section_types

_SECTIONS = ("model", "data", "evaluation", "serving")
# Within a section a name need not say whose it is; the others are called as the parameter is.
_RENAMED = {
    ("model", "name"): "model_name",
    ("data", "uri"): "data",
    ("data", "test_uri"): "test_data",
    ("data", "format"): "source_format",
}

PARAMETER_BY_SETTING = {
    (section, field): _RENAMED.get((section, field), field)
    for section in _SECTIONS
    for field in section_types()[section].model_fields
}
"""The parameter that each setting of these sections stands in for."""

# The base model of a checkpoint is the one that it was made from, and no choice.
_OF_TRAINING_ONLY = {"base_model"}
_TRAINING = "train-classifier"


def default_parameters(pipeline: str, known: Iterable[str], settings: Settings) -> dict[str, Any]:
    """Give what the settings say about a pipeline's parameters; what they leave open is missing.

    Args:
        pipeline: its name in the catalog.
        known: the names of its parameters.
        settings: in force.
    """
    names = set(known) if pipeline == _TRAINING else set(known) - _OF_TRAINING_ONLY
    found = {
        parameter: getattr(getattr(settings, section), field)
        for (section, field), parameter in PARAMETER_BY_SETTING.items()
        if parameter in names
    }
    return {parameter: value for parameter, value in found.items() if value is not None}
