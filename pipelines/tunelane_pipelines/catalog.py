"""The pipelines by the name that the command line knows them by."""

import importlib
from difflib import get_close_matches
from typing import Any

from tunelane_serving.errors import InputError

MODULE_BY_PIPELINE = {
    "train-classifier": "tunelane_pipelines.train_classifier",
    "convert": "tunelane_pipelines.convert",
}


def pipeline_names() -> tuple[str, ...]:
    """The names of all pipelines."""
    return tuple(MODULE_BY_PIPELINE)


def load_pipeline(name: str) -> Any:
    """The KFP pipeline of that name; imports kfp.

    Raises:
        InputError: there is none; names the nearest.
    """
    if name not in MODULE_BY_PIPELINE:
        near = get_close_matches(name, MODULE_BY_PIPELINE, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(MODULE_BY_PIPELINE)}."
        raise InputError(f"No pipeline {name!r}. {hint}")
    return getattr(importlib.import_module(MODULE_BY_PIPELINE[name]), name.replace("-", "_"))
