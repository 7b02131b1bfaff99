from pathlib import Path

import msgspec
import pytest

from tunelane_components.train.checkpoint import CheckpointCard, Epoch, LossPoint, one_line, read_card
from tunelane_serving.contract import encode, read
from tunelane_serving.errors import ContractError


def test_a_directory_without_a_card_is_no_checkpoint_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"tunelane\.json"):
        read_card(tmp_path)


_GOLDEN = Path(__file__).parent / "golden"


def test_version_1_of_the_card_loads_for_ever() -> None:
    path = _GOLDEN / "card_v1_losses.json"
    card = read(path, CheckpointCard)
    assert card.losses[0] == LossPoint(13, 0.69)
    assert card.history[-1] == Epoch(2, 0.261, 0.876, 113.6, 250)
    assert msgspec.json.format(encode(card), indent=2) + b"\n" == path.read_bytes()


def test_a_card_from_before_the_losses_loads_without_them() -> None:
    before, now = (read(_GOLDEN / name, CheckpointCard) for name in ("card_v1.json", "card_v1_losses.json"))
    assert (before.losses, before.history[-1].step) == ((), 0)
    history = tuple(msgspec.structs.replace(epoch, step=0) for epoch in now.history)
    assert msgspec.structs.replace(now, history=history, losses=()) == before


def test_an_errors_text_is_put_on_one_bearable_line() -> None:
    assert one_line(ValueError("first\n  second")) == "first second"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("word " * 1000))) <= 240
