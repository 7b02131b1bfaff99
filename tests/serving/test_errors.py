from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.errors import first_line


@given(st.text(st.sampled_from(" \n\r\tab")))
def test_the_first_line_of_an_error_is_one_line_and_never_empty(said: str) -> None:
    found = first_line(ValueError(said))
    assert found == found.strip() != ""
    assert "\n" not in found
    assert found in said or (found == "ValueError" and not said.strip())
