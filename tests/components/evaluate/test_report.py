from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.evaluate.evaluation import evaluate
from tunelane_components.evaluate.figures import Evaluation, Interval, LabelReport, SliceReport
from tunelane_components.evaluate.report import render, section
from tunelane_serving.contract import read

_GOLDEN = Path(__file__).parent / "golden" / "evaluation_v1.json"


@pytest.fixture
def evaluation(dataset: Path, tmp_path: Path, tiny_package: Callable[..., Path]) -> Evaluation:
    champion = tiny_package(tmp_path / "champion", bias=(0.0, 50.0))
    return evaluate(dataset, tiny_package(tmp_path / "package"), champion, tmp_path / "predictions")


def _of_labels(evaluation: Evaluation, labels: tuple[str, ...]) -> Evaluation:
    """Give an evaluation of these labels; each has ten rows, of which one got the next label."""
    size = len(labels)
    confusion = tuple(
        tuple(9 if column == row else int(column == (row + 1) % size) for column in range(size)) for row in range(size)
    )
    per_label = tuple(LabelReport(label, 10, 10, 9, 0.9, 0.9, 0.9, Interval(0.9, 0.7, 1.0)) for label in labels)
    return msgspec.structs.replace(evaluation, labels=labels, rows=10 * size, confusion=confusion, per_label=per_label)


def test_it_shows_headline_labels_slices_and_confusion(
    evaluation: Evaluation, read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    shown = read_page(section(evaluation))
    macro, champion = evaluation.macro_f1, evaluation.champion
    assert champion is not None
    interval = evaluation.per_label[0].f1_interval
    assert interval is not None
    rivals = [
        f"{100 * other.delta.value:+.1f} points 95 % interval {100 * other.delta.lower:+.1f} to"
        for other in (champion, evaluation.floor)
    ]
    for said in (
        f"Macro-F1 {macro.value:.3f} {macro.lower:.3f} to {macro.upper:.3f}",
        f"Against the champion package {champion.model_digest[:12]} Difference {rivals[0]}",
        f"Against the floor TF-IDF with logistic regression Difference {rivals[1]}",
        f"negative 0.968 {interval.lower:.3f} to {interval.upper:.3f} · 15 rows",
        "Macro-F1 by source phone",
        "· 11 rows (few)",
        "negative 15 0 positive 1 15",
        evaluation.test_digest,
    ):
        assert said in shown.text
    check_page(render(evaluation))


def test_an_evaluation_without_champion_or_label_intervals_is_drawn(
    read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    first = msgspec.structs.replace(read(_GOLDEN, Evaluation), champion=None)
    html = render(first)
    shown = read_page(html)
    assert "There was no champion to compare with." in shown.text
    assert "Against the champion" not in shown.text
    assert "negative 0.968 15 rows" in shown.text
    check_page(html)


def test_names_from_the_data_cannot_become_markup(
    evaluation: Evaluation,
    hostile_names: tuple[str, ...],
    read_page: Callable[[str], Any],
    check_page: Callable[[str], None],
) -> None:
    report = evaluation.per_slice[0]
    slices = tuple(SliceReport(name, name, 1, report.accuracy, report.macro_f1) for name in hostile_names)
    html = render(msgspec.structs.replace(_of_labels(evaluation, hostile_names), per_slice=slices))
    shown = read_page(html)
    assert "script" not in shown.tags
    for name in hostile_names:
        # bar, table, matrix, twice among the confusions or not at all, dimension and value of a slice
        assert shown.text.count(name) >= 5
    assert "7000021" not in shown.text
    assert "1 row (few)" in shown.text
    check_page(html)


@pytest.mark.parametrize("slices", [0, 1])
def test_one_label_and_at_most_one_slice_are_drawn(
    slices: int, evaluation: Evaluation, read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    one = _of_labels(evaluation, ("only",))
    html = render(msgspec.structs.replace(one, confusion=((9,),), per_slice=evaluation.per_slice[:slices]))
    shown = read_page(html)
    assert ("Macro-F1 by source" in shown.text) == bool(slices)
    assert "Most frequent confusions" not in shown.text
    check_page(html)


def test_a_label_without_rows_divides_by_nothing(evaluation: Evaluation, read_page: Callable[[str], Any]) -> None:
    confusion = ((0, 0), (1, 15))
    assert "negative 0 0" in read_page(section(msgspec.structs.replace(evaluation, confusion=confusion))).text


def test_fifty_labels_are_numbered_and_scroll_in_their_own_box(
    evaluation: Evaluation, read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    labels = tuple(f"a label of some length, number {number}" for number in range(1, 51))
    html = render(_of_labels(evaluation, labels))
    shown = read_page(html)
    for number, label in enumerate(labels, start=1):
        assert ("aria-label", label) in shown.attributes
        assert f"{number} {label} " in shown.text
    check_page(html)


def test_the_most_frequent_confusions_come_first(evaluation: Evaluation, read_page: Callable[[str], Any]) -> None:
    three = _of_labels(evaluation, ("joy", "love", "anger"))
    changed = msgspec.structs.replace(three, confusion=((5, 4, 1), (0, 10, 0), (2, 0, 8)))
    text = read_page(section(changed)).text
    _, _, listed = text.partition("Most frequent confusions ")
    assert listed.startswith(
        "joy → love 4 40.0 % of the label's rows anger → joy 2 20.0 % of the label's rows joy → anger 1 10.0 %"
    )
