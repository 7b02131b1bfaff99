"""Every call ends once, in time and with the bits it has alone; workers outlive whatever a model does."""

import asyncio
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_serving.engine.scheduler import Scheduler
from tunelane_serving.errors import TunelaneError
from tunelane_serving.problems import FeaturesMismatch, InferenceTimeout, Overloaded

SchedulerFactory = Callable[..., Scheduler]


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def _held(scheduler: Scheduler, model: Any, *, times: int = 1) -> list[asyncio.Task]:
    """Keep `times` workers busy until `model.release` is set."""
    tasks = [asyncio.create_task(scheduler.run(model, f"held {n}", timeout_s=30)) for n in range(times)]
    await _until(lambda: len(model.runs) == times)
    return tasks


async def _queued(scheduler: Scheduler, model: Any, *texts: str, timeout_s: float = 30) -> list[asyncio.Task]:
    before = scheduler.waiting
    tasks = [asyncio.create_task(scheduler.run(model, text, timeout_s=timeout_s)) for text in texts]
    await _until(lambda: scheduler.waiting == before + len(texts))
    return tasks


@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=60), workers=st.integers(1, 3))
@settings(max_examples=25)
def test_an_answer_is_the_same_bits_whatever_else_is_in_flight(texts, workers, scripted_model, alone) -> None:
    texts = [f"text {text}" for text in texts]
    model, scheduler = scripted_model(), Scheduler(workers)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(scheduler.run(model, text, timeout_s=30) for text in texts))

    answers = asyncio.run(ask())
    assert [answer.scores.tobytes() for answer in answers] == [alone(text) for text in texts]
    assert {len(run) for run in model.runs} == {1}
    assert (scheduler.waiting, scheduler.close()) == (0, True)


