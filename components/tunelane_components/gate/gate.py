"""The gate: whether a challenger may take the champion's place, from predictions on the same rows alone."""

from collections.abc import Sequence
from pathlib import Path

from tunelane_components.evaluate.bootstrap import RESAMPLES, intervals, paired_delta
from tunelane_components.evaluate.evaluation import CHALLENGER, CHAMPION, FLOOR
from tunelane_components.evaluate.figures import Interval, read_evaluation
from tunelane_components.evaluate.metrics import Indicators, count, indicators, macro_f1
from tunelane_components.evaluate.predictions import Prediction, read_predictions
from tunelane_components.gate.verdict import Decision, Outcome, Rule, Verdict
from tunelane_serving.errors import ContractError, DigestMismatch, InputError

_LABELS_NAMED = 5


def gate_predictions(
    directory: Path, *, minimum_f1: float = 0.85, margin: float = 0.0, minimum_support: int = 5, seed: int = 0
) -> Verdict:
    """Decide on the predictions directory that `evaluate` wrote; parameters and errors are those of `decide`."""
    evaluation = read_evaluation(directory)
    challenger = read_predictions(directory / CHALLENGER)
    floor = read_predictions(directory / FLOOR)
    champion = read_predictions(directory / CHAMPION) if evaluation.champion is not None else None
    if challenger and challenger[0].taxonomy_digest != evaluation.taxonomy_digest:
        raise DigestMismatch(
            f"{directory}: {CHALLENGER} has taxonomy {challenger[0].taxonomy_digest[:12]}, its evaluation "
            f"{evaluation.taxonomy_digest[:12]}; evaluate again"
        )
    return decide(
        challenger,
        floor,
        champion,
        labels=evaluation.labels,
        minimum_f1=minimum_f1,
        margin=margin,
        minimum_support=minimum_support,
        seed=seed,
    )


