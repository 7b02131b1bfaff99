"""What the settings say of a training run: bounds that its tasks would refuse, and wishes that no run can fulfil."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from tunelane_components.etl.options import DatasetOptions, Fields, check_options
from tunelane_components.etl.rows.mapping import mapping_of
from tunelane_components.etl.sources.formats import check_format
from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_components.gate.gate import check_thresholds
from tunelane_components.parity.comparison import ParityBounds
from tunelane_components.storage import local_path
from tunelane_components.train.lora import LoraOptions
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.defaults import default_parameters
from tunelane_pipelines.doctor.check import Check, looked_at
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.settings import Settings
from tunelane_serving.errors import InputError

_PIPELINE = "train-classifier"


def training_parameters(settings: Settings) -> dict[str, Any]:
    """Give the parameters of `train-classifier` as far as they are known: its own defaults under the settings'."""
    own = inspect.signature(load_pipeline(_PIPELINE).pipeline_func).parameters
    defaults = {name: found.default for name, found in own.items() if found.default is not inspect.Parameter.empty}
    return {**defaults, **default_parameters(_PIPELINE, own, settings)}


def check_bounds(settings: Settings) -> Iterator[Check]:
    """Whether the tasks of a training run would take what each section sets; one line for each that sets something."""
    parameters = training_parameters(settings)
    for section, refuse in _REFUSE_BY_SECTION.items():
        changed = getattr(settings, section).model_dump(exclude_none=True)
        if changed:
            shown = mask(", ".join(f"{name} {value}" for name, value in changed.items()))
            yield from looked_at(section, shown, partial(refuse, parameters))
    yield from contradictions(parameters, _labels(parameters["taxonomy"]))


def contradictions(parameters: Mapping[str, Any], labels: int) -> Iterator[Check]:
    """Give what each bound allows, and all of them together do not.

    Args:
        parameters: of a training run.
        labels: how many the taxonomy has; 0 where that is not known.
    """
    rows, minimum_rows, support = (parameters[name] for name in ("rows", "minimum_rows", "minimum_support"))
    if 0 < rows < minimum_rows:
        advice = "Every run stops with too few rows. Raise data.rows, or lower data.minimum_rows."
        yield Check("data", "problem", f"rows {rows:,} is below minimum_rows {minimum_rows:,}", advice)
    test_rows = rows * parameters["test_fraction"]
    if rows and not parameters["test_data"] and test_rows < support * labels:
        found = f"{test_rows:,.0f} test rows for {labels} labels of at least minimum_support {support} each"
        advice = "Every verdict will be insufficient. Raise data.rows or data.test_fraction, or set data.test_uri."
        yield Check("evaluation", "warning", found, advice)


def _labels(taxonomy: str) -> int:
    """How many labels a taxonomy has; 0 where it does not lie here, or cannot be used, which is said elsewhere."""
    path = local_path(taxonomy) if taxonomy else None
    try:
        return len(load_taxonomy(path).labels) if path is not None else 0
    except InputError:
        return 0


def _refuse_data(parameters: Mapping[str, Any]) -> None:
    """Refuse what `build_dataset` would before it reads a row."""
    asked = set(DatasetOptions.__struct_fields__) & parameters.keys()
    mapping = Fields(**{name: parameters[f"{name}_field"] for name in ("text", "label", "id", "source", "split")})
    mapping_of(mapping)
    if parameters["source_format"]:
        check_format(parameters["source_format"])
    check_options(
        DatasetOptions(fields=mapping, taxonomy_given=False, **{name: parameters[name] for name in sorted(asked)})
    )


def _refuse_model(parameters: Mapping[str, Any]) -> None:
    LoraOptions(**{field.name: parameters[field.name] for field in fields(LoraOptions)})


def _refuse_evaluation(parameters: Mapping[str, Any]) -> None:
    check_thresholds(parameters["minimum_f1"], parameters["margin"], parameters["minimum_support"])


def _refuse_serving(parameters: Mapping[str, Any]) -> None:
    ParityBounds(min_agreement=parameters["min_agreement"], min_f1_delta=parameters["min_f1_delta"])


_REFUSE_BY_SECTION: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "model": _refuse_model,
    "data": _refuse_data,
    "evaluation": _refuse_evaluation,
    "serving": _refuse_serving,
}
