"""Models are loaded once, off the event loop, and the ones used last stay within the bounds."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_serving.engine.model_cache import ModelCache
from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.problems import NotReady


@pytest.fixture
def cache() -> Iterator[Callable[..., ModelCache]]:
    made: list[ModelCache] = []

    def make(**options: Any) -> ModelCache:
        made.append(ModelCache(**options))
        return made[-1]

    yield make
    for one in made:
        one.close(timeout_s=0)


class HeldLoad:
    """A load that ends when `release` is set."""

    def __init__(self, model: Any) -> None:
        self.began = threading.Event()
        self.release = threading.Event()
        self.times = 0
        self._model = model

    def __call__(self) -> Any:
        self.times += 1
        self.began.set()
        assert self.release.wait(20)
        return self._model


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def _digests(cache: ModelCache) -> list[str]:
    return [model.digest for model in cache.loaded()]


def test_many_callers_share_one_load_off_the_event_loop(cache, scripted_model) -> None:
    loads: list[tuple[str, float, bool]] = []
    model = scripted_model("a")
    load, models = HeldLoad(model), cache(on_load=lambda *load: loads.append(load))

    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(models.get("a", load)) for _ in range(50)]
        # The loop turns while the load is under way.
        await _until(load.began.is_set)
        assert not any(task.done() for task in tasks)
        load.release.set()
        return await asyncio.gather(*tasks)

    assert all(found is model for found in asyncio.run(ask()))
    assert (load.times, models.loaded()) == (1, [model])
    assert [(digest, seconds >= 0, ok) for digest, seconds, ok in loads] == [("a", True, True)]


def test_a_kept_model_is_not_loaded_again_even_in_another_loop(cache, scripted_model) -> None:
    models = cache()
    first = asyncio.run(models.get("a", lambda: scripted_model("a")))
    assert asyncio.run(models.get("a", lambda: pytest.fail("loaded again"))) is first


def test_a_failed_load_reaches_every_waiting_caller_and_is_not_remembered(cache, scripted_model) -> None:
    loads: list[tuple[str, bool]] = []
    models = cache(on_load=lambda digest, _, ok: loads.append((digest, ok)))

    asked = threading.Event()

    def fail() -> Any:
        assert asked.wait(20)
        raise ContractError("a: model.onnx is missing")

    async def ask() -> Any:
        waiting = [asyncio.create_task(models.get("a", fail)) for _ in range(3)]
        await asyncio.sleep(0)
        asked.set()
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(failure) for failure in failures] == ["a: model.onnx is missing"] * 3
        assert models.loaded() == []
        return await models.get("a", lambda: scripted_model("a"))

    assert asyncio.run(ask()).digest == "a"
    assert loads == [("a", False), ("a", True)]


def test_a_load_that_panics_is_an_error_and_the_next_one_goes_on(cache, scripted_model) -> None:
    models = cache()

    def leave() -> Any:
        raise SystemExit(1)

    async def ask() -> None:
        for _ in range(4):
            with pytest.raises(TunelaneError, match="SystemExit"):
                await models.get("a", leave)
        await models.get("b", lambda: scripted_model("b"))

    asyncio.run(ask())
    assert _digests(models) == ["b"]


def test_a_callback_that_fails_costs_no_load(cache, scripted_model, caplog) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no metrics")

    assert asyncio.run(cache(on_load=fail).get("a", lambda: scripted_model("a"))).digest == "a"
    assert "counting a load failed" in caplog.text


def test_a_cancelled_caller_cancels_the_load_for_nobody(cache, scripted_model) -> None:
    model = scripted_model("a")
    load, models = HeldLoad(model), cache()

    async def ask() -> None:
        patient, impatient = (asyncio.create_task(models.get("a", load)) for _ in range(2))
        await _until(load.began.is_set)
        impatient.cancel()
        await asyncio.wait([impatient])
        assert impatient.cancelled()
        load.release.set()
        assert await patient is model

    asyncio.run(ask())
    assert load.times == 1


def test_a_load_whose_callers_have_all_gone_is_kept_all_the_same(cache, scripted_model) -> None:
    load, models = HeldLoad(scripted_model("a")), cache()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(models.get("a", load), 0.02)

    asyncio.run(leave())
    load.release.set()
    assert asyncio.run(models.get("a", lambda: pytest.fail("loaded again"))).digest == "a"


def test_a_slow_load_does_not_hold_up_another_model(cache, scripted_model) -> None:
    load, models = HeldLoad(scripted_model("slow")), cache()

    async def ask() -> None:
        slow = asyncio.create_task(models.get("slow", load))
        await _until(load.began.is_set)
        assert (await models.get("quick", lambda: scripted_model("quick"))).digest == "quick"
        load.release.set()
        await slow

    asyncio.run(ask())


def test_a_model_larger_than_the_bound_is_served_but_alone(cache, scripted_model) -> None:
    models = cache(max_bytes=100)

    async def ask() -> None:
        await models.get("small", lambda: scripted_model("small", size_bytes=60))
        await models.get("huge", lambda: scripted_model("huge", size_bytes=101))
        assert _digests(models) == ["huge"]
        await models.get("small", lambda: scripted_model("small", size_bytes=60))
        assert _digests(models) == ["small"]

    asyncio.run(ask())


def test_an_evicted_model_stays_with_those_who_have_it_and_with_nobody_else(cache, scripted_model) -> None:
    models = cache()

    async def ask() -> weakref.ref:
        model = await models.get("a", lambda: scripted_model("a"))
        models.evict("a")
        models.evict("never there")
        assert models.loaded() == []
        assert model.digest == "a"
        return weakref.ref(model)

    kept = asyncio.run(ask())
    # The thread that loaded it may take a moment to let go.
    end_s = time.monotonic() + 20
    while kept() is not None and time.monotonic() < end_s:
        gc.collect()
        time.sleep(0.01)
    assert kept() is None


def test_closing_refuses_waiting_and_later_loads_and_does_not_wait_for_a_stuck_one(cache, scripted_model) -> None:
    models = cache()
    stuck = [HeldLoad(scripted_model(digest)) for digest in "ab"]

    async def ask() -> None:
        tasks = [asyncio.create_task(models.get(digest, load)) for digest, load in zip("ab", stuck, strict=True)]
        await _until(lambda: all(load.began.is_set() for load in stuck))
        waiting = asyncio.create_task(models.get("c", lambda: scripted_model("c")))
        await asyncio.sleep(0)
        assert not models.close(timeout_s=0.02)
        for refused in (waiting, models.get("d", lambda: scripted_model("d"))):
            with pytest.raises(NotReady, match="the server is stopping"):
                await refused
        for load in stuck:
            load.release.set()
        await asyncio.gather(*tasks)
        # What is there is still given.
        await models.get("a", lambda: pytest.fail("loaded again"))

    asyncio.run(ask())
    assert models.close()


def test_at_least_one_model_is_kept() -> None:
    with pytest.raises(ValueError, match="max_models: at least 1"):
        ModelCache(max_models=0)


@given(
    max_models=st.integers(1, 4),
    max_bytes=st.integers(0, 30),
    steps=st.lists(st.tuples(st.sampled_from(["get", "get", "get", "evict"]), st.integers(0, 6)), max_size=30),
)
@settings(max_examples=40)
def test_the_models_used_last_stay_and_the_bounds_hold(scripted_model, max_models, max_bytes, steps) -> None:
    size_bytes = [1, 2, 5, 8, 13, 21, 34]
    models = ModelCache(max_models=max_models, max_bytes=max_bytes)
    expected: list[int] = []

    async def run() -> None:
        for what, number in steps:
            if what == "evict":
                models.evict(str(number))
                if number in expected:
                    expected.remove(number)
                assert _digests(models) == [str(kept) for kept in expected]
                continue
            loaded: list[int] = []

            def load(number: int = number, loaded: list[int] = loaded) -> Any:
                loaded.append(number)
                return scripted_model(str(number), size_bytes=size_bytes[number])

            model = await models.get(str(number), load)
            assert model.digest == str(number)
            assert loaded == ([] if number in expected else [number])
            if number in expected:
                expected.remove(number)
            expected.append(number)
            while len(expected) > 1 and (
                len(expected) > max_models or sum(size_bytes[kept] for kept in expected) > max_bytes
            ):
                expected.pop(0)
            assert _digests(models) == [str(kept) for kept in expected]

    asyncio.run(run())
    assert models.close()
