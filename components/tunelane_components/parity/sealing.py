"""Sealing: the package that passed, under a manifest with report, golden rows and reference histograms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tunelane_components.etl.record import Record
from tunelane_serving.classifier import TextClassifier
from tunelane_serving.files import directory_written_atomically, link_or_copy
from tunelane_serving.package import Golden, Histogram, Manifest, ParityReport, Variant, seal

# A tolerance below these would turn a package away for the rounding of another CPU.
_SMALLEST_TOLERANCE = {"fp32": 1e-4}
_SMALLEST_TOLERANCE_QUANTIZED = 1e-2


def write_sealed(
    draft: Path,
    package: Path,
    manifest: Manifest,
    parity: ParityReport,
    golden_rows: Sequence[Record],
    valid: Sequence[Record],
) -> None:
    """Put the draft's files under a manifest that also holds report, goldens, tolerances and reference histograms."""
    texts = [row.text for row in golden_rows]
    classifiers = {variant.name: TextClassifier.open(draft, variant=variant.name) for variant in manifest.variants}
    goldens = tuple(
        Golden(text, {name: tuple(classifier.scores(text).tolist()) for name, classifier in classifiers.items()})
        for text in texts
    )
    variants = tuple(
        msgspec.structs.replace(variant, golden_tolerance=golden_tolerance(draft, variant, texts))
        for variant in manifest.variants
    )
    sealed = msgspec.structs.replace(
        manifest,
        variants=variants,
        parity=parity,
        goldens=goldens,
        reference=reference_histograms(classifiers[manifest.variants[0].name], valid),
    )
    with directory_written_atomically(package) as directory:
        for file in manifest.files:
            link_or_copy(draft / file.path, directory / file.path)
        seal(directory, sealed)


def golden_tolerance(draft: Path, variant: Variant, texts: list[str]) -> float:
    """How far the scores of a faithful machine may stand from this one's, as a probability difference.

    Measured as twice the largest difference between ONNX Runtime's optimised and unoptimised execution of the same
    graph: the same arithmetic in another order, which is what another CPU does.
    """
    optimized = TextClassifier.open(draft, variant=variant.name)
    plain = TextClassifier.open(draft, variant=variant.name, optimize=False)
    deviation = max(float(np.abs(optimized.scores(text) - plain.scores(text)).max()) for text in texts)
    return max(2 * deviation, _SMALLEST_TOLERANCE.get(variant.name, _SMALLEST_TOLERANCE_QUANTIZED))


def reference_histograms(classifier: TextClassifier, records: Sequence[Record]) -> tuple[Histogram, ...]:
    """Predicted labels, confidence and length in tokens over the validation split: what drift is measured against."""
    answers = [classifier.classify(record.text) for record in records]
    lengths_tokens = np.array([classifier.token_count(record.text) for record in records])
    predicted = [answer.labels[0] for answer in answers]
    confidence = np.array([float(answer.scores.max()) for answer in answers])
    length_edges = np.array([0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 10**6])
    return (
        Histogram(
            name="label",
            categories=classifier.taxonomy.names,
            counts=tuple(predicted.count(name) for name in classifier.taxonomy.names),
        ),
        _histogram("confidence", confidence, np.linspace(0, 1, 11).round(1)),
        _histogram("length_tokens", lengths_tokens, length_edges),
    )


def _histogram(name: str, values: NDArray[Any], edges: NDArray[Any]) -> Histogram:
    counts, _ = np.histogram(values, bins=edges)
    return Histogram(name=name, counts=tuple(counts.tolist()), edges=tuple(float(edge) for edge in edges))
