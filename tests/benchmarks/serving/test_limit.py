from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.limit import batches_of_equal_length


@given(st.lists(st.integers(1, 6), max_size=60), st.integers(1, 8))
def test_batches_hold_every_text_once_and_only_equal_lengths(lengths: list[int], max_batch: int) -> None:
    batches = batches_of_equal_length(lengths, max_batch)
    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))
    assert all(0 < len(batch) <= max_batch for batch in batches)
    assert all(len({lengths[position] for position in batch}) == 1 for batch in batches)


def test_batches_of_one_keep_the_order() -> None:
    assert batches_of_equal_length([3, 1, 3], 1) == [[0], [1], [2]]
