"""The pipelines by the name that the command line knows them by."""

import importlib
from typing import Any

from tunelane_pipelines.nearest import no_such
from tunelane_serving.errors import InputError

MODULE_BY_PIPELINE = {
    "train-classifier": "tunelane_pipelines.train_classifier",
    "convert": "tunelane_pipelines.convert",
}


def load_pipeline(name: str) -> Any:
    """The KFP pipeline of that name; imports kfp.

    Raises:
        InputError: there is none; names the nearest.
    """
    if name not in MODULE_BY_PIPELINE:
        raise InputError(no_such("pipeline", name, MODULE_BY_PIPELINE))
    return getattr(importlib.import_module(MODULE_BY_PIPELINE[name]), name.replace("-", "_"))
