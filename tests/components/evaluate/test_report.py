from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from tunelane_components.evaluate.evaluation import Evaluation, SliceReport, evaluate
from tunelane_components.evaluate.report import render


class Page(HTMLParser):
    """Reads a page: visible text, and tags that are opened and not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open, self.seen, self.attributes = "", [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


@pytest.fixture
def evaluation(dataset: Path, tmp_path: Path, tiny_package: Callable[..., Path]) -> Evaluation:
    champion = tiny_package(tmp_path / "champion", bias=(0.0, 50.0))
    return evaluate(dataset, tiny_package(tmp_path / "package"), champion, tmp_path / "predictions")


def test_the_page_shows_headline_labels_slices_and_confusion(evaluation: Evaluation):
    page = Page(render(evaluation))
    assert page.open == []
    for shown in ("Macro-F1", f"{evaluation.macro_f1.value:.3f}", "negative", "positive", "source: phone", "11 (few)"):
        assert shown in page.text
    assert "Against the champion" in page.text
    assert f"{100 * evaluation.floor.delta.value:+.1f} points" in page.text


def test_names_from_the_data_cannot_become_markup(evaluation: Evaluation):
    evil = '<script src="https://x.example/a.js">&'
    report = evaluation.per_slice[0]
    changed = msgspec.structs.replace(
        evaluation,
        labels=(evil, "positive"),
        per_label=(msgspec.structs.replace(evaluation.per_label[0], label=evil), evaluation.per_label[1]),
        per_slice=(SliceReport(evil, evil, report.rows, report.accuracy, report.macro_f1),),
    )
    page = Page(render(changed))
    assert "script" not in page.seen
    assert page.text.count(evil) == 5  # label table, confusion head and row, the slice's dimension and value


def test_nothing_is_loaded_from_elsewhere(evaluation: Evaluation):
    page = Page(render(evaluation))
    assert not {"script", "link", "img", "iframe"} & set(page.seen)
    assert not {"src", "href"} & set(page.attributes)
    assert "http" not in render(evaluation).replace("http-equiv", "")
