"""Rows, a dataset directory and the tiny package, as evaluation meets them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_components.etl.record import Record
from tunelane_serving.contract import write, write_lines
from tunelane_serving.taxonomy import Label, Taxonomy

LABELS = ("negative", "positive")


@pytest.fixture
def make_dataset() -> Callable[..., Path]:
    """Give a factory of dataset directories: 40 training rows and the given (text, label, source) test rows."""

    def make(directory: Path, test: list[tuple[str, str, str]], labels: tuple[str, ...] = LABELS) -> Path:
        directory.mkdir()
        train = [("good film", "positive", "web"), ("bad film", "negative", "web")] * 20
        for split, rows in (("train", train), ("valid", train[:2]), ("test", test)):
            records = [
                Record(f"{split}-{number}", text, (label,), meta={"source": source})
                for number, (text, label, source) in enumerate(rows)
            ]
            write_lines(directory / f"{split}.jsonl", records)
        write(directory / "taxonomy.json", Taxonomy(tuple(Label(name) for name in labels)))
        return directory

    return make


@pytest.fixture
def dataset(tmp_path: Path, make_dataset: Callable[..., Path]) -> Path:
    """Give a dataset of two sources; the one review that nobody can guess has words that speak for neither label."""
    test = [("a great film", "positive", "web"), ("awful film", "negative", "web")] * 10
    test += [("i love it", "positive", "phone"), ("i hate it", "negative", "phone")] * 5
    return make_dataset(tmp_path / "dataset", [*test, ("so and so", "positive", "phone")])