def test_one_worker_takes_first_in_first_out(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(1)

    async def ask() -> None:
        held = await _held(one, model)
        queued = await _queued(one, model, "c", "a", "b")
        assert (one.waiting, one.running) == (3, 1)
        model.release.set()
        await asyncio.gather(*held, *queued)

    asyncio.run(ask())
    assert model.runs == [["held 0"], ["c"], ["a"], ["b"]]
    assert one.close()
    assert one.running == 0


@pytest.mark.parametrize("opted_in", [True, False])
def test_only_equal_lengths_of_the_same_model_join_a_batch(
    scheduler: SchedulerFactory, scripted_model, opted_in: bool
) -> None:
    model = scripted_model("a" * 64, batch_independent=not opted_in)
    other = scripted_model("b" * 64)
    batches: list[tuple[int, float, float]] = []
    one = scheduler(
        1, max_batch=3, batch_anyway=["a" * 64] if opted_in else [], on_batch=lambda *sizes: batches.append(sizes)
    )

    async def ask() -> None:
        held = await _held(one, other)
        queued = await _queued(one, model, "one", "two words", "uno", "en", "ein", "dos palabras")
        queued += await _queued(one, other, "solo")
        other.release.set()
        await asyncio.gather(*held, *queued)

    asyncio.run(ask())
    one.close()
    assert model.runs == [["one", "uno", "en"], ["two words", "dos palabras"], ["ein"]]
    assert other.runs == [["held 0"], ["solo"]]
    assert [size for size, _, _ in batches] == [1, 3, 2, 1, 1]
    assert all(queue_s >= 0 and run_s > 0 for _, queue_s, run_s in batches)
    # Those that stayed behind were not tokenised anew.
    assert sorted(model.prepared) == sorted(["one", "two words", "uno", "en", "ein", "dos palabras"])


def test_an_item_that_fails_in_a_batch_fails_alone(scheduler: SchedulerFactory, scripted_model, alone) -> None:
    model, one = scripted_model(batch_independent=True), scheduler(1)

    async def ask() -> list[Any]:
        held = await _held(one, model)
        queued = await _queued(one, model, "good one", "unreadable 1", "faulty 2", "good three", "unreadable 4")
        model.release.set()
        await asyncio.gather(*held)
        return await asyncio.gather(*queued, return_exceptions=True)

    first, unreadable, faulty, last, unreadable_too = asyncio.run(ask())
    assert [str(error) for error in (unreadable, faulty, unreadable_too)] == [
        "cannot read unreadable 1",
        "cannot run faulty 2",
        "cannot read unreadable 4",
    ]
    assert isinstance(unreadable, FeaturesMismatch)
    assert (first.scores.tobytes(), last.scores.tobytes()) == (alone("good one"), alone("good three"))
    assert ["good one", "faulty 2", "good three"] in model.runs


def test_an_item_that_another_worker_takes_meanwhile_is_run_once(scheduler: SchedulerFactory, scripted_model) -> None:
    model, holders, two = scripted_model(batch_independent=True), [scripted_model(), scripted_model()], scheduler(2)
    prepare, seen, go_on = model.prepare, threading.Event(), threading.Event()

    def prepare_slowly_at_first(item: str) -> Any:
        if item == "mate" and not seen.is_set():
            seen.set()
            assert go_on.wait(20)
        return prepare(item)

    model.prepare = prepare_slowly_at_first

    async def ask() -> None:
        held = [task for holder in holders for task in await _held(two, holder)]
        queued = await _queued(two, model, "first", "mate")
        # One worker tokenises the mate of its first item while the other comes free and runs that mate.
        holders[0].release.set()
        await _until(seen.is_set)
        holders[1].release.set()
        await queued[1]
        go_on.set()
        await asyncio.gather(*held, *queued)

    asyncio.run(ask())
    assert two.close()
    assert model.runs == [["mate"], ["first"]]
    assert two.running == 0


def test_a_steady_stream_of_mates_starves_nobody(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(batch_independent=True), scheduler(1, max_batch=2)

    async def ask() -> None:
        held = await _held(one, model)
        queued = await _queued(one, model, "a", "two words", *"bcdefgh")
        model.release.set()
        await asyncio.gather(*held, *queued)

    asyncio.run(ask())
    assert model.runs[1:3] == [["a", "b"], ["two words"]]


@pytest.mark.parametrize("text", ["panic", "stop"])
def test_what_a_loop_could_not_bear_comes_back_as_an_error_and_the_worker_goes_on(
    scheduler: SchedulerFactory, scripted_model, text: str, alone
) -> None:
    model, one = scripted_model(), scheduler(1)

    async def ask() -> Any:
        with pytest.raises(TunelaneError, match="the model's code failed"):
            await one.run(model, text, timeout_s=30)
        return await one.run(model, "good", timeout_s=30)

    assert asyncio.run(ask()).scores.tobytes() == alone("good")


def test_a_model_that_gives_too_few_answers_is_an_error(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(1)
    model.run = lambda _: []
    with pytest.raises(TunelaneError, match="the model gave 0 answers to 1 items"):
        asyncio.run(one.run(model, "good", timeout_s=30))


def test_a_callback_that_fails_costs_no_answer(scheduler: SchedulerFactory, scripted_model, caplog) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no metrics")

    model, one = scripted_model(), scheduler(1, on_batch=fail)

    async def ask() -> None:
        for _ in range(3):
            await one.run(model, "good", timeout_s=30)

    asyncio.run(ask())
    assert one.close()
    assert "a worker failed" in caplog.text


def test_a_full_queue_refuses_and_says_when_to_come_again(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(1, max_waiting=2)

    async def ask() -> None:
        await one.run(model, "first", timeout_s=30)
        model.runs.clear()
        held = await _held(one, model)
        queued = await _queued(one, model, "a", "b")
        with pytest.raises(Overloaded, match="2 items wait already") as refused:
            await one.run(model, "c", timeout_s=30)
        assert 0 < refused.value.retry_after_s == one.estimated_wait_s()
        model.release.set()
        await asyncio.gather(*held, *queued)
        await one.run(model, "c", timeout_s=30)

    asyncio.run(ask())


def test_what_cannot_be_answered_in_time_is_refused_at_once(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(1)

    async def ask() -> None:
        held = await _held(one, model)
        await asyncio.sleep(0.1)
        model.release.set()
        await asyncio.gather(*held)
        model.release.clear()
        model.runs.clear()
        # An item took at least 0.1 s, so the third of these would wait for more than that.
        held = await _held(one, model)
        queued = await _queued(one, model, "a")
        with pytest.raises(Overloaded, match=r"no answer within 0\.05 s is to be expected") as refused:
            await one.run(model, "b", timeout_s=0.05)
        assert refused.value.retry_after_s >= 0.1
        assert one.waiting == 1
        model.release.set()
        await asyncio.gather(*held, *queued)

    asyncio.run(ask())


def test_a_caller_is_answered_in_time_when_every_worker_is_stuck(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(1)

    async def ask() -> None:
        running = asyncio.create_task(one.run(model, "held", timeout_s=1))
        await _until(lambda: model.runs)
        waiting = asyncio.create_task(one.run(model, "waiting", timeout_s=0.05))
        for task, said in ((waiting, "no answer within 0.05 s"), (running, "no answer within 1 s")):
            with pytest.raises(InferenceTimeout, match=said):
                await asyncio.wait_for(task, 10)
        assert (one.waiting, one.running) == (0, 1)
        assert model.runs == [["held"]]
        # What the stuck worker gives at last is thrown away, and it goes on.
        model.release.set()
        await one.run(model, "next", timeout_s=30)

    asyncio.run(ask())
    assert model.runs == [["held"], ["next"]]


def test_no_time_at_all_is_a_timeout(scheduler: SchedulerFactory, scripted_model) -> None:
    with pytest.raises(InferenceTimeout):
        asyncio.run(scheduler(1).run(scripted_model(), "text", timeout_s=0))


def test_a_cancelled_call_leaves_the_queue_at_once_and_is_never_run(
    scheduler: SchedulerFactory, scripted_model
) -> None:
    model, one = scripted_model(), scheduler(1, max_waiting=2)

    async def ask() -> None:
        held = await _held(one, model)
        queued = await _queued(one, model, "gone", "stays")
        queued[0].cancel()
        await asyncio.wait(queued[:1])
        assert one.waiting == 1
        queued += await _queued(one, model, "comes")
        model.release.set()
        await asyncio.gather(*held, *queued[1:])

    asyncio.run(ask())
    assert model.runs == [["held 0"], ["stays"], ["comes"]]


def test_closing_finishes_what_runs_and_refuses_what_waits_and_comes(
    scheduler: SchedulerFactory, scripted_model
) -> None:
    model, one = scripted_model(), scheduler(1)

    async def ask() -> None:
        held = await _held(one, model)
        queued = await _queued(one, model, "a", "b")
        threading.Timer(0.05, model.release.set).start()
        assert one.close()
        assert one.waiting == 0
        assert (await held[0]).labels == ("label",)
        for task in queued:
            with pytest.raises(Overloaded, match="the server is stopping"):
                await task
        with pytest.raises(Overloaded, match="the server is stopping"):
            await one.run(model, "c", timeout_s=30)

    asyncio.run(ask())
    assert one.close()


def test_closing_does_not_wait_for_a_stuck_worker(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(2)

    async def ask() -> None:
        held = await _held(one, model)
        assert not one.close(timeout_s=0.05)
        model.release.set()
        await asyncio.gather(*held)

    asyncio.run(ask())
    assert one.close()


def test_loops_one_after_the_other_share_a_scheduler(scheduler: SchedulerFactory, scripted_model, alone) -> None:
    model, one = scripted_model(), scheduler(1)

    async def leave() -> None:
        await _held(one, model)
        # Ends with a job that runs and one that waits: asyncio.run cancels both.
        await _queued(one, model, "left behind")

    async def stuck() -> None:
        with pytest.raises(InferenceTimeout):
            await one.run(model, "stuck", timeout_s=0.02)

    asyncio.run(leave())
    asyncio.run(stuck())
    model.release.set()
    for _ in range(2):
        assert asyncio.run(one.run(model, "good", timeout_s=30)).scores.tobytes() == alone("good")
    assert (one.waiting, model.runs) == (0, [["held 0"], ["good"], ["good"]])


def test_a_loop_that_is_gone_without_a_word_harms_nobody(scheduler: SchedulerFactory, scripted_model) -> None:
    model, one = scripted_model(), scheduler(1)
    loop = asyncio.new_event_loop()
    task = loop.create_task(one.run(model, "held", timeout_s=30))
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    loop.close()
    model.release.set()
    asyncio.run(one.run(model, "good", timeout_s=30))
    task._log_destroy_pending = False


def test_an_idle_scheduler_keeps_no_model_in_memory(scheduler: SchedulerFactory, scripted_model) -> None:
    one = scheduler(2)

    async def ask() -> weakref.ref:
        model = scripted_model(batch_independent=True)
        await asyncio.gather(*(one.run(model, f"text {n}", timeout_s=30) for n in range(20)))
        await asyncio.gather(*(one.run(model, "faulty", timeout_s=30) for _ in range(4)), return_exceptions=True)
        return weakref.ref(model)

    kept = asyncio.run(ask())
    deadline_s = time.monotonic() + 10
    while kept() is not None and time.monotonic() < deadline_s:
        gc.collect()
        time.sleep(0.01)
    assert kept() is None


def _storm(make_model: Callable[..., Any], seed: int, calls: int) -> None:
    """Random calls, cancels, timeouts and failures on two workers; each call must end once, and all be quiet after."""
    rng = random.Random(seed)  # noqa: S311 - a storm, not a secret
    models = [make_model("a" * 64), make_model("b" * 64, batch_independent=True)]
    for model in models:
        _slow_down(model, random.Random(seed + 1))  # noqa: S311
    scheduler = Scheduler(2, max_waiting=rng.choice([3, 20, 200]))
    ends: list[str] = []
    most_waiting = 0

    async def call(number: int) -> None:
        nonlocal most_waiting
        kind = rng.choice(["text", "two words", "unreadable", "faulty", "panic", "stop"])
        timeout_s = rng.choice([0.0, 0.001, 0.01, 30, 30, 30])
        try:
            answer = await scheduler.run(rng.choice(models), f"{kind} {number}", timeout_s=timeout_s)
            ends.append("answer" if answer.labels == ("label",) else "nonsense")
        except (Overloaded, InferenceTimeout, FeaturesMismatch, TunelaneError, RuntimeError) as error:
            ends.append(type(error).__name__)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        finally:
            most_waiting = max(most_waiting, scheduler.waiting)

    async def run() -> None:
        tasks = []
        for number in range(calls):
            tasks.append(asyncio.create_task(call(number)))
            if rng.random() < 0.2:
                await asyncio.sleep(rng.choice([0, 0.0005]))
            if rng.random() < 0.2:
                # What has not begun would end without a word.
                await asyncio.sleep(0)
                rng.choice(tasks).cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks, return_exceptions=True)
        await _until(lambda: scheduler.running == 0)
        assert all(task.done() for task in tasks)
        # Both workers live, and answer.
        assert (await scheduler.run(models[0], "text", timeout_s=30)).labels == ("label",)
        assert sum(worker.is_alive() for worker in scheduler._workers) == 2

    asyncio.run(run())
    assert len(ends) == calls
    assert set(ends) <= {
        "answer",
        "cancelled",
        "Overloaded",
        "InferenceTimeout",
        "FeaturesMismatch",
        "TunelaneError",
        "RuntimeError",
    }
    assert most_waiting <= scheduler._max_waiting
    assert scheduler.close()
    assert (scheduler.waiting, scheduler.running) == (0, 0)
    assert all(len(run) == 1 for run in models[0].runs)
    assert all(len({len(text.split()) for text in run}) == 1 for run in models[1].runs)


def _slow_down(model: Any, rng: random.Random) -> None:
    run = model.run

    def slow(prepared: Any) -> Any:
        time.sleep(rng.choice([0, 0, 0.0002, 0.003]))
        return run(prepared)

    model.run = slow


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_every_call_ends_exactly_once(seed: int, scripted_model) -> None:
    _storm(scripted_model, seed, calls=80)


@pytest.mark.slow
def test_every_call_ends_exactly_once_in_a_long_storm(scripted_model) -> None:
    for seed in range(20):
        _storm(scripted_model, seed, calls=5000)


@pytest.mark.parametrize("argument", ["workers", "max_waiting", "max_batch"])
def test_sizes_below_one_are_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(**{"workers": 1, argument: 0})
