"""Parity: the packaged graphs against the PyTorch checkpoint, through the classifier that serves, text by text."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunelane_components.etl.dataset import read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.evaluate.metrics import single_label_macro_f1
from tunelane_components.parity.comparison import ParityBounds, ParityComparison, VariantRows, out_of_bounds
from tunelane_components.parity.sealing import write_sealed
from tunelane_components.train.checkpoint import load_model, load_tokenizer, output_names, read_card
from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.models.classifier import TextClassifier, probabilities
from tunelane_serving.package import (
    ParityReport,
    VariantParity,
    read_manifest,
    verify,
)

_GOLDEN_ROWS = 16
# A share of this many rows is known to 1.4 points (95 %); more would only take longer.
_REFERENCE_ROWS = 5000
_logger = logging.getLogger(__name__)


class ParityFailed(TunelaneError):
    """The packaged graphs do not answer as the PyTorch model does."""


def validate_parity(
    checkpoint: Path, dataset: Path, draft: Path, package: Path, *, bounds: ParityBounds, max_rows: int = 400
) -> ParityReport:
    """Hold every variant of `draft` against the checkpoint; if all keep the bounds, write the sealed package.

    Raises:
        DigestMismatch, InputError, ParityFailed: as `measure_parity` and `seal_in_bounds` say; nothing is written.
    """
    return seal_in_bounds(
        measure_parity(checkpoint, dataset, draft, bounds=bounds, max_rows=max_rows), dataset, draft, package
    )


def measure_parity(
    checkpoint: Path, dataset: Path, draft: Path, *, bounds: ParityBounds, max_rows: int = 400
) -> ParityComparison:
    """Run the checkpoint and every variant of `draft` on held-out rows; says what was found, whatever it is.

    Rows come from the validation and test splits, spread evenly over text lengths.

    Raises:
        DigestMismatch: dataset, checkpoint and package do not speak of the same taxonomy, or the draft's files are not
            those that were exported.
        InputError: `max_rows` is below 1.
        ParityFailed: a logit is not a finite number; there is nothing to compare.
    """
    if max_rows < 1:
        raise InputError(f"max_rows must be at least 1, not {max_rows}.")
    manifest, card, taxonomy = verify(draft), read_card(checkpoint), read_taxonomy(dataset)
    taxonomy.require_same(card.taxonomy.digest, mine="the dataset", other="the checkpoint")
    if manifest.taxonomy is not None:
        taxonomy.require_same(manifest.taxonomy.digest, mine="the dataset", other="the package")
    rows = spread_over_lengths(_held_out(dataset), max_rows)
    texts = [row.text for row in rows]
    truth = np.array([taxonomy.names.index(row.labels[0]) for row in rows])
    _logger.info("PyTorch on %d held-out rows, one at a time", len(rows))
    reference, names = torch_logits(checkpoint, texts, card.max_length_tokens)
    # Compared by name, not by position: a checkpoint whose outputs stand in another order must not pass.
    reference_labels = np.array([taxonomy.names.index(name) if name in taxonomy.names else -1 for name in names])
    chosen = reference.argmax(-1)
    reports: list[VariantParity] = []
    answers: list[VariantRows] = []
    for variant in manifest.variants:
        classifier = TextClassifier.open(draft, variant=variant.name)
        logits = np.stack([classifier.logits(text) for text in texts])
        report = compare(variant.name, reference, logits, reference_labels, truth)
        _logger.info(
            "%s: max |Δlogit| %.2g, %d of %d labels flip, ΔF1 %+.3f",
            variant.name, report.max_abs_logit_delta, report.label_flips, len(rows), report.f1_delta,
        )  # fmt: skip
        if not np.isfinite(report.max_abs_logit_delta):
            raise ParityFailed(
                f"{variant.name} does not answer as PyTorch does on {len(rows)} held-out rows: "
                f"{out_of_bounds(report, bounds)}."
            )
        reports.append(report)
        answers.append(_rows_of(variant.name, logits, reference_labels[chosen], taxonomy.names))
    return ParityComparison(
        report=ParityReport(rows=len(rows), variants=tuple(reports)),
        bounds=bounds,
        ids=tuple(row.id for row in rows),
        labels=tuple(names[position] for position in chosen),
        scores=tuple(probabilities(reference).max(-1).tolist()),
        variants=tuple(answers),
    )


def seal_in_bounds(comparison: ParityComparison, dataset: Path, draft: Path, package: Path) -> ParityReport:
    """Write the sealed package if every variant keeps its bounds; gives the report that is in it.

    The sealed package holds the draft's files, and in its manifest the report, golden rows with measured tolerances,
    and reference histograms.

    Raises:
        ParityFailed: a variant is out of bounds; nothing is written.
    """
    if comparison.problem:
        raise ParityFailed(comparison.problem)
    compared = set(comparison.ids)
    rows = [row for row in _held_out(dataset) if row.id in compared]
    write_sealed(
        draft,
        package,
        read_manifest(draft),
        comparison.report,
        spread_over_lengths(rows, _GOLDEN_ROWS),
        rows,
        spread_over_lengths(read_split(dataset, "valid"), _REFERENCE_ROWS),
    )
    return comparison.report


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


def _held_out(dataset: Path) -> list[Record]:
    return [*read_split(dataset, "valid"), *read_split(dataset, "test")]


def _rows_of(
    variant: str, logits: NDArray[np.float32], reference_labels: NDArray[np.int64], names: Sequence[str]
) -> VariantRows:
    """Give what a variant chose on each row and its score of the label that PyTorch chose, -1 being none of ours."""
    scores = probabilities(logits)[np.arange(len(logits)), reference_labels]
    return VariantRows(
        variant=variant,
        labels=tuple(names[position] for position in logits.argmax(-1)),
        scores=tuple(np.where(reference_labels >= 0, scores, 0.0).tolist()),
    )
