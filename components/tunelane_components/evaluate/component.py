"""The KFP component of this stage."""

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def evaluate_model(
    dataset: Input[Dataset],
    package: Input[Model],
    champion: Input[Model],
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    seed: int = 0,
) -> None:
    """Score a package on the test split, beside the TF-IDF floor and the champion on the same rows.

    Args:
        dataset: Dataset directory; its train split fits the floor, its test split is scored.
        package: Model package of the challenger.
        champion: Model package of the champion; an empty directory where there is none.
        predictions: Predictions of every model, and evaluation.json.
        metrics: Macro, micro and weighted F1, and the differences to floor and champion.
        confusion: Confusion matrix of the challenger.
        report: The evaluation as a page.
        seed: Seed of the bootstrap.
    """
    from pathlib import Path

    from tunelane_components.evaluate.evaluation import evaluate
    from tunelane_components.evaluate.figures import headline
    from tunelane_components.evaluate.report import render
    from tunelane_components.leaving import leave_quickly

    leave_quickly()
    evaluation = evaluate(
        Path(dataset.path), Path(package.path), Path(champion.path), Path(predictions.path), seed=seed
    )
    for name, value in headline(evaluation).items():
        metrics.log_metric(name, value)
    confusion.log_confusion_matrix(list(evaluation.labels), [list(row) for row in evaluation.confusion])
    Path(report.path).write_text(render(evaluation), encoding="utf-8")
