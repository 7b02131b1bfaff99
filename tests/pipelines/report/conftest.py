"""Runs to report on: what real stages wrote on toy data, and records of it.

Training and PyTorch are left out, as they take too long: the checkpoint's card, the parity report and its comparison
are written by hand.
"""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import read_summary
from tunelane_components.evaluate.evaluation import evaluate
from tunelane_components.evaluate.figures import headline, read_evaluation
from tunelane_components.gate.gate import gate_predictions
from tunelane_components.parity.comparison import ParityBounds, ParityComparison, VariantRows
from tunelane_components.train.checkpoint import CheckpointCard, Epoch, LossPoint, write_card
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.runs.outputs import content_digest
from tunelane_pipelines.runs.record import LOG, Artifact, Overhead, RunRecord, TaskRecord
from tunelane_serving.contract import write
from tunelane_serving.package import BaseModel, ParityReport, VariantParity, package_digest, read_manifest, seal
from tunelane_serving.taxonomy import Label, Taxonomy


@dataclass(frozen=True)
class Run:
    """A run's directory and its record."""

    directory: Path
    record: RunRecord


@pytest.fixture(scope="session")
def lane(tmp_path_factory: pytest.TempPathFactory, tiny_package: Callable[..., Path]) -> Callable[..., Path]:
    """Give what the stages wrote for the given labels and sources, made once a set: a directory a task."""
    made: dict[Any, Path] = {}

    def give(labels: tuple[str, ...], sources: tuple[str, ...]) -> Path:
        if (labels, sources) not in made:
            made[labels, sources] = _lane(tmp_path_factory.mktemp("lane"), tiny_package, labels, sources)
        return made[labels, sources]

    return give


@pytest.fixture
def make_run(lane: Callable[..., Path], tmp_path: Path) -> Callable[..., Run]:
    """Give a factory of runs that succeeded; `upto` ends one after so many tasks, the others are pending."""

    def make(
        pipeline: str = "train-classifier",
        labels: tuple[str, ...] = ("negative", "positive"),
        sources: tuple[str, ...] = ("web", "phone"),
        upto: int = 99,
        **changes: Any,
    ) -> Run:
        directory = tmp_path / "run"
        shutil.copytree(lane(labels, sources), directory)
        (directory / LOG).write_text("what was said\n")
        return Run(directory, _record(directory, pipeline, upto, changes))

    return make


