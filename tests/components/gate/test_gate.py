import random
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tunelane_components.evaluate.predictions import Prediction
from tunelane_components.gate.gate import decide
from tunelane_components.gate.verdict import Rule, Verdict
from tunelane_serving.errors import ContractError, DigestMismatch, InputError

LABELS = ("bug", "feature", "question")
Make = Callable[..., list[Prediction]]


def truths(rows: int) -> list[str]:
    return [LABELS[number % 3] for number in range(rows)]


def wrong_on(truth: list[str], rows: range) -> list[str]:
    """Labels that are right but on those rows."""
    return [LABELS[(LABELS.index(label) + 1) % 3] if n in rows else label for n, label in enumerate(truth)]


def rule(verdict: Verdict, name: str) -> Rule:
    return next(rule for rule in verdict.rules if rule.name == name)


# The first model.


def test_a_first_model_above_minimum_and_floor_is_promoted(make_predictions: Make):
    truth = truths(300)
    challenger, floor = wrong_on(truth, range(30)), wrong_on(truth, range(60))
    verdict = decide(make_predictions(truth, challenger), make_predictions(truth, floor, "floor"), None, labels=LABELS)
    assert verdict.decision == "promote"
    assert (verdict.rows, verdict.challenger_digest, verdict.champion_digest) == (300, "challenger", "")
    assert [rule.name for rule in verdict.rules] == ["support", "minimum_f1", "floor"]
    assert rule(verdict, "minimum_f1").value == pytest.approx(f1_score(truth, challenger, average="macro"))
    assert verdict.macro_f1 == rule(verdict, "minimum_f1").value
    assert rule(verdict, "floor").value == pytest.approx(0.1)
    assert verdict.sentence == (
        "Macro-F1 0.900 on 300 rows is at least the minimum of 0.850. Macro-F1 0.900 is above the floor's 0.800 on the "
        f"same rows: +10.0 points, 95 % interval {100 * rule(verdict, 'floor').lower:+.1f} to "
        f"{100 * rule(verdict, 'floor').upper:+.1f}. It may be the first champion."
    )


def test_a_first_model_below_the_minimum_is_rejected(make_predictions: Make):
    truth = truths(300)
    verdict = decide(
        make_predictions(truth, wrong_on(truth, range(60))),
        make_predictions(truth, wrong_on(truth, range(90)), "floor"),
        None,
        labels=LABELS,
    )
    assert verdict.decision == "reject"
    assert rule(verdict, "floor").outcome == "passed"
    assert verdict.sentence == (
        "Macro-F1 0.800 on 300 rows is below the minimum of 0.850. "
        "There is no champion yet, and it does not become one."
    )


def test_a_first_model_exactly_at_the_minimum_passes(make_predictions: Make):
    truth = truths(300)
    rows = make_predictions(truth, wrong_on(truth, range(60)))
    floor = make_predictions(truth, wrong_on(truth, range(90)), "floor")
    measured = rule(decide(rows, floor, None, labels=LABELS, minimum_f1=0.5), "minimum_f1").value
    assert decide(rows, floor, None, labels=LABELS, minimum_f1=measured).decision == "promote"
    above = float(np.nextafter(measured, 1))
    assert decide(rows, floor, None, labels=LABELS, minimum_f1=above).decision == "reject"


@pytest.mark.parametrize("floor_errors", [30, 20])
def test_a_first_model_not_above_the_floor_is_rejected(make_predictions: Make, floor_errors: int):
    truth = truths(300)
    verdict = decide(
        make_predictions(truth, wrong_on(truth, range(30))),
        make_predictions(truth, wrong_on(truth, range(floor_errors)), "floor"),
        None,
        labels=LABELS,
    )
    assert verdict.decision == "reject"
    assert rule(verdict, "minimum_f1").outcome == "passed"
    assert "is not above the floor's" in verdict.sentence


def test_figures_that_look_alike_are_written_until_they_differ(make_predictions: Make):
    truth = truths(300)
    floor = make_predictions(truth, ["bug"] * 300, "floor")
    verdict = decide(
        make_predictions(truth, wrong_on(truth, range(45))), floor, None, labels=LABELS, minimum_f1=0.85004
    )
    assert "Macro-F1 0.85000 on 300 rows is below the minimum of 0.85004." in verdict.sentence


