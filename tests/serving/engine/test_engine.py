"""The engine puts queue, models and kept answers together."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunelane_serving.engine.answer_cache import AnswerCache
from tunelane_serving.engine.engine import InferenceEngine
from tunelane_serving.engine.model_cache import ModelCache
from tunelane_serving.engine.scheduler import Scheduler
from tunelane_serving.models.loading import load_classifier
from tunelane_serving.package import package_digest


@pytest.fixture
def engine(scheduler: Callable[..., Scheduler]):
    return lambda answers=None: InferenceEngine(scheduler(2), ModelCache(), answers)


def test_without_a_cache_every_text_is_run(engine, scripted_model) -> None:
    model, one = scripted_model(), engine()

    async def ask() -> list[Any]:
        return [await one.answer(model, "good", timeout_s=30) for _ in range(2)]

    assert [kept for _, kept in asyncio.run(ask())] == [False, False]
    assert model.runs == [["good"], ["good"]]


def test_a_text_that_comes_again_is_answered_from_the_cache_and_the_answer_says_so(engine, scripted_model) -> None:
    model, other, one = scripted_model("a"), scripted_model("b"), engine(AnswerCache(1 << 20))

    async def ask() -> list[Any]:
        return [
            await one.answer(asked, text, timeout_s=30)
            for asked, text in ((model, "good"), (model, "good"), (other, "good"), (model, "bad"))
        ]

    answers = asyncio.run(ask())
    assert [kept for _, kept in answers] == [False, True, False, False]
    assert answers[0][0] is answers[1][0]
    assert (model.runs, other.runs) == ([["good"], ["bad"]], [["good"]])
    assert (one.answers.hits, one.answers.misses) == (1, 3)


def test_features_and_failures_are_never_kept(engine, scripted_model) -> None:
    model, one = scripted_model(), engine(AnswerCache(1 << 20))

    async def ask() -> None:
        for _ in range(2):
            assert (await one.answer(model, {"text": "good"}, timeout_s=30))[1] is False
            with pytest.raises(RuntimeError, match="cannot run"):
                await one.answer(model, "faulty", timeout_s=30)

    asyncio.run(ask())
    assert model.runs == [["good"], ["faulty"]] * 2
    assert len(one.answers) == 0


def test_a_packaged_model_is_loaded_once_and_answers_as_it_does_alone(
    engine, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = tiny_package(tmp_path / "reviews")
    digest, one = package_digest(package), engine()

    async def ask() -> tuple[Any, Any]:
        model = await one.load(digest, lambda: load_classifier(package, digest))
        again = await one.load(digest, lambda: pytest.fail("loaded again"))
        assert model is again
        return model, await one.answer(model, "a good film", timeout_s=30)

    model, (answer, kept) = asyncio.run(ask())
    assert not kept
    assert answer.labels == ("positive",)
    assert np.array_equal(answer.scores, model.scores("a good film"))
    assert one.close()
