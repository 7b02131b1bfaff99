"""What a label may be."""

import pytest

from tunelane_pipelines.targets.labels import check_label
from tunelane_serving.errors import InputError


@pytest.mark.parametrize(("name", "value"), [("team", "care"), ("a", ""), ("a-b_c1", "0_-"), ("a" * 63, "b" * 63)])
def test_a_label_within_the_grammar_is_fine(name: str, value: str) -> None:
    check_label(name, value)


@pytest.mark.parametrize("name", ["", "Team", "1st", "_x", "téam", "a" * 64, "team\n"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="a letter first"):
        check_label(name, "x")


@pytest.mark.parametrize("value", ["Care", "a b", "é", "b" * 64, "x\n"])
def test_a_value_outside_the_grammar_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="its value is up to 63"):
        check_label("team", value)
