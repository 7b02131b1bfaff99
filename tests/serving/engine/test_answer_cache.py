"""The answers used last stay, and their bytes stay below the bound."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tunelane_serving.engine.answer_cache import AnswerCache
from tunelane_serving.models.model import Classification, Embedding, Outputs

MAX_BYTES = 6000


def _classification(labels: int = 3) -> Classification:
    return Classification(("first",), np.arange(labels, dtype=np.float32))


def test_a_kept_answer_comes_back_for_its_package_and_text_alone() -> None:
    cache, answer = AnswerCache(1 << 20), _classification()
    cache.put("a", "good", answer)
    assert cache.get("a", "good") is answer
    assert cache.get("a", "Good") is None
    assert cache.get("b", "good") is None
    assert (cache.hits, cache.misses, len(cache)) == (1, 2, 1)


@pytest.mark.parametrize(
    "answer",
    [
        _classification(100_000),
        Embedding(np.zeros(100_000, np.float32)),
        # None of a text's.
        Outputs({"a": np.zeros(1, np.float32)}),
        # A row of a batch keeps the whole batch in memory.
        Embedding(np.zeros((100_000, 2), np.float32)[0]),
    ],
)
def test_outputs_and_an_answer_larger_than_the_whole_are_not_kept_and_drop_nothing(answer: Any) -> None:
    cache = AnswerCache(300_000)
    cache.put("a", "small", _classification())
    before = cache.size_bytes
    cache.put("a", "large", answer)
    cache.put("a", "long" * 100_000, _classification())
    assert (len(cache), cache.size_bytes) == (1, before)
    assert cache.get("a", "small") is not None


def test_nobody_can_change_a_kept_answer() -> None:
    cache = AnswerCache(1 << 20)
    cache.put("a", "good", _classification())
    answer = cache.get("a", "good")
    assert isinstance(answer, Classification)
    with pytest.raises(ValueError, match="read-only"):
        answer.scores[0] = 1.0


@pytest.mark.parametrize("text", ["word ", "wört ", "слово ", "\N{SNOWMAN WITHOUT SNOW}\N{GRINNING FACE}"])
def test_the_counted_bytes_are_about_those_of_the_memory(text: str) -> None:
    cache = AnswerCache(1 << 30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            cache.put("a", text * 10 + str(number), _classification(28))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8 < cache.size_bytes / (after - before) < 1.25


class AnswerCacheMachine(RuleBasedStateMachine):
    """The cache beside a list of the keys in order of use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = AnswerCache(MAX_BYTES)
        self.used: list[tuple[str, str]] = []
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked = 0

    @rule(digest=st.sampled_from("ab"), text=st.sampled_from(["x", "y", "zz", "long " * 40]), labels=st.integers(1, 99))
    def put(self, digest: str, text: str, labels: int) -> None:
        answer = _classification(labels)
        self.cache.put(digest, text, answer)
        key = (digest, text)
        self.answers[key] = answer
        self.used = [used for used in self.used if used != key] + [key]
        # Those used longest ago are gone, and no others.
        self.used = self.used[len(self.used) - len(self.cache) :]
        assert key in self.used

    @rule(digest=st.sampled_from("ab"), text=st.sampled_from(["x", "y", "zz", "long " * 40]))
    def get(self, digest: str, text: str) -> None:
        key = (digest, text)
        self.asked += 1
        found = self.cache.get(digest, text)
        if key in self.used:
            assert found is self.answers[key]
            self.used = [used for used in self.used if used != key] + [key]
        else:
            assert found is None

    @invariant()
    def bounds_hold_and_sums_are_true(self) -> None:
        assert 0 <= self.cache.size_bytes <= MAX_BYTES
        fresh = AnswerCache(MAX_BYTES)
        for digest, text in self.used:
            fresh.put(digest, text, self.answers[digest, text])
        assert (len(fresh), fresh.size_bytes) == (len(self.cache), self.cache.size_bytes)
        assert self.cache.hits + self.cache.misses == self.asked


TestAnswerCacheMachine = AnswerCacheMachine.TestCase
