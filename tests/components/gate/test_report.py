from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.gate.report import render, section
from tunelane_components.gate.verdict import Rule, Verdict
from tunelane_serving.contract import read

_GOLDEN = Path(__file__).parents[1] / "contracts" / "golden" / "verdict_v1.json"


@pytest.fixture
def verdict() -> Verdict:
    return read(_GOLDEN, Verdict)


def test_it_shows_decision_sentence_and_every_rule_with_its_figures(
    verdict: Verdict, read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    shown = read_page(section(verdict))
    for said in (
        "? Insufficient",
        verdict.sentence,
        "✓ passed Measured 0.840 95 % interval 0.825 to 0.855 asked for at least 0.800",
        "? undecided Measured +1.2 points 95 % interval -0.4 to +2.8 asked for more than 0 points",
        "✗ failed Measured 4 asked for at least 5",
        *(rule.sentence for rule in verdict.rules),
        verdict.challenger_digest,
    ):
        assert said in shown.text
    drawn = [value for name, value in shown.attributes if name == "aria-label"]
    assert len(drawn) == len(verdict.rules)
    assert drawn[1].endswith("measured +1.2 points, 95 % interval -0.4 to +2.8, asked for more than 0 points.")
    check_page(render(verdict))


@pytest.mark.parametrize(("decision", "word"), [("promote", "✓ Promote"), ("reject", "✗ Reject")])
def test_the_badge_says_the_decision_in_sign_and_word(
    decision: Any, word: str, verdict: Verdict, read_page: Callable[[str], Any]
) -> None:
    changed = msgspec.structs.replace(verdict, decision=decision, rules=verdict.rules[:1])
    assert word in read_page(section(changed)).text
    assert f"Verdict: {decision}" in render(changed)


def test_a_margin_is_written_in_points(read_page: Callable[[str], Any]) -> None:
    rule = Rule("champion", 0.031, 0.02, "passed", "Better.", 0.021, 0.04)
    text = read_page(section(Verdict("promote", "Better.", (rule,), 10, "a", "b"))).text
    assert "Measured +3.1 points 95 % interval +2.1 to +4.0 asked for more than +2.0 points" in text


def test_figures_without_difference_and_hostile_words_are_drawn(
    verdict: Verdict,
    hostile_names: tuple[str, ...],
    read_page: Callable[[str], Any],
    check_page: Callable[[str], None],
) -> None:
    rules = tuple(Rule(name, 0.0, 0.0, "failed", name, 0.0, 0.0) for name in ("champion", *hostile_names))
    html = render(msgspec.structs.replace(verdict, rules=rules, sentence=" ".join(hostile_names), champion_digest=""))
    shown = read_page(html)
    assert "script" not in shown.tags
    assert all(name in shown.text for name in hostile_names)
    assert "Champion none" in shown.text
    check_page(html)
