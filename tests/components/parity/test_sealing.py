import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from tunelane_components.etl.dataset import read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.parity.comparison import ParityBounds
from tunelane_components.parity.parity import validate_parity
from tunelane_components.parity.sealing import golden_tolerance, is_batch_independent
from tunelane_serving.errors import ContractError
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.loading import load_classifier
from tunelane_serving.package import Golden, Manifest, package_digest, read_manifest, seal


def _held_out(dataset: Path) -> list[Record]:
    return [*read_split(dataset, "valid"), *read_split(dataset, "test")]


def test_the_sealed_package_has_the_drafts_files_and_facts(toy_package: Path, toy_package_draft: Path) -> None:
    draft, sealed = read_manifest(toy_package_draft), read_manifest(toy_package)
    assert sealed.files == draft.files
    measured = {"variants", "parity", "goldens", "reference"}
    for field in set(Manifest.__struct_fields__) - measured:
        assert getattr(sealed, field) == getattr(draft, field), field
    assert package_digest(toy_package) != package_digest(toy_package_draft)


def test_the_sealed_package_is_served_by_its_preferred_variant(toy_package: Path) -> None:
    classifier = load_classifier(toy_package, package_digest(toy_package))
    assert (classifier.variant, classifier.fallback_reason) == ("int8", "")
    assert classifier.classify("a superb film it was lovely").labels == ("positive",)
    assert classifier.classify("an awful meal dull and poor").labels == ("negative",)


def test_golden_rows_are_held_out_rows_of_every_length_and_replay(toy_package: Path, toy_dataset: Path) -> None:
    manifest = read_manifest(toy_package)
    texts = [golden.text for golden in manifest.goldens]
    lengths = [len(record.text) for record in _held_out(toy_dataset)]
    assert len(set(texts)) == 16
    assert set(texts) <= {record.text for record in _held_out(toy_dataset)}
    assert (len(texts[0]), len(texts[-1])) == (min(lengths), max(lengths))
    for variant in manifest.variants:
        classifier = TextClassifier.open(toy_package, variant=variant.name)
        assert classifier.golden_deviation() <= variant.golden_tolerance
        for golden in manifest.goldens:
            assert sum(golden.scores[variant.name]) == pytest.approx(1, abs=1e-5)


