from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from kfp import dsl

from tunelane_components.evaluate.evaluation import CHALLENGER, CHAMPION, FLOOR, summarize
from tunelane_components.evaluate.figures import EVALUATION
from tunelane_components.evaluate.predictions import Prediction, write_predictions
from tunelane_components.gate.component import gate_model, report_verdict
from tunelane_components.gate.gate import gate_predictions
from tunelane_components.gate.verdict import Verdict
from tunelane_serving.contract import read, write
from tunelane_serving.errors import ContractError, DigestMismatch

LABELS = ("ham", "<b>spam|eggs</b>")
TRUTH = [LABELS[number % 2] for number in range(200)]
WRONG = [LABELS[1 - number % 2] for number in range(200)]


@pytest.fixture
def make_directory(tmp_path: Path, make_predictions: Callable[..., list[Prediction]]) -> Callable[..., Path]:
    """Give a factory of predictions directories; `errors` are the rows that challenger, floor and champion miss."""

    def make(*errors: int) -> Path:
        files = (CHALLENGER, FLOOR, CHAMPION)[: len(errors)]
        models = [
            make_predictions(TRUTH, WRONG[:count] + TRUTH[count:], name)
            for count, name in zip(errors, files, strict=True)
        ]
        directory = tmp_path / "predictions"
        for name, rows in zip(files, models, strict=True):
            write_predictions(directory / name, rows)
        champion = models[2] if len(models) > 2 else None
        write(directory / EVALUATION, summarize(LABELS, models[0], models[1], champion, test_digest="test"))
        return directory

    return make


def run_gate(directory: Path, **parameters: float) -> tuple[str, dict[str, float]]:
    metrics = dsl.Metrics(uri=str(directory.parent / "metrics"))
    decision = gate_model.python_func(
        predictions=dsl.Dataset(uri=str(directory)),
        verdict=dsl.Artifact(uri=str(directory.parent / "verdict")),
        metrics=metrics,
        report=dsl.HTML(uri=str(directory.parent / "report.html")),
        **parameters,
    )
    return decision, metrics.metadata


@pytest.mark.parametrize(
    ("errors", "expected"),
    [((10, 50), "promote"), ((60, 80), "reject"), ((10, 50, 60), "promote"), ((40, 50, 42), "insufficient")],
)
def test_the_component_returns_the_decision_and_writes_the_verdict(
    make_directory: Callable[..., Path], tmp_path: Path, errors: tuple[int, ...], expected: str
):
    decision, metrics = run_gate(make_directory(*errors))
    verdict = read(tmp_path / "verdict", Verdict)
    assert decision == verdict.decision == expected
    assert metrics["rows"] == 200
    assert {rule.name: rule.value for rule in verdict.rules}.items() <= metrics.items()
    assert f"Verdict: {expected}" in (tmp_path / "report.html").read_text()


def test_the_components_parameters_reach_the_rules(make_directory: Callable[..., Path]):
    directory = make_directory(60, 80)
    assert run_gate(directory, minimum_f1=0.6)[0] == "promote"
    assert run_gate(directory, minimum_f1=0.6, minimum_support=101)[0] == "insufficient"


def test_the_summary_says_sentence_and_rules_and_keeps_names_from_being_markup(
    make_directory: Callable[..., Path], tmp_path: Path
):
    run_gate(make_directory(60, 80), minimum_support=101)
    report_verdict.python_func(
        verdict=dsl.Artifact(uri=str(tmp_path / "verdict")), summary=dsl.Markdown(uri=str(tmp_path / "summary.md"))
    )
    summary = (tmp_path / "summary.md").read_text()
    verdict = read(tmp_path / "verdict", Verdict)
    assert summary.startswith("# Verdict: insufficient\n\nToo few test rows for 2 of 2 labels")
    assert summary.count("\n| ") == 2 + len(verdict.rules)  # under head and dashes
    assert "<b>" not in summary.replace("\\<", "")
    assert "<b>" not in (tmp_path / "report.html").read_text()


def test_a_champion_whose_predictions_got_lost_does_not_pass_for_none(make_directory: Callable[..., Path]):
    directory = make_directory(10, 50, 5)
    (directory / CHAMPION).unlink()
    with pytest.raises(ContractError, match=CHAMPION):
        gate_predictions(directory)


def test_predictions_of_another_taxonomy_than_the_evaluation_stop(
    make_directory: Callable[..., Path], make_predictions: Callable[..., list[Prediction]]
):
    directory = make_directory(10, 50)
    rows = [msgspec.structs.replace(row, taxonomy_digest="other") for row in make_predictions(TRUTH, TRUTH)]
    write_predictions(directory / CHALLENGER, rows)
    with pytest.raises(DigestMismatch, match="has taxonomy other, its evaluation taxonomy"):
        gate_predictions(directory)
