"""What a package is worth on the test split: predictions by the classifier that serves, and the figures from them."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tunelane_components.etl.record import Record
from tunelane_components.evaluate.bootstrap import intervals, label_intervals, paired_delta
from tunelane_components.evaluate.figures import EVALUATION, Comparison, Evaluation, LabelReport, SliceReport
from tunelane_components.evaluate.metrics import Indicators, accuracy, confusion_matrix, count, indicators, macro_f1
from tunelane_components.evaluate.predictions import Prediction, slices_of, write_predictions
from tunelane_serving.contract import write
from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.files import directory_written_atomically, sha256_file
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.package import read_manifest
from tunelane_serving.taxonomy import Taxonomy

CHALLENGER = "challenger.jsonl"
FLOOR = "floor.jsonl"
CHAMPION = "champion.jsonl"

_PROGRESS_ROWS = 500
_logger = logging.getLogger(__name__)


def predict_split(package: Path, records: list[Record]) -> list[Prediction]:
    """Answer every record as the server would: the preferred variant, one text at a time, on every core we may use.

    Raises:
        ContractError: the package cannot be loaded, or answers with something that is not a number.
    """
    classifier = TextClassifier.open(package)
    predictions: list[Prediction] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        answers = pool.map(classifier.classify, [record.text for record in records])
        for record, answer in zip(records, answers, strict=True):
            if not np.isfinite(answer.scores).all():
                raise ContractError(f"{package}: row {record.id!r}: a score is not a number; train again")
            predictions.append(
                Prediction(
                    id=record.id,
                    truth=record.labels,
                    predicted=answer.labels,
                    scores=tuple(answer.scores.tolist()),
                    model_digest=classifier.digest,
                    taxonomy_digest=classifier.taxonomy.digest,
                    slices=slices_of(record),
                )
            )
            if len(predictions) % _PROGRESS_ROWS == 0 or len(predictions) == len(records):
                _logger.info("%s: %d of %d rows", classifier.variant, len(predictions), len(records))
    return predictions


def summarize(
    labels: tuple[str, ...],
    challenger: list[Prediction],
    floor: list[Prediction],
    champion: list[Prediction] | None,
    *,
    test_digest: str,
    seed: int = 0,
) -> Evaluation:
    """Work out the figures of a challenger, beside the floor's and the champion's on the same rows in the same order.

    Raises:
        ContractError: a row's label is not among `labels`.
    """
    truth = indicators((row.truth for row in challenger), labels)
    predicted = indicators((row.predicted for row in challenger), labels)
    macro, micro, weighted = intervals(truth, predicted, seed=seed)
    counts = count(truth, predicted)
    by_label = label_intervals(truth, predicted, seed=seed)
    per_label = tuple(
        LabelReport(
            label=label,
            support=int(counts.support[position]),
            predicted=int(counts.predicted[position]),
            true_positives=int(counts.true_positives[position]),
            precision=float(counts.precision[position]),
            recall=float(counts.recall[position]),
            f1=float(counts.f1[position]),
            f1_interval=by_label[position],
        )
        for position, label in enumerate(labels)
    )

    def comparison(other: list[Prediction]) -> Comparison:
        theirs = indicators((row.predicted for row in other), labels)
        delta = paired_delta(truth, predicted, theirs, seed=seed)
        return Comparison(other[0].model_digest, float(macro_f1(count(truth, theirs))), delta)

    return Evaluation(
        labels=labels,
        rows=len(challenger),
        macro_f1=macro,
        micro_f1=micro,
        weighted_f1=weighted,
        accuracy=accuracy(truth, predicted),
        per_label=per_label,
        per_slice=_per_slice(challenger, truth, predicted, seed),
        floor=comparison(floor),
        champion=comparison(champion) if champion is not None else None,
        confusion=tuple(tuple(row) for row in confusion_matrix(truth, predicted).tolist()),
        challenger_digest=challenger[0].model_digest,
        taxonomy_digest=challenger[0].taxonomy_digest,
        test_digest=test_digest,
        seed=seed,
    )


def evaluate(dataset: Path, package: Path, champion: Path | None, output: Path, *, seed: int = 0) -> Evaluation:
    """Predict the test split with a package, the floor and the champion; write the predictions and `evaluation.json`.

    Args:
        dataset: a dataset directory.
        package: the challenger's package.
        champion: the champion's package; None or an empty directory where there is no champion.
        output: a directory that appears whole or not at all: `challenger.jsonl`, `floor.jsonl`, `champion.jsonl` where
            there is one, `evaluation.json`.
        seed: of the bootstrap.

    Raises:
        DigestMismatch: dataset, package and champion do not share one taxonomy.
        ContractError: dataset or package is broken, or the champion's directory holds something that is no package.
        InputError: no test rows, a row without exactly one label, or a training split with a single label.
    """
    from tunelane_components.etl.dataset import read_split, read_taxonomy, split_path
    from tunelane_components.evaluate.floor import floor_predictions

    taxonomy = read_taxonomy(dataset)
    champion = _champion_package(champion)
    for role, directory in (("package", package), ("champion", champion)):
        if directory is not None:
            _require_classifier_of(taxonomy, dataset, role, directory)
    # In the gate's order of rows, so that the gate's resamples, and its intervals, are the ones reported here.
    train, test = read_split(dataset, "train"), sorted(read_split(dataset, "test"), key=lambda record: record.id)
    if not test:
        raise InputError(f"{dataset}: the test split has no rows; bring more data.")
    for record in (*train, *test):
        if len(record.labels) != 1:
            raise InputError(
                f"{dataset}: row {record.id!r} has {len(record.labels)} labels; evaluation takes one a row."
            )

    challenger_rows = predict_split(package, test)
    floor_rows = floor_predictions(train, test, taxonomy)
    champion_rows = predict_split(champion, test) if champion is not None else None
    evaluation = summarize(
        taxonomy.names,
        challenger_rows,
        floor_rows,
        champion_rows,
        test_digest=sha256_file(split_path(dataset, "test")),
        seed=seed,
    )
    with directory_written_atomically(output) as scratch:
        write_predictions(scratch / CHALLENGER, challenger_rows)
        write_predictions(scratch / FLOOR, floor_rows)
        if champion_rows is not None:
            write_predictions(scratch / CHAMPION, champion_rows)
        write(scratch / EVALUATION, evaluation)
    return evaluation


def _champion_package(directory: Path | None) -> Path | None:
    """Find the champion's package, or None where there is no champion: no directory, or an empty one.

    A champion whose manifest got lost must not pass for none: the challenger would win unopposed.
    """
    if directory is None or not directory.exists() or not any(directory.iterdir()):
        return None
    return directory


def _require_classifier_of(taxonomy: Taxonomy, dataset: Path, role: str, directory: Path) -> None:
    manifest = read_manifest(directory)
    if manifest.taxonomy is None or manifest.task != "single_label":
        raise ContractError(f"{directory}: the {role} is a {manifest.task} package; evaluation takes single_label")
    taxonomy.require_same(manifest.taxonomy.digest, mine=f"dataset {dataset}", other=f"{role} {directory}")


def _per_slice(rows: list[Prediction], truth: Indicators, predicted: Indicators, seed: int) -> tuple[SliceReport, ...]:
    """Report every value of every dimension, in alphabetical order."""
    positions: dict[tuple[str, str], list[int]] = {}
    for position, row in enumerate(rows):
        for key in row.slices.items():
            positions.setdefault(key, []).append(position)
    return tuple(
        SliceReport(
            dimension=dimension,
            value=value,
            rows=len(chosen),
            accuracy=accuracy(truth[chosen], predicted[chosen]),
            macro_f1=intervals(truth[chosen], predicted[chosen], seed=seed).macro,
        )
        for (dimension, value), chosen in sorted(positions.items())
    )
