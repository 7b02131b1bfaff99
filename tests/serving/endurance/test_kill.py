"""kill -9 under load: what a client was told is kept, is kept; the database opens; nothing is there twice."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Fixture = Callable[..., Any]

# The recorder writes its first events after 1.7 s; a kill before hits feedback alone.
_LONGEST_LIFE_S = 2.5
_SHORTEST_LIFE_S = 0.05
_ALL_BROKEN_S = 10


@dataclass
class Ledger:
    """What the client knows, outside of the process that is killed."""

    # Inference ids whose feedback nobody has given yet.
    answered: list[str] = field(default_factory=list)
    # Outcomes by inference id: sent, and of those acknowledged.
    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)


@pytest.fixture
def load(connect: Fixture) -> Fixture:
    """Run predictions and feedback on them against a server until it is gone; the ledger has what was said.

    `on_feedback` is called whenever feedback was sent, before its answer is awaited.
    """

    async def load(url: str, ledger: Ledger, on_feedback: Callable[[], None] = lambda: None) -> None:
        async with connect(url) as client:

            async def predict() -> None:
                while True:
                    answer = await client.post("/predict", {"text": "a good film"})
                    assert answer.status == 200, answer
                    ledger.answered.append(answer.json()["inferenceId"])

            async def give_feedback() -> None:
                while True:
                    if not ledger.answered:
                        await asyncio.sleep(0.001)
                        continue
                    inference_id, outcome = ledger.answered.pop(), f"outcome {len(ledger.sent)}"
                    ledger.sent[inference_id] = outcome
                    on_feedback()
                    answer = await client.post("/feedback", {"inferenceId": inference_id, "outcome": outcome})
                    if answer.status == 200:
                        ledger.acknowledged[inference_id] = outcome
                    else:
                        ledger.refused[answer.status] += 1
                        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1, answer
                        await asyncio.sleep(0.01)

            loops = [asyncio.ensure_future(predict()) for _ in range(2)]
            loops += [asyncio.ensure_future(give_feedback()) for _ in range(6)]
            try:
                # Each ends when its connection breaks, and then so do all the others.
                ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_EXCEPTION)
                await asyncio.wait(loops, timeout=0 if _unexpected(ended) else _ALL_BROKEN_S)
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
        for error in _unexpected(loops):
            raise error

    return load


@pytest.fixture
def check_kept(rows: Fixture, connect: Fixture) -> Fixture:
    """Hold the ledger against the database, by SQL and as the server tells it."""

    async def check_kept(server: Any, database: str, ledger: Ledger) -> None:
        kept = Counter(rows(database, "SELECT inference_id, outcome FROM feedback"))
        lost = [entry for entry in ledger.acknowledged.items() if not kept[entry]]
        assert lost == [], f"{len(lost)} of {len(ledger.acknowledged)} acknowledged"
        # What was sent and not acknowledged may be there or not; nothing else may, and nothing twice.
        assert set(kept) <= set(ledger.sent.items())
        assert set(kept.values()) <= {1}
        stored = {row[0] for row in rows(database, "SELECT id FROM inference_events")}
        told: dict[str, str] = {}
        async with connect(server.url) as client:
            cursor = ""
            while cursor is not None:
                answer = await client.get(f"/monitoring/events?limit=1000{cursor and f'&cursor={cursor}'}")
                assert answer.status == 200, answer
                page = answer.json()
                for event in page["events"]:
                    assert event["id"] not in told
                    told[event["id"]] = event["outcome"]
                cursor = page["nextCursor"]
        assert stored <= set(told)
        assert {id_: outcome for id_, outcome in told.items() if id_ in ledger.acknowledged} == {
            id_: outcome for id_, outcome in ledger.acknowledged.items() if id_ in told
        }

    return check_kept


def _moments(kills: int, seed: int) -> list[tuple[float, float]]:
    """How long each server lives, and how long after the next feedback was sent it is killed.

    Lives are spread evenly, so that some end within the first commit of events; the second figure spreads over what a
    feedback takes, from the request to its acknowledgement.
    """
    drawn = random.Random(seed)  # noqa: S311 - no secret
    step_s = (_LONGEST_LIFE_S - _SHORTEST_LIFE_S) / max(kills - 1, 1)
    lives_s = [_SHORTEST_LIFE_S + number * step_s for number in range(kills)]
    drawn.shuffle(lives_s)
    return [(life_s, drawn.uniform(0, 0.02)) for life_s in lives_s]


@pytest.mark.parametrize(
    ("database_url", "kills"),
    [
        ("sqlite", 2),
        pytest.param("sqlite", 50, marks=pytest.mark.slow),
        pytest.param("postgresql", 10, marks=pytest.mark.slow),
    ],
    indirect=["database_url"],
)
def test_acknowledged_feedback_is_there_after_every_kill(
    start: Fixture,
    load: Fixture,
    check_kept: Fixture,
    tiny_package: Callable[..., Path],
    database_url: str,
    tmp_path: Path,
    kills: int,
) -> None:
    package = tiny_package(tmp_path / "package")
    arguments = ("--package", package, "--home", tmp_path / "home", "--database", database_url)
    ledger = Ledger()

    async def live_and_die(server: Any, life_s: float, after_feedback_s: float) -> None:
        loop = asyncio.get_running_loop()
        is_due = False

        def on_feedback() -> None:
            nonlocal is_due
            if is_due:
                is_due = False
                loop.call_later(after_feedback_s, server.process.kill)

        def make_due() -> None:
            nonlocal is_due
            is_due = True

        loop.call_later(life_s, make_due)
        await load(server.url, ledger, on_feedback)
        server.process.wait()

    for number, (life_s, after_feedback_s) in enumerate(_moments(kills, seed=kills)):
        server = start(*arguments)
        if number:
            asyncio.run(check_kept(server, database_url, ledger))
        asyncio.run(live_and_die(server, life_s, after_feedback_s))
    server = start(*arguments)
    asyncio.run(check_kept(server, database_url, ledger))
    assert len(ledger.acknowledged) > kills
    assert server.end() == 0


@pytest.mark.slow
def test_events_that_a_killed_server_left_in_its_journal_reach_the_database(
    start: Fixture,
    connect: Fixture,
    rows: Fixture,
    until: Fixture,
    tiny_package: Callable[..., Path],
    tmp_path: Path,
) -> None:
    directory = tmp_path / "away"
    database = f"sqlite:///{directory / 'server.sqlite'}"
    arguments = ("--package", tiny_package(tmp_path / "package"), "--home", tmp_path / "home", "--database", database)
    server = start(*arguments)

    async def predict_without_a_database() -> set[str]:
        async with connect(server.url) as client:
            ids = {(await client.post("/predict", {"text": "good"})).json()["inferenceId"] for _ in range(30)}

            async def all_in_journal() -> bool:
                return bool((await client.get("/health/ml")).json()["eventsInJournal"] == len(ids))

            await until(all_in_journal)
            return ids

    ids = asyncio.run(predict_without_a_database())
    server.kill()
    directory.mkdir()
    server = start(*arguments)

    async def adopted() -> bool:
        return {row[0] for row in _rows_or_none(rows, database)} == ids

    asyncio.run(until(adopted))
    assert server.end() == 0
    assert list((tmp_path / "home" / "journal").iterdir()) == []


@pytest.mark.slow
def test_a_killed_postgresql_refuses_feedback_and_gets_its_events_later(
    start: Fixture,
    load: Fixture,
    check_kept: Fixture,
    rows: Fixture,
    connect: Fixture,
    until: Fixture,
    tiny_package: Callable[..., Path],
    postgres_server: Any,
    postgres_database_url: str,
    tmp_path: Path,
) -> None:
    package = tiny_package(tmp_path / "package")
    server = start("--package", package, "--home", tmp_path / "home", "--database", postgres_database_url)
    ledger = Ledger()

    def stored() -> set[str]:
        return {row[0] for row in rows(postgres_database_url, "SELECT id FROM inference_events")}

    async def lose_the_database() -> tuple[set[str], int]:
        """Give the answers whose events the disk had before the database was killed, and when it was gone."""
        loading = asyncio.ensure_future(load(server.url, ledger))

        async def at_work() -> bool:
            assert not loading.done(), loading
            return len(ledger.acknowledged) > 100

        async def refusing() -> bool:
            assert not loading.done(), loading
            return ledger.refused[503] > 20

        await until(at_work)
        early = set(ledger.sent) | set(ledger.answered)

        async def early_ones_are_written() -> bool:
            assert not loading.done(), loading
            return early <= await asyncio.to_thread(stored)

        await until(early_ones_are_written)
        # Commits of events wait for no disk; now all that were made are on it.
        # https://www.postgresql.org/docs/current/wal-async-commit.html
        await asyncio.to_thread(postgres_server.execute, "CHECKPOINT")
        await asyncio.to_thread(postgres_server.stop)
        gone_ns = time.time_ns()
        try:
            await until(refusing)
            async with connect(server.url) as client:

                async def in_journal() -> bool:
                    health = (await client.get("/health/ml")).json()
                    return bool(health["eventsInJournal"] and health["database"] == "away")

                await until(in_journal)
        finally:
            # In this thread: the database ends with the thread that started it.
            postgres_server.start()
        before = len(ledger.acknowledged)

        async def back() -> bool:
            return len(ledger.acknowledged) > before

        await until(back)
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        async with connect(server.url) as client:

            async def all_written() -> bool:
                health = (await client.get("/health/ml")).json()
                assert health["eventsDropped"] == 0
                return bool(health["eventsInJournal"] == health["eventsWaiting"] == 0)

            await until(all_written)
        await check_kept(server, postgres_database_url, ledger)
        return early, gone_ns

    early, gone_ns = asyncio.run(lose_the_database())
    # Every answer has its event, those given while the database was gone included. Only what was committed after the
    # last look at the disk may be missing.
    missing = (set(ledger.sent) | set(ledger.answered)) - stored()
    assert not missing & early
    assert all(int(lost[:16], 16) < gone_ns for lost in missing)


def _unexpected(loops: Iterable["asyncio.Future[None]"]) -> list[BaseException]:
    """Give what the loops that have ended raised, other than that the server is gone."""
    errors = [loop.exception() for loop in loops if loop.done() and not loop.cancelled()]
    return [error for error in errors if error is not None and not isinstance(error, OSError)]


def _rows_or_none(rows: Fixture, database: str) -> list[tuple[Any, ...]]:
    """Give the events' ids; none before the server has made its tables."""
    import sqlite3

    try:
        return list(rows(database, "SELECT id FROM inference_events"))
    except sqlite3.OperationalError:
        return []
