"""The KFP component of this stage."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def validate_parity(
    model: Input[Model],
    dataset: Input[Dataset],
    draft: Input[Model],
    package: Output[Model],
    metrics: Output[Metrics],
    comparison: Output[Artifact],
    report: Output[HTML],
    max_abs_logit_delta: float = 0.001,
    min_agreement: float = 0.95,
    min_f1_delta: float = -0.03,
    max_rows: int = 400,
) -> None:
    """Hold the exported graphs against PyTorch on held-out rows, as they serve; seal the package if they agree.

    Args:
        model: The checkpoint: the reference.
        dataset: The dataset directory; validation and test rows are used.
        draft: The package of export_onnx.
        package: The same files under a manifest with parity report, golden rows and reference histograms.
        metrics: Per variant: largest logit difference, agreement, F1 difference.
        comparison: Every compared row, the figures and the bounds, as JSON; written when parity fails, too.
        report: The same as a page; written when parity fails, too.
        max_abs_logit_delta: Bound for the fp32 graph.
        min_agreement: Least share of labels that must agree, for every variant.
        min_f1_delta: Lowest allowed macro-F1 difference to PyTorch, for every variant.
        max_rows: Rows to compare, spread over text lengths.
    """
    from pathlib import Path

    from tunelane_components.leaving import leave_quickly
    from tunelane_components.parity.comparison import ParityBounds
    from tunelane_components.parity.parity import measure_parity, seal_in_bounds
    from tunelane_components.parity.report import render
    from tunelane_serving.contract import write
    from tunelane_serving.package import package_digest

    leave_quickly()
    bounds = ParityBounds(
        max_abs_logit_delta=max_abs_logit_delta, min_agreement=min_agreement, min_f1_delta=min_f1_delta
    )
    measured = measure_parity(Path(model.path), Path(dataset.path), Path(draft.path), bounds=bounds, max_rows=max_rows)
    write(Path(comparison.path), measured)
    Path(report.path).write_text(render(measured.report, measured), encoding="utf-8")
    sealed = seal_in_bounds(measured, Path(dataset.path), Path(draft.path), Path(package.path))
    package.metadata["digest"] = package_digest(Path(package.path))
    metrics.log_metric("rows", sealed.rows)
    for variant in sealed.variants:
        metrics.log_metric(f"{variant.variant}_max_abs_logit_delta", variant.max_abs_logit_delta)
        metrics.log_metric(f"{variant.variant}_agreement", variant.agreement)
        metrics.log_metric(f"{variant.variant}_f1_delta", variant.f1_delta)
