from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.train.checkpoint import CheckpointCard, Epoch
from tunelane_components.train.report import render, section
from tunelane_serving.contract import read
from tunelane_serving.package import BaseModel
from tunelane_serving.taxonomy import Label, Taxonomy

_GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def card() -> CheckpointCard:
    return read(_GOLDEN / "card_v1_losses.json", CheckpointCard)


def test_it_shows_curve_best_epoch_base_model_and_options(
    card: CheckpointCard, read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    shown = read_page(section(card))
    drawn = [value for name, value in shown.attributes if name == "aria-label"]
    assert "Training loss over 250 steps: from 0.690 to 0.200." in drawn
    assert "Validation macro-F1 by epoch; the best is 0.876 at epoch 2." in drawn
    for said in ("3,995", "114 s", "all-MiniLM-L6-v2 licence apache-2.0", "Batch size 32", "2 0.261 0.876 113.6 best"):
        assert said in shown.text
    assert shown.tags.count("circle") == 1
    check_page(render(card))


def test_a_card_without_losses_still_shows_its_epochs(read_page: Callable[[str], Any]) -> None:
    shown = read_page(section(read(_GOLDEN / "card_v1.json", CheckpointCard)))
    assert shown.tags.count("svg") == 1
    assert "2 0.261 0.876 113.6 best" in shown.text


def test_the_first_of_equally_good_epochs_is_the_best(card: CheckpointCard, read_page: Callable[[str], Any]) -> None:
    history = tuple(Epoch(number, 0.5, 0.9, 10.0 * number) for number in (1, 2, 3))
    assert "epoch 1 of 3, the best" in read_page(section(msgspec.structs.replace(card, history=history))).text


def test_a_model_trained_elsewhere_has_no_curve(
    read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    html = render(CheckpointCard(Taxonomy((Label("a"), Label("b"))), BaseModel("model"), max_length_tokens=64))
    shown = read_page(html)
    assert "trained elsewhere: there is no learning curve" in shown.text
    assert "svg" not in shown.tags
    check_page(html)


def test_one_epoch_and_hostile_names_are_drawn(
    card: CheckpointCard,
    hostile_names: tuple[str, ...],
    read_page: Callable[[str], Any],
    check_page: Callable[[str], None],
) -> None:
    changed = msgspec.structs.replace(
        card,
        history=card.history[:1],
        losses=card.losses[:1],
        base_model=BaseModel(hostile_names[0], hostile_names[2]),
        options={"target_modules": hostile_names[2]},
    )
    html = render(changed)
    assert "script" not in read_page(html).tags
    check_page(html)