def _lane(
    directory: Path, tiny_package: Callable[..., Path], labels: tuple[str, ...], sources: tuple[str, ...]
) -> Path:
    with (directory / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label", "source"))
        for number in range(60 * len(labels)):
            label = labels[number % len(labels)]
            wrong = labels[(number // 7) % len(labels)]
            said = wrong if number % 5 == 0 else label
            writer.writerow((f"the film was so {said} {number}", label, sources[number // 3 % len(sources)]))
    artifacts = directory / "artifacts"
    dataset = artifacts / "build-dataset" / "dataset"
    summary = build_dataset(
        str(directory / "rows.csv"),
        dataset,
        source_field="source",
        test_fraction=0.2,
        # The rows differ by a number only.
        near_duplicate_threshold=0.0,
    ).summary
    (directory / "rows.csv").unlink()

    card = CheckpointCard(
        taxonomy=Taxonomy(tuple(Label(name) for name in sorted(labels))),
        base_model=BaseModel("tiny-encoder", "apache-2.0"),
        max_length_tokens=32,
        data_digest=summary.digest,
        metrics={"valid_macro_f1": 0.75, "best_epoch": 2, "train_rows": 400},
        options={"rank": 8, "learning_rate": 0.001},
        history=(Epoch(1, 0.6, 0.7, 3.0, 10), Epoch(2, 0.4, 0.75, 6.0, 20)),
        losses=tuple(LossPoint(step, 1 / step) for step in range(2, 21, 2)),
    )
    checkpoint = artifacts / "train-lora" / "model"
    checkpoint.mkdir(parents=True)
    write_card(checkpoint, card)

    package = tiny_package(artifacts / "validate-parity" / "package", labels=tuple(sorted(labels)))
    parity = ParityReport(50, (VariantParity("fp32", 1e-6, 1e-6, 1, 0.98, 0.0),))
    seal(package, msgspec.structs.replace(read_manifest(package), parity=parity))
    said = tuple(labels[number % len(labels)] for number in range(50))
    comparison = ParityComparison(
        report=parity,
        bounds=ParityBounds(),
        ids=tuple(f"row-{number}" for number in range(50)),
        labels=said,
        scores=tuple(0.5 + number / 100 for number in range(50)),
        variants=(VariantRows("fp32", (labels[-1], *said[1:]), tuple(0.5 + number / 101 for number in range(50))),),
    )
    write(artifacts / "validate-parity" / "comparison", comparison)

    predictions = artifacts / "evaluate-model" / "predictions"
    evaluate(dataset, package, None, predictions)
    (artifacts / "gate-model").mkdir()
    write(artifacts / "gate-model" / "verdict", gate_predictions(predictions, minimum_f1=0.5))
    return directory


def _record(directory: Path, pipeline: str, upto: int, changes: dict[str, Any]) -> RunRecord:
    dag = read_dag(load_pipeline(pipeline))
    tasks = []
    for number, task in enumerate(dag.tasks):
        record = TaskRecord(task.name, task.display_name, task.component, task.needs, task.branch)
        if number < upto and task.branch != "otherwise":
            record.state, record.wall_s, record.stage_s = "succeeded", 1.5 + number, 1.25 + number
            record.started_at = datetime(2026, 11, 21, 4, 56, number, tzinfo=UTC)
            _fill(record, directory)
        elif upto > len(dag.tasks):
            record.state = "skipped"
        tasks.append(record)
    run = RunRecord(
        run_id=f"{pipeline}-20261121-045539-e7c8",
        pipeline=pipeline,
        display_name=dag.display_name,
        target="local",
        started_at=datetime(2026, 11, 21, 4, 55, 39, tzinfo=UTC),
        command=f"tunelane run {pipeline} --config sentiment",
        parameters={"data": "/data/rows.csv", "model_name": "sentiment", "rows": 0, "taxonomy": "", "quantize": True},
        versions={"python": "3.11.7", "tunelane": "0.1.0"},
        machine={"system": "Linux", "processor": "A processor", "cores": 2},
        tasks=tuple(tasks),
        state="succeeded" if upto > len(dag.tasks) else "running",
        wall_s=158.2,
        overhead=Overhead(1.9, 0.62, 0.06, 0.1, 0.11, 0.4, 3.13),
    )
    return msgspec.structs.replace(run, **changes)


def _fill(task: TaskRecord, directory: Path) -> None:
    """Give a task what its stage wrote and logged."""
    place = directory / "artifacts" / task.name
    found = {path.name: path for path in sorted(place.iterdir())} if place.is_dir() else {}
    metadata: dict[str, dict[str, Any]] = {name: {} for name in found}
    if task.component == "resolve_champion":
        task.outputs = {"Output": ""}
    if task.component == "build_dataset":
        summary = read_summary(found["dataset"])
        metadata["dataset"] = {"digest": summary.digest, "taxonomy_digest": summary.taxonomy_digest}
        task.metrics = {f"rows_{split}": summary.rows_of(split) for split in summary.labels}
    if task.component == "train_lora":
        metadata["model"] = {"base_model": "tiny-encoder"}
        task.metrics = {"valid_macro_f1": 0.75, "best_epoch": 2, "train_rows": 400}
    if task.component == "export_onnx":
        task.metrics = {"fp32_mb": 90.9, "int8_mb": 23.0}
    if task.component == "validate_parity":
        metadata["package"] = {"digest": package_digest(found["package"])}
        task.metrics = {"rows": 50, "fp32_agreement": 1.0, "int8_agreement": 0.98}
    if task.component == "evaluate_model":
        task.metrics = headline(read_evaluation(found["predictions"]))
    if task.component == "gate_model":
        verdict = msgspec.json.decode(found["verdict"].read_bytes())
        metadata["verdict"] = {"decision": verdict["decision"], "sentence": verdict["sentence"]}
        task.outputs = {"Output": verdict["decision"]}
    task.artifacts = tuple(
        Artifact(
            name,
            "Model" if path.is_dir() else "Artifact",
            str(path.relative_to(directory)),
            metadata[name].get("digest") or content_digest(path),
            metadata[name],
        )
        for name, path in found.items()
    )
