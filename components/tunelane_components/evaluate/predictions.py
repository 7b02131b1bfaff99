"""The predictions file: a JSONL per model and split. Evaluation and gate read only these."""

from pathlib import Path
from typing import Literal

import msgspec

from tunelane_components.etl.record import Record
from tunelane_serving.contract import read_lines, write_lines
from tunelane_serving.errors import ContractError


class Prediction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row as one model answered it.

    `scores` are probabilities in the order of the taxonomy that `taxonomy_digest` names; `slices` maps a dimension to
    the row's value ({"source": "tweets"}). The version is written only when it is not 1.
    """

    id: str
    truth: tuple[str, ...]
    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    model_digest: str
    taxonomy_digest: str
    slices: dict[str, str] = {}
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id: a prediction names its row")


def slices_of(record: Record) -> dict[str, str]:
    """Name the slices a record is reported under."""
    source = record.meta.get("source")
    return {"source": str(source)} if source else {}


def write_predictions(path: Path, predictions: list[Prediction]) -> None:
    """Write one model's predictions, atomically."""
    write_lines(path, predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """Read one model's predictions.

    Raises:
        ContractError: a line breaks the contract, a row stands twice, or two models are mixed.
    """
    predictions: list[Prediction] = []
    seen: set[str] = set()
    for line, prediction in enumerate(read_lines(path, Prediction), start=1):
        if prediction.id in seen:
            raise ContractError(f"{path}:{line}: field id: row {prediction.id!r} stands twice")
        if predictions and prediction.model_digest != predictions[0].model_digest:
            raise ContractError(f"{path}:{line}: field model_digest: two models in one file")
        if predictions and prediction.taxonomy_digest != predictions[0].taxonomy_digest:
            raise ContractError(f"{path}:{line}: field taxonomy_digest: two taxonomies in one file")
        seen.add(prediction.id)
        predictions.append(prediction)
    return predictions
