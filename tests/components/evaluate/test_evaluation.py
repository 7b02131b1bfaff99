import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tunelane_components.etl.dataset import read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.evaluate.evaluation import (
    CHALLENGER,
    CHAMPION,
    FLOOR,
    evaluate,
    predict_split,
)
from tunelane_components.evaluate.figures import Evaluation, read_evaluation
from tunelane_components.evaluate.predictions import read_predictions
from tunelane_serving.contract import encode, read, write_lines
from tunelane_serving.errors import ContractError, DigestMismatch, InputError
from tunelane_serving.files import sha256_file
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.package import package_digest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def package(tmp_path: Path, tiny_package: Callable[..., Path]) -> Path:
    return tiny_package(tmp_path / "package")


def test_every_row_gets_the_answer_of_the_serving_classifier(dataset: Path, package: Path, caplog):
    records = read_split(dataset, "test")
    with caplog.at_level(logging.INFO):
        predictions = predict_split(package, records)
    classifier = TextClassifier.open(package)
    assert [row.id for row in predictions] == [record.id for record in records]
    for record, row in zip(records, predictions, strict=True):
        answer = classifier.classify(record.text)
        assert row.predicted == answer.labels
        assert row.scores == tuple(answer.scores.tolist())
        assert row.truth == record.labels
        assert row.slices == {"source": record.meta["source"]}
        assert (row.model_digest, row.taxonomy_digest) == (package_digest(package), classifier.taxonomy.digest)
    assert "31 of 31 rows" in caplog.text


def test_scores_that_are_not_numbers_stop_the_evaluation(package: Path, monkeypatch):
    monkeypatch.setattr(TextClassifier, "logits_together", lambda *_: np.array([[np.nan, 0]], np.float32))
    with pytest.raises(ContractError, match="row 'r': a score is not a number"):
        predict_split(package, [Record("r", "good", ("positive",))])


def test_a_first_model_is_evaluated_against_the_floor(dataset: Path, package: Path, tmp_path: Path):
    no_champion = tmp_path / "no-champion"
    no_champion.mkdir()
    output = tmp_path / "predictions"
    output.mkdir()  # kfp makes it
    evaluation = evaluate(dataset, package, no_champion, output)

    assert {path.name for path in output.iterdir()} == {CHALLENGER, FLOOR, "evaluation.json"}
    assert read_evaluation(output) == evaluation
    assert evaluation.champion is None
    assert evaluation.rows == 31
    # 30 rows right; the last speaks for neither label and gets the first one.
    assert evaluation.accuracy == pytest.approx(30 / 31)
    assert evaluation.confusion == ((15, 0), (1, 15))
    assert evaluation.macro_f1.lower <= evaluation.macro_f1.value <= evaluation.macro_f1.upper
    negative, positive = evaluation.per_label
    assert (negative.label, negative.support, negative.predicted, negative.true_positives) == ("negative", 15, 16, 15)
    assert negative.f1 == pytest.approx(30 / 31)
    for row in (negative, positive):
        assert row.f1_interval is not None
        assert row.f1_interval.lower <= row.f1_interval.value == row.f1 <= row.f1_interval.upper
    assert (positive.precision, positive.recall) == (1.0, 15 / 16)
    assert evaluation.macro_f1.value == pytest.approx((negative.f1 + positive.f1) / 2)
    assert evaluation.floor.delta.value == pytest.approx(evaluation.macro_f1.value - evaluation.floor.macro_f1)
    assert evaluation.floor.delta.value > 0  # "great" and "awful" stand in no training row
    assert evaluation.challenger_digest == package_digest(package)
    assert evaluation.test_digest == sha256_file(dataset / "test.jsonl")


def test_slices_are_reported_with_their_rows_however_few(dataset: Path, package: Path, tmp_path: Path):
    phone, web = evaluate(dataset, package, None, tmp_path / "predictions").per_slice
    assert (phone.dimension, phone.value, phone.rows) == ("source", "phone", 11)
    assert (web.value, web.rows, web.macro_f1.value, web.accuracy) == ("web", 20, 1.0, 1.0)
    assert phone.accuracy == pytest.approx(10 / 11)
    assert phone.macro_f1.lower < phone.macro_f1.value < 1.0


