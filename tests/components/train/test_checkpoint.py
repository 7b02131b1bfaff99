from pathlib import Path

import pytest

from tunelane_components.train.checkpoint import one_line, read_card
from tunelane_serving.errors import ContractError


def test_a_directory_without_a_card_is_no_checkpoint_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"tunelane\.json"):
        read_card(tmp_path)


def test_an_errors_text_is_put_on_one_bearable_line() -> None:
    assert one_line(ValueError("first\n  second")) == "first second"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("word " * 1000))) <= 240
