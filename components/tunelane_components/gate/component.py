"""The KFP components of this stage."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def gate_model(
    predictions: Input[Dataset],
    verdict: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    minimum_f1: float = 0.85,
    margin: float = 0.0,
    minimum_support: int = 5,
    seed: int = 0,
) -> str:
    """Decide whether the challenger takes the champion's place: promote, reject or insufficient.

    Args:
        predictions: Predictions of challenger, floor and champion on the same rows.
        verdict: The decision with every rule's figures, as JSON.
        metrics: Each rule's measured figure.
        report: The verdict as a page.
        minimum_f1: Macro-F1 that a first champion needs.
        margin: Macro-F1 by which the challenger must surely be better than a champion.
        minimum_support: Test rows that every label needs.
        seed: Seed of the bootstrap.
    """
    from pathlib import Path

    from tunelane_components.gate.gate import gate_predictions
    from tunelane_components.gate.report import render
    from tunelane_components.leaving import leave_quickly
    from tunelane_serving.contract import write

    leave_quickly()
    decided = gate_predictions(
        Path(predictions.path), minimum_f1=minimum_f1, margin=margin, minimum_support=minimum_support, seed=seed
    )
    write(Path(verdict.path), decided)
    verdict.metadata["decision"] = decided.decision
    verdict.metadata["sentence"] = decided.sentence
    metrics.log_metric("rows", decided.rows)
    for rule in decided.rules:
        metrics.log_metric(rule.name, rule.value)
    Path(report.path).write_text(render(decided), encoding="utf-8")
    return decided.decision


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def report_verdict(verdict: Input[Artifact], summary: Output[Markdown]) -> None:
    """Say why nothing was deployed.

    Args:
        verdict: The verdict of gate_model.
        summary: Its sentence and rules as Markdown.
    """
    from pathlib import Path

    from tunelane_components.gate.report import render_markdown
    from tunelane_components.gate.verdict import Verdict
    from tunelane_components.leaving import leave_quickly
    from tunelane_serving.contract import read

    leave_quickly()
    Path(summary.path).write_text(render_markdown(read(Path(verdict.path), Verdict)), encoding="utf-8")