def test_the_champion_is_scored_again_on_the_same_rows(
    dataset: Path, package: Path, tmp_path: Path, tiny_package: Callable[..., Path]
):
    champion = tiny_package(tmp_path / "champion", bias=(0.0, 50.0))  # says positive whatever it reads
    evaluation = evaluate(dataset, package, champion, tmp_path / "predictions")
    rows = read_predictions(tmp_path / "predictions" / CHAMPION)
    assert {row.predicted for row in rows} == {("positive",)}
    assert evaluation.champion is not None
    assert evaluation.champion.model_digest == package_digest(champion)
    assert evaluation.champion.macro_f1 == pytest.approx(2 * 16 / (31 + 16) / 2)
    assert evaluation.champion.delta.lower > 0


def test_evaluating_again_gives_the_same_bytes(dataset: Path, package: Path, tmp_path: Path):
    for name in ("first", "second"):
        evaluate(dataset, package, None, tmp_path / name, seed=3)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


@pytest.mark.parametrize("role", ["package", "champion"])
def test_another_taxonomy_stops_and_names_both_digests(
    role: str, dataset: Path, tmp_path: Path, tiny_package: Callable[..., Path]
):
    packages = {"package": tiny_package(tmp_path / "package"), "champion": tiny_package(tmp_path / "champion")}
    packages[role] = tiny_package(tmp_path / "other", labels=("positive", "negative"))
    digests = (read_taxonomy(dataset).digest[:12], TextClassifier.open(tmp_path / "other").taxonomy.digest[:12])
    with pytest.raises(DigestMismatch) as caught:
        evaluate(dataset, packages["package"], packages["champion"], tmp_path / "predictions")
    assert f"{role} {tmp_path / 'other'}" in str(caught.value)
    assert all(digest in str(caught.value) for digest in digests)
    assert not (tmp_path / "predictions").exists()


def test_a_champion_without_its_manifest_does_not_pass_for_none(dataset: Path, package: Path, tmp_path: Path):
    champion = tmp_path / "champion"
    champion.mkdir()
    (champion / "model.onnx").write_bytes(b"")
    with pytest.raises(ContractError, match=r"manifest\.json"):
        evaluate(dataset, package, champion, tmp_path / "predictions")
    assert not (tmp_path / "predictions").exists()


def test_a_test_split_without_rows_is_refused(tmp_path: Path, package: Path, make_dataset: Callable[..., Path]):
    with pytest.raises(InputError, match="the test split has no rows"):
        evaluate(make_dataset(tmp_path / "empty", []), package, None, tmp_path / "predictions")


def test_a_row_of_two_labels_is_refused_by_name(dataset: Path, package: Path, tmp_path: Path):
    write_lines(dataset / "test.jsonl", [Record("both", "good and bad", ("negative", "positive"))])
    with pytest.raises(InputError, match="row 'both' has 2 labels"):
        evaluate(dataset, package, None, tmp_path / "predictions")


def test_a_multi_label_package_is_refused(dataset: Path, tmp_path: Path, tiny_package: Callable[..., Path]):
    package = tiny_package(tmp_path / "package", task="multi_label")
    with pytest.raises(ContractError, match="multi_label"):
        evaluate(dataset, package, None, tmp_path / "predictions")


def test_version_1_of_the_contract_loads_for_ever():
    path = GOLDEN / "evaluation_v1_label_intervals.json"
    evaluation = read(path, Evaluation)
    assert evaluation.champion is not None
    assert evaluation.labels == ("negative", "positive")
    assert msgspec.json.format(encode(evaluation), indent=2) + b"\n" == path.read_bytes()


def test_an_evaluation_from_before_label_intervals_loads_without_them():
    before, now = (
        read(GOLDEN / name, Evaluation) for name in ("evaluation_v1.json", "evaluation_v1_label_intervals.json")
    )
    assert [row.f1_interval for row in before.per_label] == [None, None]
    rows = tuple(msgspec.structs.replace(row, f1_interval=None) for row in now.per_label)
    assert msgspec.structs.replace(now, per_label=rows) == before