# A champion.


def test_a_challenger_surely_better_takes_the_champions_place(make_predictions: Make):
    truth = truths(600)
    champion = make_predictions(truth, wrong_on(truth, range(120)), "champion")
    challenger = make_predictions(truth, wrong_on(truth, range(60)))
    verdict = decide(challenger, champion, champion, labels=LABELS)
    assert verdict.decision == "promote"
    assert verdict.champion_digest == "champion"
    assert [rule.name for rule in verdict.rules] == ["support", "champion"]
    assert rule(verdict, "champion").lower > 0
    assert verdict.sentence.startswith(
        "Macro-F1 0.900 against the champion's 0.800 on the same 600 rows: +10.0 points, 95 % interval +"
    )
    assert verdict.sentence.endswith("The challenger is better. It takes the champion's place.")


def test_a_challenger_surely_worse_is_rejected(make_predictions: Make):
    truth = truths(600)
    champion = make_predictions(truth, wrong_on(truth, range(60)), "champion")
    challenger = make_predictions(truth, wrong_on(truth, range(120)))
    verdict = decide(challenger, champion, champion, labels=LABELS)
    assert verdict.decision == "reject"
    assert rule(verdict, "champion").upper < 0
    assert verdict.sentence.endswith("The challenger is not better. The champion stays.")


def test_rows_that_cannot_tell_are_insufficient(make_predictions: Make):
    truth = truths(600)
    champion = make_predictions(truth, wrong_on(truth, range(60)), "champion")
    challenger = make_predictions(truth, wrong_on(truth, range(100, 155)))
    verdict = decide(challenger, champion, champion, labels=LABELS)
    assert verdict.decision == "insufficient"
    compared = rule(verdict, "champion")
    assert compared.outcome == "undecided"
    assert compared.lower < 0 < compared.value < compared.upper
    assert verdict.sentence.endswith("The rows cannot tell them apart. The champion stays.")


def test_a_gain_must_be_surely_above_the_margin(make_predictions: Make):
    truth = truths(600)
    champion = make_predictions(truth, wrong_on(truth, range(120)), "champion")
    challenger = make_predictions(truth, wrong_on(truth, range(60)))  # 10 points better, give or take 2.5
    decisions = {
        margin: decide(challenger, champion, champion, labels=LABELS, margin=margin) for margin in (0.05, 0.1, 0.2)
    }
    assert [verdict.decision for verdict in decisions.values()] == ["promote", "insufficient", "reject"]
    assert "whether it is better by more than the margin of 10 points" in decisions[0.1].sentence
    assert "not better by more than the margin of 20 points" in decisions[0.2].sentence


def test_a_tie_never_promotes(make_predictions: Make):
    truth = truths(90)
    answers = wrong_on(truth, range(9))
    verdict = decide(
        make_predictions(truth, answers),
        make_predictions(truth, ["bug"] * 90, "floor"),
        make_predictions(truth, answers, "champion"),
        labels=LABELS,
    )
    assert verdict.decision == "reject"
    assert (
        "interval +0.0 to +0.0. The two answer alike on every row; a tie never promotes. The champion stays."
        in verdict.sentence
    )


def test_a_champion_excuses_from_minimum_and_floor(make_predictions: Make):
    truth = truths(600)
    champion = make_predictions(truth, wrong_on(truth, range(480)), "champion")
    challenger = make_predictions(truth, wrong_on(truth, range(300)))
    floor = make_predictions(truth, truth, "floor")
    assert decide(challenger, floor, champion, labels=LABELS, minimum_f1=0.99).decision == "promote"


# Too few rows.


@pytest.mark.parametrize("with_champion", [True, False])
def test_a_label_with_too_few_rows_is_insufficient_however_good_the_model(make_predictions: Make, with_champion: bool):
    truth = ["bug"] * 50 + ["feature"] * 4
    bad = make_predictions(truth, ["feature"] * 50 + ["bug"] * 4, "other")
    verdict = decide(make_predictions(truth, truth), bad, bad if with_champion else None, labels=LABELS)
    assert verdict.decision == "insufficient"
    assert verdict.sentence.startswith(
        "Too few test rows for 2 of 3 labels, 5 are needed: 'question' has 0, 'feature' has 4. Bring more labelled rows"
    )
    assert (rule(verdict, "support").value, rule(verdict, "support").threshold) == (0.0, 5.0)


