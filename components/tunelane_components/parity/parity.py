"""Parity: the packaged graphs against the PyTorch checkpoint, through the classifier that serves, text by text."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunelane_components.etl.dataset import read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.evaluate.metrics import single_label_macro_f1
from tunelane_components.parity.sealing import write_sealed
from tunelane_components.train.checkpoint import load_model, load_tokenizer, output_names, read_card
from tunelane_serving.classifier import TextClassifier, probabilities
from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.package import (
    ParityReport,
    VariantParity,
    verify,
)

_GOLDEN_ROWS = 16
_logger = logging.getLogger(__name__)


class ParityFailed(TunelaneError):
    """The packaged graphs do not answer as the PyTorch model does."""


@dataclass(frozen=True)
class ParityBounds:
    """How far a variant may stand from PyTorch.

    fp32 is the same arithmetic in another order: its logits are held. A quantised graph is another model: its labels
    and its F1 are.
    """

    max_abs_logit_delta: float = 1e-3
    min_agreement: float = 0.95
    min_f1_delta: float = -0.03

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
            raise InputError(f"min_agreement is {self.min_agreement}; pass a share from 0 to 1.")
        if not -1 <= self.min_f1_delta <= 1:
            raise InputError(f"min_f1_delta is {self.min_f1_delta}; pass a difference from -1 to 1, such as -0.03.")


def validate_parity(
    checkpoint: Path, dataset: Path, draft: Path, package: Path, *, bounds: ParityBounds, max_rows: int = 400
) -> ParityReport:
    """Hold every variant of `draft` against the checkpoint; if all keep the bounds, write the sealed package.

    Rows come from the validation and test splits, spread evenly over text lengths. The sealed package holds the same
    files, and in its manifest the report, golden rows with measured tolerances, and reference histograms.

    Raises:
        DigestMismatch: dataset, checkpoint and package do not speak of the same taxonomy, or the draft's files are not
            those that were exported.
        InputError: `max_rows` is below 1.
        ParityFailed: a variant is out of bounds; nothing is written.
    """
    if max_rows < 1:
        raise InputError(f"max_rows must be at least 1, not {max_rows}.")
    manifest, card, taxonomy = verify(draft), read_card(checkpoint), read_taxonomy(dataset)
    taxonomy.require_same(card.taxonomy.digest, mine="the dataset", other="the checkpoint")
    if manifest.taxonomy is not None:
        taxonomy.require_same(manifest.taxonomy.digest, mine="the dataset", other="the package")
    valid = read_split(dataset, "valid")
    rows = spread_over_lengths([*valid, *read_split(dataset, "test")], max_rows)
    texts = [row.text for row in rows]
    truth = np.array([taxonomy.names.index(row.labels[0]) for row in rows])
    _logger.info("PyTorch on %d held-out rows, one at a time", len(rows))
    reference, names = torch_logits(checkpoint, texts, card.max_length_tokens)
    # Compared by name, not by position: a checkpoint whose outputs stand in another order must not pass.
    reference_labels = np.array([taxonomy.names.index(name) if name in taxonomy.names else -1 for name in names])
    reports: list[VariantParity] = []
    for variant in manifest.variants:
        classifier = TextClassifier.open(draft, variant=variant.name)
        logits = np.stack([classifier.logits(text) for text in texts])
        report = compare(variant.name, reference, logits, reference_labels, truth)
        _logger.info(
            "%s: max |Δlogit| %.2g, %d of %d labels flip, ΔF1 %+.3f",
            variant.name, report.max_abs_logit_delta, report.label_flips, len(rows), report.f1_delta,
        )  # fmt: skip
        problem = out_of_bounds(report, bounds)
        if problem:
            raise ParityFailed(
                f"{variant.name} does not answer as PyTorch does on {len(rows)} held-out rows: {problem}."
            )
        reports.append(report)
    parity = ParityReport(rows=len(rows), variants=tuple(reports))
    write_sealed(draft, package, manifest, parity, spread_over_lengths(rows, _GOLDEN_ROWS), valid)
    return parity


def compare(
    variant: str,
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    output_labels: NDArray[np.int64],
    truth: NDArray[np.int64],
) -> VariantParity:
    """One variant's logits against PyTorch's, both (rows, labels) float32.

    Args:
        variant: its name.
        reference: PyTorch's logits, outputs in the checkpoint's own order.
        logits: the variant's, in taxonomy order.
        output_labels: (labels,) the taxonomy position of each checkpoint output; -1 for a name not in it.
        truth: (rows,) taxonomy positions.
    """
    expected, found = output_labels[reference.argmax(-1)], logits.argmax(-1)
    flips = int((expected != found).sum())
    labels = logits.shape[1]
    return VariantParity(
        variant=variant,
        max_abs_logit_delta=float(np.abs(reference - logits).max()),
        max_abs_score_delta=float(np.abs(probabilities(reference) - probabilities(logits)).max()),
        label_flips=flips,
        agreement=1 - flips / len(truth),
        f1_delta=single_label_macro_f1(truth, found, labels) - single_label_macro_f1(truth, expected, labels),
    )


def out_of_bounds(report: VariantParity, bounds: ParityBounds) -> str:
    """Say what about a variant is out of bounds, in words with figures; an empty string where nothing is."""
    # NaN in one row of many would pass as a label like any other.
    if not np.isfinite(report.max_abs_logit_delta):
        return f"max |Δlogit| is {report.max_abs_logit_delta}: a logit is not a finite number"
    if report.variant == "fp32" and not report.max_abs_logit_delta <= bounds.max_abs_logit_delta:
        return f"max |Δlogit| is {report.max_abs_logit_delta:.2g}, {bounds.max_abs_logit_delta:.2g} is allowed"
    if not report.agreement >= bounds.min_agreement:
        return f"{report.agreement:.1%} of labels agree, {bounds.min_agreement:.1%} are needed"
    if not report.f1_delta >= bounds.min_f1_delta:
        return f"macro-F1 changes by {report.f1_delta:+.3f}, {bounds.min_f1_delta:+.3f} is allowed"
    return ""


def spread_over_lengths(records: Sequence[Record], count: int) -> list[Record]:
    """Choose at most `count` records, evenly spaced in order of text length: from two up, shortest and longest too."""
    ordered = sorted(records, key=lambda record: (len(record.text), record.id))
    if len(ordered) <= count:
        return ordered
    return [ordered[position] for position in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def torch_logits(
    checkpoint: Path, texts: list[str], max_length_tokens: int
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Run the checkpoint: logits (texts, outputs) float32, one text at a time, and what it calls its outputs."""
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    import torch

    torch.set_num_threads(usable_cores())
    with torch.inference_mode():
        rows = [
            model(**tokenizer(text, truncation=True, max_length=max_length_tokens, return_tensors="pt")).logits[0]
            for text in texts
        ]
    logits: NDArray[np.float32] = torch.stack(rows).numpy()
    return logits, output_names(model)
