from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.errors import ContractError
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.loading import load_classifier, load_model
from tunelane_serving.models.model import Classification
from tunelane_serving.models.rules import KeywordClassifier
from tunelane_serving.package import BaseModel, Manifest, package_digest, seal
from tunelane_serving.problems import FeaturesMismatch
from tunelane_serving.taxonomy import Label, Taxonomy

_TAXONOMY = Taxonomy(
    (
        Label("joy", aliases=("happiness",), keywords=("happy", "over the moon", "glad")),
        Label("anger", keywords=("angry", "furious", "not happy", "can't stand")),
        Label("sadness", keywords=("sad", "crying", "straße", "c++")),
    )
)


def _answer(rules: KeywordClassifier, text: str) -> Classification:
    (answer,) = rules.run([rules.prepare(text)])
    assert isinstance(answer, Classification)
    return answer


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I am so HAPPY today", "joy"),
        ("What Happiness!", "joy"),
        ("we were over  the\nmoon", "joy"),
        ("furious, and glad, and furious", "anger"),
        ("I am not happy", "anger"),
        ("I can\N{RIGHT SINGLE QUOTATION MARK}t stand it", "anger"),
        ("STRASSE", "sadness"),
        ("why C++?", "sadness"),
        ("\uff53\uff41\uff44", "sadness"),
    ],
)
def test_words_and_phrases_speak_for_their_label_whatever_their_case(text: str, label: str) -> None:
    answer = _answer(KeywordClassifier(_TAXONOMY), text)
    assert answer.labels == (label,)
    assert answer.scores[_TAXONOMY.names.index(label)] == answer.scores.max() > 1 / 3


@pytest.mark.parametrize("text", ["", "unhappy sadly gladness", "over the hill, the moon", "xyz", "not", "🙂"])
def test_where_no_whole_word_matches_no_label_stands_out(text: str) -> None:
    single = _answer(KeywordClassifier(_TAXONOMY), text)
    np.testing.assert_array_equal(single.scores, np.float32(1 / 3))
    assert single.labels == ("joy",)
    multi = _answer(KeywordClassifier(_TAXONOMY, task="multi_label"), text)
    assert multi.labels == ()
    np.testing.assert_array_equal(multi.scores, single.scores)


def test_scores_are_smoothed_shares_of_matches() -> None:
    answer = _answer(KeywordClassifier(_TAXONOMY, task="multi_label"), "happy, glad and sad")
    np.testing.assert_allclose(answer.scores, [3 / 6, 1 / 6, 2 / 6], rtol=1e-6)
    assert answer.labels == ("joy", "sadness")
    assert (answer.length_tokens, answer.oov_share) == (None, None)


@given(st.text())
def test_any_text_gets_scores_that_sum_to_one(text: str) -> None:
    answer = _answer(KeywordClassifier(_TAXONOMY), text)
    assert answer.scores.sum() == pytest.approx(1, abs=1e-6)
    assert answer.labels == (_TAXONOMY.names[int(answer.scores.argmax())],)


def test_several_texts_are_answered_in_their_order() -> None:
    rules = KeywordClassifier(_TAXONOMY)
    answers = rules.run([rules.prepare(text) for text in ("sad", "angry", "glad")])
    assert [answer.labels for answer in answers if isinstance(answer, Classification)] == [
        ("sadness",),
        ("anger",),
        ("joy",),
    ]


def test_features_are_refused() -> None:
    with pytest.raises(FeaturesMismatch, match="takes a text"):
        KeywordClassifier(_TAXONOMY).prepare({"x": 1})


def test_rules_say_what_they_are_and_why_they_serve(tmp_path: Path) -> None:
    rules = KeywordClassifier(_TAXONOMY, reason="the package is gone")
    assert (rules.variant, rules.manifest.framework, rules.fallback_reason) == ("rules", "rules", "the package is gone")
    # The digest is that of a package which can be made, and loaded.
    tmp_path.joinpath("package").mkdir()
    assert seal(tmp_path / "package", rules.manifest) == rules.digest
    loaded = load_model(tmp_path / "package", rules.digest)
    assert isinstance(loaded, KeywordClassifier)
    assert (loaded.digest, loaded.manifest) == (rules.digest, rules.manifest)
    assert KeywordClassifier(_TAXONOMY, task="multi_label").digest != rules.digest


def test_rules_are_no_classifier_of_texts_to_the_stages(tmp_path: Path) -> None:
    seal(tmp_path, KeywordClassifier(_TAXONOMY).manifest)
    with pytest.raises(ContractError, match="framework rules and task single_label is no classifier"):
        load_classifier(tmp_path, None)
    with pytest.raises(ContractError, match="a package of framework rules has no graph; name one that has"):
        TextClassifier.open(tmp_path)


def test_rules_without_labels_are_refused(tmp_path: Path) -> None:
    seal(tmp_path, Manifest("rules", "tensors", (), (), (), (), 1, BaseModel("none")))
    with pytest.raises(ContractError, match="keyword rules give labels; a tensors package has none"):
        load_model(tmp_path, package_digest(tmp_path))
