import hashlib
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl.record import text_digest
from tunelane_components.etl.split import bounds_of_splits, check_fractions, rows_order, split_of, split_of_digest
from tunelane_serving.errors import InputError

FRACTIONS = st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45))
TEXTS = st.lists(st.text(max_size=30), max_size=30)
DIGESTS = st.sets(st.integers(0, 10_000).map(lambda number: text_digest(f"text {number}")), max_size=60)


def keep_rows(digests: Iterable[str], rows: int) -> set[str]:
    return set(sorted(digests, key=lambda digest: rows_order(bytes.fromhex(digest)))[:rows])


def splits_of(texts: list[str], fractions: tuple[float, float]) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = {"train": set(), "valid": set(), "test": set()}
    for text in texts:
        splits[split_of(text, *fractions)].add(text_digest(text))
    return splits


@pytest.mark.parametrize(
    ("text", "split"),
    # Their places in [0, 1) by hashlib alone: 0.0252, 0.935 and 0.4683.
    [("ticket 4", "test"), ("ticket 6", "valid"), ("ticket 1", "train")],
)
def test_a_text_stands_where_its_digest_puts_it_for_ever(text: str, split: str) -> None:
    assert split_of(text, 0.1, 0.1) == split


@given(TEXTS, FRACTIONS)
def test_no_text_stands_in_two_splits(texts: list[str], fractions: tuple[float, float]) -> None:
    splits = splits_of(texts, fractions)
    assert sum(map(len, splits.values())) == len({text_digest(text) for text in texts})


@given(TEXTS, TEXTS, FRACTIONS)
def test_adding_rows_moves_none(texts: list[str], more: list[str], fractions: tuple[float, float]) -> None:
    before, after = splits_of(texts, fractions), splits_of(more + texts, fractions)
    assert all(before[split] <= after[split] for split in before)


@given(st.text(max_size=30), FRACTIONS)
def test_spellings_of_the_same_normalised_text_share_a_split(text: str, fractions: tuple[float, float]) -> None:
    assert split_of(f"  {text}\n", *fractions) == split_of(text, *fractions)


@given(st.text(max_size=30), st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_a_larger_valid_fraction_takes_from_train_alone(text: str, test: float, one: float, other: float) -> None:
    smaller, larger = split_of(text, min(one, other), test), split_of(text, max(one, other), test)
    assert larger == smaller or (smaller, larger) == ("train", "valid")


@pytest.mark.parametrize("prefix", ["ticket", "Bewertung", "1"])
@pytest.mark.parametrize(("valid_fraction", "test_fraction"), [(0.1, 0.1), (0.05, 0.2), (0.3, 0.3)])
def test_fractions_hold_within_a_point_at_10_000_rows(prefix: str, valid_fraction: float, test_fraction: float) -> None:
    counts = Counter(split_of(f"{prefix} {number}", valid_fraction, test_fraction) for number in range(10_000))
    assert counts["valid"] / 10_000 == pytest.approx(valid_fraction, abs=0.01)
    assert counts["test"] / 10_000 == pytest.approx(test_fraction, abs=0.01)


@given(DIGESTS, st.integers(0, 70), st.integers(0, 70))
def test_a_smaller_cut_is_part_of_a_larger_one(digests: set[str], one: int, other: int) -> None:
    smaller, larger = keep_rows(digests, min(one, other)), keep_rows(digests, max(one, other))
    assert smaller <= larger <= digests
    assert len(larger) == min(max(one, other), len(digests))


@given(DIGESTS, DIGESTS, st.integers(0, 70))
def test_new_rows_enter_a_cut_and_bring_back_none_that_was_cut(old: set[str], new: set[str], rows: int) -> None:
    assert keep_rows(old | new, rows) & old <= keep_rows(old, rows)


def test_a_cut_shrinks_every_split_alike() -> None:
    kept = keep_rows((hashlib.sha256(str(number).encode()).hexdigest() for number in range(10_000)), 2_000)
    low = sum(int(digest[:16], 16) / 2**64 < 0.1 for digest in kept)
    assert low / 2_000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("valid_fraction", "test_fraction"), [(0, 0.1), (0.1, 0), (0.5, 0.5), (-0.1, 0.3), (float("nan"), 0.1)]
)
def test_fractions_that_leave_a_split_empty_are_refused(valid_fraction: float, test_fraction: float) -> None:
    with pytest.raises(InputError, match="both above 0"):
        check_fractions(valid_fraction, test_fraction)


@given(st.integers(0, 2**256 - 1), FRACTIONS)
def test_where_test_rows_were_given_no_other_becomes_one(number: int, fractions: tuple[float, float]) -> None:
    digest = number.to_bytes(32)
    test_below, valid_from = bounds_of_splits(*fractions, is_test_given=True)
    assert not digest < test_below
    assert (digest >= valid_from) == (split_of_digest(digest.hex(), *fractions) == "valid")


@given(FRACTIONS)
def test_the_bounds_are_the_fractions(fractions: tuple[float, float]) -> None:
    valid_fraction, test_fraction = fractions
    test_below, valid_from = (int.from_bytes(bound) / 2**64 for bound in bounds_of_splits(*fractions))
    assert test_below == pytest.approx(test_fraction, abs=1e-12)
    assert 1 - valid_from == pytest.approx(valid_fraction, abs=1e-12)