def test_as_many_rows_as_asked_for_are_enough(make_predictions: Make):
    truth = truths(12)
    floor = make_predictions(truth, ["bug"] * 12, "floor")
    decisions = [
        decide(make_predictions(truth, truth), floor, None, labels=LABELS, minimum_support=support).decision
        for support in (4, 5)
    ]
    assert decisions == ["promote", "insufficient"]


def test_many_short_labels_are_counted_not_listed(make_predictions: Make):
    labels = [f"label-{number}" for number in range(30)]
    rows = make_predictions(labels[:2], labels[:2])
    sentence = decide(rows, rows, None, labels=labels).sentence
    assert "for 30 of 30 labels" in sentence
    assert "and 25 more" in sentence


# What must be equal.


def with_row(rows: list[Prediction], position: int, **changes: object) -> list[Prediction]:
    return [msgspec.structs.replace(row, **changes) if n == position else row for n, row in enumerate(rows)]


@pytest.mark.parametrize("role", ["floor", "champion"])
def test_other_rows_are_named(make_predictions: Make, role: str):
    truth = truths(30)
    rows = make_predictions(truth, truth)

    def judge(other: list[Prediction]) -> None:
        models = {"floor": rows, "champion": rows, role: other}
        decide(rows, models["floor"], models["champion"], labels=LABELS)

    with pytest.raises(ContractError, match=f"^row 'row-00003': the challenger has it, the {role} has not"):
        judge(rows[:3] + rows[4:])
    with pytest.raises(ContractError, match=f"^row 'extra': the {role} has it, the challenger has not"):
        judge([*rows, msgspec.structs.replace(rows[0], id="extra")])
    with pytest.raises(
        ContractError, match=f"^row 'row-00007': its truth is feature for the challenger and bug for the {role}"
    ):
        judge(with_row(rows, 7, truth=("bug",)))
    with pytest.raises(ContractError, match=f"the {role} has 31 predictions for 30 rows"):
        judge([*rows, rows[0]])
    with pytest.raises(DigestMismatch, match=f"challenger has taxonomy taxonomy, {role} other"):
        judge(with_row(rows, 7, taxonomy_digest="other"))
    with pytest.raises(ContractError, match="label 'spam' is not in the taxonomy"):
        judge(with_row(rows, 7, predicted=("spam",)))


def test_no_predictions_are_no_reason_to_decide():
    with pytest.raises(ContractError, match="predictions are empty"):
        decide([], [], None, labels=LABELS)


@pytest.mark.parametrize(
    "parameter",
    [{"minimum_f1": 85}, {"margin": -0.01}, {"margin": float("nan")}, {"margin": 2.0}, {"minimum_support": 0}],
)
def test_a_parameter_out_of_range_is_named(make_predictions: Make, parameter: dict[str, float]):
    rows = make_predictions(truths(30), truths(30))
    with pytest.raises(InputError, match=next(iter(parameter))):
        decide(rows, rows, None, labels=LABELS, **parameter)


def test_several_labels_a_row_are_judged_by_the_same_rules(make_predictions: Make):
    rows = make_predictions(truths(300), truths(300))
    both = [msgspec.structs.replace(row, truth=("bug", "feature"), predicted=("feature", "bug")) for row in rows[:100]]
    challenger = both + rows[100:]
    champion = [msgspec.structs.replace(row, predicted=row.predicted[:1]) for row in challenger]
    assert decide(challenger, rows_without_labels(challenger), champion, labels=LABELS).decision == "promote"


def rows_without_labels(rows: list[Prediction]) -> list[Prediction]:
    return [msgspec.structs.replace(row, predicted=()) for row in rows]


