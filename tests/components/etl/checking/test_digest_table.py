from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl.checking.digest_table import DigestTable


def repeats(values: list[str]) -> list[tuple[int, int]]:
    table = DigestTable()
    for value in values:
        table.add(value)
    assert len(table) == len(values)
    return list(table.repeats())


def test_each_later_occurrence_is_paired_with_the_first() -> None:
    assert repeats(["a", "b", "a", "c", "b", "a"]) == [(0, 2), (1, 4), (0, 5)]


def test_different_values_give_nothing() -> None:
    assert repeats([]) == []
    assert repeats(["a"]) == []
    assert repeats(["a", "b", "A", "a "]) == []


@given(st.lists(st.text(alphabet="ab", max_size=3)))
def test_it_finds_what_comparing_all_values_finds(values: list[str]) -> None:
    first = {value: values.index(value) for value in values}
    expected = [(first[value], place) for place, value in enumerate(values) if first[value] != place]
    assert repeats(values) == expected
