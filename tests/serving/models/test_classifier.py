from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.loading import load_classifier
from tunelane_serving.models.model import Classification
from tunelane_serving.package import Task, Variant, describe_files, package_digest, read_manifest, seal

_TEXTS = ("good film", "a bad film", "the film", "so awful", "love it", "unknownword", "it was so great and good")


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    """Build a package of two labels."""
    return tiny_package(tmp_path / "package")


def _answer(classifier: TextClassifier, text: str) -> Classification:
    (answer,) = classifier.run([classifier.prepare(text)])
    assert isinstance(answer, Classification)
    return answer


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_every_way_to_ask_gives_the_same_bits(task: Task, tiny_package: Callable[..., Path], tmp_path: Path) -> None:
    classifier = load_classifier(tiny_package(tmp_path / "package", labels=("a", "b", "c"), task=task), None)
    for text in _TEXTS:
        classified, answered = classifier.classify(text), _answer(classifier, text)
        assert classified.labels == answered.labels
        for scores in (classified.scores, answered.scores, classifier.scores(text)):
            assert scores.tobytes() == answered.scores.tobytes()
        assert (answered.length_tokens, answered.oov_share) == (classifier.token_count(text), classified.oov_share)


def test_texts_of_equal_length_are_answered_in_their_order(package: Path) -> None:
    classifier = load_classifier(package, None)
    prepared = sorted((classifier.prepare(text) for text in _TEXTS), key=lambda text: text.length)
    for _, group in groupby(prepared, key=lambda text: text.length):
        texts = list(group)
        for text, together in zip(texts, classifier.run(texts), strict=True):
            (alone,) = classifier.run([text])
            assert isinstance(together, Classification) and isinstance(alone, Classification)
            assert together.labels == alone.labels
            np.testing.assert_allclose(together.scores, alone.scores, atol=1e-6)


def test_a_model_says_what_it_is(package: Path) -> None:
    classifier = load_classifier(package, None)
    assert classifier.digest == package_digest(package)
    assert (classifier.variant, classifier.fallback_reason, classifier.batch_independent) == ("fp32", "", False)
    assert classifier.size_bytes == (package / "onnx" / "model.onnx").stat().st_size
    assert len({classifier, load_classifier(package, None)}) == 2


def _damage(package: Path, edit: Callable[[str, np.ndarray], np.ndarray], **changes: object) -> None:
    path = package / "onnx" / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(edit(tensor.name, numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, path)
    seal(package, msgspec.structs.replace(read_manifest(package), files=describe_files(package), **changes))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_scores_that_are_not_finite_are_an_error(
    value: float, task: Task, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = tiny_package(tmp_path / "package", task=task)
    _damage(package, lambda name, array: array + np.float32(value) if name == "bias" else array)
    classifier = TextClassifier.open(package)
    with pytest.raises(TunelaneError, match="scores that are not finite"):
        _answer(classifier, "good")


def test_independence_that_was_proved_elsewhere_is_tried_again_here(package: Path) -> None:
    # Dividing by the whole batch's sum: what a text gets depends on its neighbours, as with dynamic scales.
    path = package / "onnx" / "model.onnx"
    claimed = (Variant("fp32", "onnx/model.onnx", golden_tolerance=1e9, batch_independent=True),)
    _damage(package, lambda _, array: array, variants=claimed)
    assert load_classifier(package, None).batch_independent
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "plain"
    model.graph.node.append(onnx.helper.make_node("ReduceSum", ["plain"], ["total"], keepdims=0))
    model.graph.node.append(onnx.helper.make_node("Sub", ["plain", "total"], ["logits"]))
    onnx.save(model, path)
    seal(package, msgspec.structs.replace(read_manifest(package), files=describe_files(package)))
    assert not load_classifier(package, None).batch_independent


def test_another_variant_than_the_package_has_is_refused(package: Path) -> None:
    with pytest.raises(ContractError, match="no variant 'int8'; it has fp32"):
        TextClassifier.open(package, variant="int8")