# Properties.

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def judged(draw: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """Draw true labels, a challenger's and a champion's, of 1 to 60 rows."""
    rows = draw(st.integers(1, 60))
    column = st.lists(st.sampled_from(LABELS), min_size=rows, max_size=rows)
    return draw(column), draw(column), draw(column)


@settings(max_examples=60)
@given(columns=judged(), seed=SEEDS, margin=st.floats(0, 0.5), support=st.integers(1, 5))
def test_identical_models_never_promote(make_predictions: Make, columns, seed: int, margin: float, support: int):
    truth, answers, _ = columns
    verdict = decide(
        make_predictions(truth, answers),
        make_predictions(truth, answers, "floor"),
        make_predictions(truth, answers, "champion"),
        labels=LABELS,
        margin=margin,
        minimum_support=support,
        seed=seed,
        resamples=100,
    )
    assert verdict.decision != "promote"
    compared = rule(verdict, "champion")
    assert (compared.value, compared.lower, compared.upper, compared.outcome) == (0.0, 0.0, 0.0, "failed")


@settings(max_examples=60)
@given(columns=judged(), seed=SEEDS, has_champion=st.booleans(), order=st.permutations(LABELS))
def test_label_order_changes_nothing_to_the_last_bit(make_predictions: Make, columns, seed, has_champion, order):
    truth, ours, theirs = columns
    challenger, other = make_predictions(truth, ours), make_predictions(truth, theirs, "other")
    straight, permuted = (
        decide(
            challenger,
            other,
            other if has_champion else None,
            labels=labels,
            minimum_f1=0.4,
            minimum_support=1,
            seed=seed,
            resamples=100,
        )
        for labels in (LABELS, order)
    )
    assert straight == permuted


@settings(max_examples=60)
@given(columns=judged(), seed=SEEDS, names=st.permutations(LABELS), has_champion=st.booleans())
def test_other_names_for_the_labels_change_no_figure(make_predictions: Make, columns, seed, names, has_champion):
    renamed = dict(zip(LABELS, names, strict=True))
    verdicts = []
    for truth, ours, theirs in (columns, [[renamed[label] for label in column] for column in columns]):
        other = make_predictions(truth, theirs, "other")
        verdicts.append(
            decide(
                make_predictions(truth, ours),
                other,
                other if has_champion else None,
                labels=LABELS,
                minimum_support=1,
                seed=seed,
                resamples=100,
            )
        )
    straight, changed = verdicts
    assert straight.decision == changed.decision
    for before, after in zip(straight.rules, changed.rules, strict=True):
        assert (before.value, before.lower, before.upper) == (after.value, after.lower, after.upper)


@settings(max_examples=60)
@given(columns=judged(), seed=SEEDS, has_champion=st.booleans(), shuffles=st.integers(0, 10**6))
def test_row_order_changes_nothing(make_predictions: Make, columns, seed, has_champion, shuffles):
    truth, ours, theirs = columns
    challenger, other = make_predictions(truth, ours), make_predictions(truth, theirs, "other")
    generator = random.Random(shuffles)  # noqa: S311 - shuffles rows, guards nothing

    def shuffled(rows: list[Prediction]) -> list[Prediction]:
        return generator.sample(rows, len(rows))

    straight, permuted = (
        decide(a, b, b if has_champion else None, labels=LABELS, minimum_support=1, seed=seed, resamples=100)
        for a, b in ((challenger, other), (shuffled(challenger), shuffled(other)))
    )
    assert straight == permuted


@settings(max_examples=60)
@given(columns=judged(), seed=SEEDS)
def test_swapping_challenger_and_champion_negates_the_difference(make_predictions: Make, columns, seed: int):
    truth, ours, theirs = columns
    a, b = make_predictions(truth, ours, "a"), make_predictions(truth, theirs, "b")
    there, back = (
        rule(decide(x, x, y, labels=LABELS, minimum_support=1, seed=seed, resamples=100), "champion")
        for x, y in ((a, b), (b, a))
    )
    assert (there.value, there.lower, there.upper) == (-back.value, -back.upper, -back.lower)
    assert {there.outcome, back.outcome} != {"passed"}


@settings(max_examples=30)
@given(rows=st.integers(30, 120), seed=SEEDS)
def test_a_champion_wrong_on_every_row_is_replaced_by_one_that_is_right(make_predictions: Make, rows: int, seed: int):
    truth = truths(rows)
    champion = make_predictions(truth, wrong_on(truth, range(rows)), "champion")
    verdict = decide(
        make_predictions(truth, truth), champion, champion, labels=LABELS, seed=seed, resamples=100, margin=0.5
    )
    assert verdict.decision == "promote"