def decide(
    challenger: list[Prediction],
    floor: list[Prediction],
    champion: list[Prediction] | None,
    *,
    labels: Sequence[str],
    minimum_f1: float = 0.85,
    margin: float = 0.0,
    minimum_support: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Judge a challenger against the champion, or where there is none against a minimum and the floor.

    Every label needs `minimum_support` test rows; with fewer the verdict is insufficient. Without a champion, macro-F1
    of at least `minimum_f1` and above the floor's promotes, anything else rejects. With one, the 95 % interval of the
    paired bootstrap of the macro-F1 difference decides: wholly above `margin` promotes, wholly at or below it rejects,
    and where it holds the margin the rows are insufficient. A tie never promotes.

    Neither the order of rows nor that of labels changes anything.

    Args:
        challenger: its predictions.
        floor: the floor's, on the same rows.
        champion: the champion's, on the same rows; None where there is none.
        labels: the label names of the taxonomy.
        minimum_f1: macro-F1 that a first champion needs.
        margin: by how much macro-F1 must surely be better, 0 or more.
        minimum_support: test rows that every label needs, 1 or more.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        ContractError: the predictions are empty, or are not of the same rows with the same truths.
        DigestMismatch: they are not of one taxonomy.
        InputError: a parameter is out of its range.
    """
    check_thresholds(minimum_f1, margin, minimum_support)
    ours = _by_id(challenger)
    if not ours:
        raise ContractError("the challenger's predictions are empty; evaluate on a split with rows")
    truth = indicators((row.truth for row in ours), labels)
    predicted = indicators((row.predicted for row in ours), labels)
    floor_predicted = _aligned(ours, floor, "floor", labels)
    rules = [_support_rule(truth, labels, minimum_support)]
    if champion is None:
        interval = intervals(truth, predicted, resamples=resamples, seed=seed).macro
        rules.append(_minimum_rule(interval, len(ours), minimum_f1))
        delta = paired_delta(truth, predicted, floor_predicted, resamples=resamples, seed=seed)
        rules.append(_floor_rule(delta, interval.value, _macro(truth, floor_predicted)))
    else:
        theirs = _aligned(ours, champion, "champion", labels)
        delta = paired_delta(truth, predicted, theirs, resamples=resamples, seed=seed)
        alike = bool((predicted == theirs).all())
        rules.append(_champion_rule(delta, _macro(truth, predicted), _macro(truth, theirs), len(ours), margin, alike))
    decision = _decision(rules)
    return Verdict(
        decision=decision,
        sentence=_sentence(decision, rules, champion is not None),
        rules=tuple(rules),
        rows=len(ours),
        challenger_digest=ours[0].model_digest,
        champion_digest=champion[0].model_digest if champion else "",
        macro_f1=_macro(truth, predicted),
    )


def check_thresholds(minimum_f1: float, margin: float, minimum_support: int) -> None:
    """Stop at a threshold that no sensible gate has; raises InputError."""
    if not 0 <= minimum_f1 <= 1:
        raise InputError(f"minimum_f1 is {minimum_f1}; pass a number from 0 to 1.")
    if not 0 <= margin < 1:
        raise InputError(f"margin is {margin}; pass 0 or a little more, below 1: a worse model is never promoted.")
    if minimum_support < 1:
        raise InputError(f"minimum_support is {minimum_support}; pass 1 or more.")


def _by_id(predictions: list[Prediction]) -> list[Prediction]:
    return sorted(predictions, key=lambda row: row.id)


def _aligned(ours: list[Prediction], other: list[Prediction], name: str, labels: Sequence[str]) -> Indicators:
    """Give the other model's labels on our rows, (rows, labels) in our order; name the first row that differs."""
    theirs = _by_id(other)
    differing = {row.id for row in ours} ^ {row.id for row in theirs}
    if differing:
        first = min(differing)
        holder, lacking = ("challenger", name) if any(row.id == first for row in ours) else (name, "challenger")
        raise ContractError(f"row {first!r}: the {holder} has it, the {lacking} has not; evaluate both on one split")
    if len(ours) != len(theirs):
        raise ContractError(f"the {name} has {len(theirs)} predictions for {len(ours)} rows; a row stands twice")
    for our, their in zip(ours, theirs, strict=True):
        if our.taxonomy_digest != their.taxonomy_digest:
            raise DigestMismatch(
                f"row {our.id!r}: challenger has taxonomy {our.taxonomy_digest[:12]}, {name} "
                f"{their.taxonomy_digest[:12]}; evaluate both with one taxonomy"
            )
        if set(our.truth) != set(their.truth):
            raise ContractError(
                f"row {our.id!r}: its truth is {', '.join(our.truth)} for the challenger and "
                f"{', '.join(their.truth)} for the {name}; evaluate both on one split"
            )
    return indicators((row.predicted for row in theirs), labels)


def _macro(truth: Indicators, predicted: Indicators) -> float:
    return float(macro_f1(count(truth, predicted)))


def _support_rule(truth: Indicators, labels: Sequence[str], minimum_support: int) -> Rule:
    support = sorted((int(rows), label) for rows, label in zip(truth.sum(axis=0), labels, strict=True))
    short = [(rows, label) for rows, label in support if rows < minimum_support]
    if short:
        named = ", ".join(f"{label!r} has {rows}" for rows, label in short[:_LABELS_NAMED])
        more = f" and {len(short) - _LABELS_NAMED} more" if len(short) > _LABELS_NAMED else ""
        sentence = (
            f"Too few test rows for {len(short)} of {len(labels)} labels, {minimum_support} are needed: {named}{more}."
        )
    else:
        sentence = f"Every label has at least {minimum_support} test rows; the rarest has {support[0][0]:,}."
    return Rule(
        name="support",
        value=float(support[0][0]),
        threshold=float(minimum_support),
        outcome="undecided" if short else "passed",
        sentence=sentence,
    )


def _minimum_rule(interval: Interval, rows: int, minimum_f1: float) -> Rule:
    passed = interval.value >= minimum_f1
    ours, minimum = _told_apart(interval.value, minimum_f1)
    return Rule(
        name="minimum_f1",
        value=interval.value,
        threshold=minimum_f1,
        outcome="passed" if passed else "failed",
        sentence=f"Macro-F1 {ours} on {rows:,} rows is {'at least' if passed else 'below'} the minimum of {minimum}.",
        lower=interval.lower,
        upper=interval.upper,
    )


def _floor_rule(delta: Interval, ours: float, floor: float) -> Rule:
    passed = delta.value > 0
    our_figure, floor_figure = _told_apart(ours, floor)
    return Rule(
        name="floor",
        value=delta.value,
        threshold=0.0,
        outcome="passed" if passed else "failed",
        sentence=(
            f"Macro-F1 {our_figure} is {'above' if passed else 'not above'} the floor's {floor_figure} on the same "
            f"rows: {_points(delta)}."
        ),
        lower=delta.lower,
        upper=delta.upper,
    )


def _champion_rule(delta: Interval, ours: float, champion: float, rows: int, margin: float, alike: bool) -> Rule:
    asked = f" by more than the margin of {100 * margin:g} points" if margin else ""
    our_figure, champion_figure = _told_apart(ours, champion)
    figures = f"Macro-F1 {our_figure} against the champion's {champion_figure} on the same {rows:,} rows:"
    outcome: Outcome
    if alike:
        outcome, sentence = (
            "failed",
            f"{figures} {_points(delta)}. The two answer alike on every row; a tie never promotes.",
        )
    elif delta.lower > margin:
        outcome, sentence = "passed", f"{figures} {_points(delta)}. The challenger is better{asked}."
    elif delta.upper <= margin:
        outcome, sentence = "failed", f"{figures} {_points(delta)}. The challenger is not better{asked}."
    elif margin:
        outcome, sentence = (
            "undecided",
            f"{figures} {_points(delta)}. The rows cannot tell whether it is better{asked}.",
        )
    else:
        outcome, sentence = "undecided", f"{figures} {_points(delta)}. The rows cannot tell them apart."
    return Rule(
        name="champion",
        value=delta.value,
        threshold=margin,
        outcome=outcome,
        sentence=sentence,
        lower=delta.lower,
        upper=delta.upper,
    )


def _decision(rules: Sequence[Rule]) -> Decision:
    """Decide from the rules: too few rows to judge on comes before any judgement, a failure before a doubt."""
    outcomes = {rule.name: rule.outcome for rule in rules}
    if outcomes["support"] != "passed":
        return "insufficient"
    if "failed" in outcomes.values():
        return "reject"
    return "insufficient" if "undecided" in outcomes.values() else "promote"


def _sentence(decision: Decision, rules: Sequence[Rule], has_champion: bool) -> str:
    """Say the rules that decided, then what follows from them."""
    support, *judged = rules
    if support.outcome != "passed":
        said = [support.sentence, "Bring more labelled rows, or lower minimum_support."]
    else:
        said = [rule.sentence for rule in judged if decision == "promote" or rule.outcome != "passed"]
    if decision == "promote":
        said.append("It takes the champion's place." if has_champion else "It may be the first champion.")
    else:
        said.append("The champion stays." if has_champion else "There is no champion yet, and it does not become one.")
    return " ".join(said)


def _points(delta: Interval) -> str:
    """Give a macro-F1 difference in points of a hundred, with its interval."""
    value, lower, upper = (100 * figure for figure in (delta.value, delta.lower, delta.upper))
    return f"{value:+.1f} points, 95 % interval {lower:+.1f} to {upper:+.1f}"


def _told_apart(first: float, second: float) -> tuple[str, str]:
    """Write two figures with three decimals, or as many more as it takes to see that they differ."""
    decimals = next((n for n in range(3, 9) if first == second or f"{first:.{n}f}" != f"{second:.{n}f}"), 9)
    return f"{first:.{decimals}f}", f"{second:.{decimals}f}"
