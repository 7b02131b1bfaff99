"""Predictions and verdicts written as version 1 load for ever, and broken ones are named."""

import json
from pathlib import Path

import msgspec
import pytest

from tunelane_components.evaluate.predictions import Prediction, read_predictions, write_predictions
from tunelane_components.gate.verdict import Rule, Verdict
from tunelane_serving.contract import decode, encode, read, write
from tunelane_serving.errors import ContractError

_GOLDEN = Path(__file__).parent / "golden"
_PREDICTIONS = _GOLDEN / "predictions_v1.jsonl"
_VERDICT = _GOLDEN / "verdict_v1.json"
_VERDICT_WITH_F1 = _GOLDEN / "verdict_v1_macro_f1.json"


def test_the_golden_predictions_keep_their_meaning(tmp_path):
    first, second = predictions = read_predictions(_PREDICTIONS)
    assert (first.id, first.truth, first.predicted, first.slices) == (
        "movies-1",
        ("positive",),
        ("positive",),
        {"source": "movies"},
    )
    assert (second.id, second.truth, second.predicted) == ("zwölf", ("negative", "delighted"), ())
    write_predictions(tmp_path / "again.jsonl", predictions)
    assert read_predictions(tmp_path / "again.jsonl") == predictions


def test_the_golden_verdict_keeps_its_meaning(tmp_path):
    verdict = read(_VERDICT, Verdict)
    assert (verdict.decision, verdict.rows) == ("insufficient", 2114)
    assert [rule.outcome for rule in verdict.rules] == ["passed", "undecided", "failed"]
    assert (verdict.rules[0].lower, verdict.rules[2].lower) == (0.825, None)
    assert verdict.macro_f1 is None
    write(tmp_path / "again.json", verdict)
    assert read(tmp_path / "again.json", Verdict) == verdict
    assert read(_VERDICT_WITH_F1, Verdict) == msgspec.structs.replace(verdict, macro_f1=0.8412)


def test_the_golden_files_hold_every_field():
    lines = [json.loads(line) for line in _PREDICTIONS.read_text(encoding="utf-8").splitlines()]
    assert set().union(*lines) == set(Prediction.__struct_fields__)
    verdict = json.loads(_VERDICT_WITH_F1.read_text(encoding="utf-8"))
    assert set(verdict) == set(Verdict.__struct_fields__)
    assert set(verdict["rules"][0]) == set(Rule.__struct_fields__)


@pytest.mark.parametrize("kind", [Prediction, Verdict])
def test_a_version_from_the_future_says_upgrade(kind):
    with pytest.raises(ContractError, match=r"field version: written as version 2.*upgrade tunelane"):
        decode(b'{"version": 2}', kind, "file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "movies-1"}, ":2: field id: row 'movies-1' stands twice"),
        ({"model_digest": "other"}, ":2: field model_digest: two models in one file"),
        ({"taxonomy_digest": "other"}, ":2: field taxonomy_digest: two taxonomies in one file"),
        ({"scores": ["high"]}, ":2: field scores[0]: Expected `float`, got `str`"),
        ({"id": ""}, ":2: id: a prediction names its row"),
        ({"logits": [1.0]}, ":2: Object contains unknown field `logits`"),
    ],
)
def test_a_broken_predictions_file_names_line_and_field(change, words, tmp_path):
    first, second = _PREDICTIONS.read_bytes().splitlines()
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(first + b"\n" + msgspec.json.encode(msgspec.json.decode(second) | change))
    with pytest.raises(ContractError) as caught:
        read_predictions(path)
    assert str(caught.value) == f"{path}{words}"


@pytest.mark.parametrize("outcome", ["failed", "undecided"])
def test_promote_needs_every_rule_passed(outcome):
    passed = Rule("floor", 0.8, 0.7, "passed", "Above the floor.")
    assert Verdict("promote", "Better.", (passed,), 10, "a").rules == (passed,)
    with pytest.raises(ValueError, match="promote needs every rule passed"):
        Verdict("promote", "Better.", (passed, msgspec.structs.replace(passed, outcome=outcome)), 10, "a")


def test_a_verdict_rests_on_a_rule():
    with pytest.raises(ValueError, match="at least one rule"):
        Verdict("reject", "Because.", (), 10, "a")


def test_an_unknown_decision_names_its_field():
    content = encode(read(_VERDICT, Verdict)).replace(b'"insufficient"', b'"maybe"')
    with pytest.raises(ContractError, match="verdict: field decision: Invalid enum value 'maybe'"):
        decode(content, Verdict, "verdict")
