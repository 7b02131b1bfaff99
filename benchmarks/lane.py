"""The stages from dataset to judged package, called as functions, for benchmarks that vary one thing at a time."""

import time
from dataclasses import dataclass
from pathlib import Path

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import read_split
from tunelane_components.evaluate.evaluation import predict_split
from tunelane_components.evaluate.floor import floor_predictions
from tunelane_components.evaluate.predictions import Prediction
from tunelane_components.export.onnx import export_package
from tunelane_components.parity.comparison import ParityBounds
from tunelane_components.parity.parity import validate_parity
from tunelane_components.train.lora import LoraOptions, train_lora
from tunelane_pipelines.samples import fetch
from tunelane_serving.package import ParityReport


@dataclass(frozen=True)
class Lane:
    """One trip through the stages. Predictions are the preferred (int8) variant's and the floor's on the test split."""

    package: list[Prediction]
    floor: list[Prediction]
    parity: ParityReport
    train_rows: int
    train_s: float
    train_cpu_s: float
    valid_macro_f1: float


def run_lane(rows: int, options: LoraOptions, scratch: Path) -> Lane:
    """Build the sample dataset with `rows` rows (0: all), train, export, check parity, predict the test split."""
    dataset, checkpoint, draft, package = (scratch / name for name in ("dataset", "checkpoint", "draft", "package"))
    build_dataset(
        str(fetch("sentiment")),
        dataset,
        id_field="id",
        source_field="source",
        rows=rows,
    )
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    card = train_lora(dataset, str(fetch("minilm")), checkpoint, options)
    train_s, train_cpu_s = time.monotonic() - started_s, time.process_time() - started_cpu_s
    export_package(checkpoint, draft)
    parity = validate_parity(checkpoint, dataset, draft, package, bounds=ParityBounds())
    train = read_split(dataset, "train")
    test = read_split(dataset, "test")
    return Lane(
        package=predict_split(package, test),
        floor=floor_predictions(train, test, card.taxonomy),
        parity=parity,
        train_rows=len(train),
        train_s=train_s,
        train_cpu_s=train_cpu_s,
        valid_macro_f1=card.metrics["valid_macro_f1"],
    )
