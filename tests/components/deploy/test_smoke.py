from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.deploy.smoke import golden_mismatch
from tunelane_serving.package import Golden, Manifest, Task, read_manifest
from tunelane_serving.server.wire import Prediction


@pytest.fixture
def manifest_of(tiny_package: Callable[..., Path], tmp_path: Path) -> Callable[..., Manifest]:
    """Give a manifest of labels a, b and c with a tolerance of 0.01 for its only variant, fp32."""

    def manifest_of(task: Task = "single_label", thresholds: dict[str, float] | None = None) -> Manifest:
        manifest = read_manifest(tiny_package(tmp_path / task, labels=("a", "b", "c"), task=task))
        variant = msgspec.structs.replace(manifest.variants[0], golden_tolerance=0.01)
        return msgspec.structs.replace(manifest, variants=(variant,), thresholds=thresholds or {})

    return manifest_of


def golden(*scores: float) -> Golden:
    return Golden("a text", {"fp32": scores})


def answer(*scores: float, labels: tuple[str, ...] = ("a",), **changes: Any) -> Prediction:
    prediction = Prediction(
        label=labels[0] if len(labels) == 1 else None,
        labels=labels,
        confidence=max(scores),
        scores=dict(zip("abc", scores, strict=True)),
        inference_id="1",
        model="m",
        model_version="1",
        digest="0" * 64,
        variant="fp32",
        latency_ms=1.0,
    )
    return msgspec.structs.replace(prediction, **changes)


def test_scores_within_the_tolerance_are_right(manifest_of: Callable[..., Manifest]) -> None:
    assert golden_mismatch(manifest_of(), golden(0.7, 0.2, 0.1), answer(0.7, 0.2, 0.1)) == ""
    assert golden_mismatch(manifest_of(), golden(0.7, 0.2, 0.1), answer(0.71, 0.195, 0.095)) == ""


def test_one_score_out_of_tolerance_is_named(manifest_of: Callable[..., Manifest]) -> None:
    problem = golden_mismatch(manifest_of(), golden(0.7, 0.2, 0.1), answer(0.7, 0.18, 0.12))
    assert problem == "b has 0.180000 instead of 0.200000, 0.01 is allowed"
    assert golden_mismatch(manifest_of(), golden(0.7, 0.2, 0.1), answer(float("nan"), 0.2, 0.1)).startswith("a has nan")


def test_the_right_scores_under_another_label_are_wrong(manifest_of: Callable[..., Manifest]) -> None:
    problem = golden_mismatch(manifest_of(), golden(0.7, 0.2, 0.1), answer(0.7, 0.2, 0.1, labels=("b",)))
    assert problem == "labels are ['b'], the golden scores say ['a']"
    problem = golden_mismatch(manifest_of(), golden(0.7, 0.2, 0.1), answer(0.7, 0.2, 0.1, label="b"))
    assert problem == "one label is due, the answer has 'b' and ['a']"


def test_in_a_tie_within_the_tolerance_either_label_is_right_and_no_third(manifest_of: Callable[..., Manifest]) -> None:
    tie = golden(0.450, 0.455, 0.095)
    assert golden_mismatch(manifest_of(), tie, answer(0.455, 0.450, 0.095, labels=("a",))) == ""
    assert golden_mismatch(manifest_of(), tie, answer(0.450, 0.455, 0.095, labels=("b",))) == ""
    assert "['a', 'b']" in golden_mismatch(manifest_of(), tie, answer(0.450, 0.455, 0.095, labels=("c",)))


def test_other_labels_or_another_variant_are_wrong(manifest_of: Callable[..., Manifest]) -> None:
    expected = golden(0.7, 0.2, 0.1)
    other = answer(0.7, 0.2, 0.1, scores={"a": 0.7, "b": 0.3})
    assert golden_mismatch(manifest_of(), expected, other) == "labels are a, b instead of a, b, c"
    assert "'int8' is not in the package" in golden_mismatch(
        manifest_of(), expected, answer(0.7, 0.2, 0.1, variant="int8")
    )


def test_a_multi_label_answer_must_hold_what_reaches_its_threshold(manifest_of: Callable[..., Manifest]) -> None:
    manifest = manifest_of("multi_label", thresholds={"c": 0.3})
    expected = golden(0.9, 0.2, 0.4)
    assert golden_mismatch(manifest, expected, answer(0.9, 0.2, 0.4, labels=("a", "c"))) == ""
    assert "say ['a', 'c']" in golden_mismatch(manifest, expected, answer(0.9, 0.2, 0.4, labels=("a",)))
    assert "say ['a', 'c']" in golden_mismatch(manifest, expected, answer(0.9, 0.2, 0.4, labels=("a", "b", "c")))
    # b stands on its threshold: rounding decides.
    for labels in ((), ("b",)):
        assert golden_mismatch(manifest, golden(0.1, 0.5, 0.1), answer(0.1, 0.5, 0.1, labels=labels)) == ""
