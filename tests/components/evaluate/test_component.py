from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl

from tunelane_components.evaluate.component import evaluate_model
from tunelane_components.evaluate.figures import read_evaluation


def test_the_component_writes_predictions_metrics_confusion_and_report(
    dataset: Path, tmp_path: Path, tiny_package: Callable[..., Path]
):
    (tmp_path / "champion").mkdir()
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    confusion = dsl.ClassificationMetrics(uri=str(tmp_path / "confusion"))
    report = dsl.HTML(uri=str(tmp_path / "report.html"))
    evaluate_model.python_func(
        dataset=dsl.Dataset(uri=str(dataset)),
        package=dsl.Model(uri=str(tiny_package(tmp_path / "package"))),
        champion=dsl.Model(uri=str(tmp_path / "champion")),
        predictions=dsl.Dataset(uri=str(tmp_path / "predictions")),
        metrics=metrics,
        confusion=confusion,
        report=report,
        seed=1,
    )
    evaluation = read_evaluation(tmp_path / "predictions")
    assert evaluation.seed == 1
    assert metrics.metadata["macro_f1"] == evaluation.macro_f1.value
    assert metrics.metadata["macro_f1_lower"] <= metrics.metadata["macro_f1"] <= metrics.metadata["macro_f1_upper"]
    assert metrics.metadata["floor_delta"] == pytest.approx(
        metrics.metadata["macro_f1"] - metrics.metadata["floor_macro_f1"]
    )
    assert "champion_macro_f1" not in metrics.metadata
    matrix = confusion.metadata["confusionMatrix"]
    assert [row["row"] for row in matrix["rows"]] == [[15, 0], [1, 15]]
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
