"""The KFP component of this stage."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def validate_parity(
    model: Input[Model],
    dataset: Input[Dataset],
    draft: Input[Model],
    package: Output[Model],
    metrics: Output[Metrics],
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
        max_abs_logit_delta: Bound for the fp32 graph.
        min_agreement: Least share of labels that must agree, for every variant.
        min_f1_delta: Lowest allowed macro-F1 difference to PyTorch, for every variant.
        max_rows: Rows to compare, spread over text lengths.
    """
    from pathlib import Path

    from tunelane_components.parity.parity import ParityBounds
    from tunelane_components.parity.parity import validate_parity as validate
    from tunelane_serving.package import package_digest

    bounds = ParityBounds(
        max_abs_logit_delta=max_abs_logit_delta, min_agreement=min_agreement, min_f1_delta=min_f1_delta
    )
    report = validate(
        Path(model.path), Path(dataset.path), Path(draft.path), Path(package.path), bounds=bounds, max_rows=max_rows
    )
    package.metadata["digest"] = package_digest(Path(package.path))
    metrics.log_metric("rows", report.rows)
    for variant in report.variants:
        metrics.log_metric(f"{variant.variant}_max_abs_logit_delta", variant.max_abs_logit_delta)
        metrics.log_metric(f"{variant.variant}_agreement", variant.agreement)
        metrics.log_metric(f"{variant.variant}_f1_delta", variant.f1_delta)
