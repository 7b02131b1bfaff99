"""Sealing: the package that passed, under a manifest with report, golden rows and reference histograms."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tunelane_components.etl.record import Record
from tunelane_serving.files import directory_written_atomically, link_or_copy
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.model import Prepared
from tunelane_serving.package import Golden, Histogram, Manifest, ParityReport, Variant, seal

# A tolerance below these would turn a package away for the rounding of another CPU.
_SMALLEST_TOLERANCE = {"fp32": 1e-4}
_SMALLEST_TOLERANCE_QUANTIZED = 1e-2
# As many texts as a server may run together, and how many groups of each size are tried.
_GROUP_SIZES = range(2, 9)
_GROUPS_PER_SIZE = 6
# Finer where most texts are.
_OOV_EDGES = np.array([0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1])


def write_sealed(
    draft: Path,
    package: Path,
    manifest: Manifest,
    parity: ParityReport,
    golden_rows: Sequence[Record],
    compared: Sequence[Record],
    valid: Sequence[Record],
) -> None:
    """Put the draft's files under a manifest that also holds what was measured.

    That is the report, golden rows, for each variant its tolerance and whether a text's answer is the same beside
    others, and reference histograms.

    Args:
        draft: the package as it was exported.
        package: where the sealed one goes.
        manifest: the draft's.
        parity: the report.
        golden_rows: rows that the package must answer as now wherever it is served.
        compared: rows on which answers alone and together are compared.
        valid: rows of the reference histograms.
    """
    texts = [row.text for row in golden_rows]
    classifiers = {variant.name: TextClassifier.open(draft, variant=variant.name) for variant in manifest.variants}
    goldens = tuple(
        Golden(text, {name: tuple(classifier.scores(text).tolist()) for name, classifier in classifiers.items()})
        for text in texts
    )
    variants = tuple(
        msgspec.structs.replace(
            variant,
            golden_tolerance=golden_tolerance(draft, variant, texts),
            batch_independent=is_batch_independent(classifiers[variant.name], [row.text for row in compared]),
        )
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


def is_batch_independent(classifier: TextClassifier, texts: Sequence[str]) -> bool:
    """Whether a text's logits are the same, bit for bit, beside other texts of equal token length as alone.

    Tried on groups of 2 to 8 different texts, spread over lengths. Without a group of each size it is not proved.
    """
    by_length: defaultdict[int, list[Prepared]] = defaultdict(list)
    for text in dict.fromkeys(texts):
        prepared = classifier.prepare(text)
        by_length[prepared.length].append(prepared)
    for size in _GROUP_SIZES:
        groups = [
            texts_alike[start : start + size]
            for _, texts_alike in sorted(by_length.items())
            for start in range(0, len(texts_alike) - size + 1, size)
        ]
        if not groups:
            return False
        for group in groups[:: max(1, len(groups) // _GROUPS_PER_SIZE)][:_GROUPS_PER_SIZE]:
            together = classifier.logits_together(group)
            for alone, row in zip(group, together, strict=True):
                if not np.array_equal(classifier.logits_together([alone])[0], row):
                    return False
    return True


def reference_histograms(classifier: TextClassifier, records: Sequence[Record]) -> tuple[Histogram, ...]:
    """Over the validation split, what drift is measured against.

    Predicted labels, confidence, length in tokens, and the share of words that are not whole in the vocabulary.
    """
    answers = [classifier.classify(record.text) for record in records]
    lengths_tokens = np.array([answer.length_tokens for answer in answers])
    oov_share = np.array([answer.oov_share for answer in answers])
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
        _histogram("oov_share", oov_share, _OOV_EDGES),
    )


def _histogram(name: str, values: NDArray[Any], edges: NDArray[Any]) -> Histogram:
    counts, _ = np.histogram(values, bins=edges)
    return Histogram(name=name, counts=tuple(counts.tolist()), edges=tuple(float(edge) for edge in edges))