def test_reference_histograms_are_of_so_many_validation_rows_at_most(
    toy_checkpoint: Path, toy_dataset: Path, toy_package_draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelane_components.parity.parity._REFERENCE_ROWS", 10)
    validate_parity(toy_checkpoint, toy_dataset, toy_package_draft, tmp_path / "package", bounds=ParityBounds())
    assert [sum(histogram.counts) for histogram in read_manifest(tmp_path / "package").reference] == [10] * 4


def test_tolerances_are_at_least_the_rounding_of_another_cpu(toy_package: Path) -> None:
    int8, fp32 = read_manifest(toy_package).variants
    assert 1e-4 <= fp32.golden_tolerance < 1e-2
    assert 1e-2 <= int8.golden_tolerance < 0.5


def test_a_tolerance_is_twice_the_deviation_where_that_is_more_than_the_floor(
    toy_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = TextClassifier.scores
    calls: list[str] = []

    def shifted(classifier: TextClassifier, text: str) -> Any:
        # Asked by turns: the optimised session, then the plain one.
        calls.append(text)
        return scores(classifier, text) + np.float32(0.03 if len(calls) % 2 else 0.0)

    monkeypatch.setattr(TextClassifier, "scores", shifted)
    fp32 = read_manifest(toy_package).variants[1]
    assert golden_tolerance(toy_package, fp32, ["a good film"]) == pytest.approx(0.06, abs=1e-3)


def test_reference_histograms_count_every_validation_row(toy_package: Path, toy_dataset: Path) -> None:
    valid = read_split(toy_dataset, "valid")
    reference = {histogram.name: histogram for histogram in read_manifest(toy_package).reference}
    assert set(reference) == {"label", "confidence", "length_tokens", "oov_share"}
    assert {sum(histogram.counts) for histogram in reference.values()} == {len(valid)}
    classifier = TextClassifier.open(toy_package)
    predicted = [classifier.classify(record.text).labels[0] for record in valid]
    assert reference["label"].categories == read_taxonomy(toy_dataset).names
    assert list(reference["label"].counts) == [predicted.count(name) for name in reference["label"].categories]
    lengths = [classifier.token_count(record.text) for record in valid]
    edges = reference["length_tokens"].edges
    assert list(reference["length_tokens"].counts) == [
        sum(low <= length < high for length in lengths) for low, high in pairwise(edges)
    ]
    assert edges[0] == 0
    # Every word of the toy texts is one of the vocabulary's, so a live text of other words stands out.
    assert reference["oov_share"].counts == (len(valid), *[0] * 9)
    assert classifier.classify("zebra giraffe good").oov_share == pytest.approx(2 / 3)


# Whether texts may stand together


def test_int8_answers_are_not_independent_of_the_batch(toy_package: Path) -> None:
    assert not read_manifest(toy_package).variants[0].batch_independent


def _with_rows(graph: Path, after: list[onnx.NodeProto]) -> None:
    """Put nodes between the logits and the output."""
    model = onnx.load(graph)
    for node in model.graph.node:
        node.output[:] = ["plain" if name == "logits" else name for name in node.output]
    model.graph.node.extend(after)
    onnx.save(model, graph)


def test_answers_that_hang_on_their_neighbours_or_their_place_are_not_independent(
    tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    texts = [f"{one} {other}" for one in ("good", "bad", "film", "the") for other in ("so", "and", "it")]
    package = tiny_package(tmp_path / "package")
    assert is_batch_independent(TextClassifier.open(package), texts)
    total = onnx.helper.make_node("ReduceMax", ["plain"], ["largest"], keepdims=1)
    _with_rows(package / "onnx" / "model.onnx", [total, onnx.helper.make_node("Sub", ["plain", "largest"], ["logits"])])
    assert not is_batch_independent(TextClassifier.open(package), texts)


def test_independence_is_proved_on_eight_different_texts_of_one_length_or_not_at_all(
    tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    classifier = TextClassifier.open(tiny_package(tmp_path / "package"))
    words = ["good", "bad", "film", "the", "so", "and", "it", "was"]
    assert is_batch_independent(classifier, words)
    assert not is_batch_independent(classifier, words[:7])
    assert not is_batch_independent(classifier, [words[0]] * 20)
    assert not is_batch_independent(classifier, ["a " * length for length in range(1, 20)])
    assert not is_batch_independent(classifier, [])


# What the server does with a sealed package whose golden rows it misses


def _with_goldens_off(package: Path, *variants: str) -> None:
    """Turn the expected scores of some variants round: a package built on a machine that computes otherwise."""
    goldens = tuple(
        Golden(
            golden.text,
            {name: scores[::-1] if name in variants else scores for name, scores in golden.scores.items()},
        )
        for golden in read_manifest(package).goldens
    )
    seal(package, msgspec.structs.replace(read_manifest(package), goldens=goldens))


def test_where_int8_misses_its_golden_rows_fp32_serves(toy_package: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(toy_package, tmp_path / "package"))
    _with_goldens_off(package, "int8")
    classifier = load_classifier(package, None)
    assert classifier.variant == "fp32"
    assert re.match(r"int8 is \S+ off its golden rows, \S+ is allowed$", classifier.fallback_reason)
    assert classifier.classify("a superb film it was lovely").labels == ("positive",)


def test_where_every_variant_misses_its_golden_rows_nothing_serves(toy_package: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(toy_package, tmp_path / "package"))
    _with_goldens_off(package, "int8", "fp32")
    with pytest.raises(ContractError, match=r"no variant answers as it did .*int8 is .*; fp32 is "):
        load_classifier(package, None)
