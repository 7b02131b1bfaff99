"""Names of schedules, ours and those that others gave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.scheduling.names import check_name, free_name
from tunelane_serving.errors import InputError


@given(st.text(max_size=60), st.integers(0, 12))
def test_whatever_others_call_a_schedule_its_name_here_can_be_one_and_is_free(wanted: str, namesakes: int) -> None:
    taken: set[str] = set()
    for _ in range(namesakes + 1):
        name = free_name(wanted, taken)
        assert check_name(name) == name
        assert name not in taken
        taken.add(name)


@given(st.from_regex(r"[a-z]([a-z0-9]{0,40}[a-z0-9])?", fullmatch=True))
def test_a_name_that_can_be_one_stays(name: str) -> None:
    assert free_name(check_name(name), set()) == name


@pytest.mark.parametrize("name", ["", "Nightly", "../up", "a-", "1a", "a" * 43, "a\n"])
def test_a_name_that_would_be_no_label_or_directory_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="Cannot use --name"):
        check_name(name)
