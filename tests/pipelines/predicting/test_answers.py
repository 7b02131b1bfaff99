"""Answers keep the order of the texts, however many threads give them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tunelane_pipelines.predicting.answers import answer_all
from tunelane_pipelines.predicting.source import Source
from tunelane_pipelines.predicting.texts import Item
from tunelane_serving.models.loading import load_classifier


def test_threads_answer_in_order_what_one_would(tiny_package: Callable[..., Path], tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    classifier, source = load_classifier(package, None), Source(package, "tickets")
    items = [Item(f"{'good ' * (number % 5)}film", number) for number in range(1, 200)]
    alone = list(answer_all(classifier, source, items, workers=1))
    assert [answer.line for answer in alone] == list(range(1, 200))
    assert list(answer_all(classifier, source, items, workers=4)) == alone


def test_one_worker_takes_no_text_before_its_answer_is_asked_for(
    tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = tiny_package(tmp_path / "package")
    taken = []

    def coming() -> Iterator[Item]:
        for number in range(3):
            taken.append(number)
            yield Item("good", number)

    answers = answer_all(load_classifier(package, None), Source(package, "tickets"), coming(), workers=1)
    next(answers)
    assert taken == [0]
