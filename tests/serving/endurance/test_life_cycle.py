"""The end under load, without the database, and among clients that stand still: in time, and nothing lost."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

Fixture = Callable[..., Any]

_END_S = 8.0
_STANDING_STILL = 200
_BEGINNINGS = (b"", b"POST /predict HT", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "package")


@pytest.fixture
def stand_still() -> Iterator[Callable[[str, int], None]]:
    """Open connections that send nothing, or half a request's head, or half its body, and then nothing more."""
    with ExitStack() as opened:

        def stand_still(url: str, connections: int) -> None:
            address = (urlsplit(url).hostname, urlsplit(url).port)
            for number in range(connections):
                client = opened.enter_context(socket.create_connection(address))
                client.sendall(_BEGINNINGS[number % len(_BEGINNINGS)])

        yield stand_still


@pytest.mark.parametrize("times", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_after_sigterm_every_request_that_was_taken_has_its_answer_and_its_event(
    start: Fixture, connect: Fixture, rows: Fixture, package: Path, tmp_path: Path, times: int
) -> None:
    database = f"sqlite:///{tmp_path / 'home' / 'server.sqlite'}"
    answered: set[str] = set()

    async def ask_until_the_end(server: Any, signalled_after_s: float) -> None:
        signalled = False
        async with connect(server.url) as client:

            async def ask() -> None:
                nonlocal signalled
                while True:
                    try:
                        answer = await client.post("/predict", {"text": "a good film"})
                    except OSError as error:
                        # Never in the middle of an answer. Where it broke before, the request was not taken: below,
                        # there is no event of it.
                        assert not getattr(error, "began", False)
                        return
                    assert answer.status == 200, answer
                    answered.add(answer.json()["inferenceId"])
                    if not signalled:
                        signalled = True
                        send = server.process.send_signal
                        asyncio.get_running_loop().call_later(signalled_after_s, send, signal.SIGTERM)

            await asyncio.gather(*[ask() for _ in range(16)])

    for number in range(times):
        server = start("--package", package, "--home", tmp_path / "home")
        before = len(answered)
        asyncio.run(ask_until_the_end(server, 1 + number / 4))
        assert len(answered) > before
        assert server.process.wait(_END_S) == 0
        assert {row[0] for row in rows(database, "SELECT id FROM inference_events")} == answered
        assert "Traceback" not in server.log.read_text()


def test_sigterm_without_the_database_leaves_the_events_to_the_next_start(
    start: Fixture, connect: Fixture, rows: Fixture, until: Fixture, package: Path, tmp_path: Path
) -> None:
    path = tmp_path / "home" / "server.sqlite"
    server = start("--package", package, "--home", tmp_path / "home")
    asyncio.run(_predict(connect, server, 5))

    async def is_written() -> bool:
        return len(rows(f"sqlite:///{path}", "SELECT id FROM inference_events")) == 5

    asyncio.run(_until_tables(until, path, is_written))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ids = asyncio.run(_predict(connect, server, 20))
        began_s = time.monotonic()
        assert server.end(_END_S) == 0
        assert time.monotonic() - began_s < _END_S
        other.execute("ROLLBACK")
    assert "Traceback" not in server.log.read_text()
    assert list((tmp_path / "home" / "journal").iterdir())
    server = start("--package", package, "--home", tmp_path / "home")

    async def is_replayed() -> bool:
        return ids <= {row[0] for row in rows(f"sqlite:///{path}", "SELECT id FROM inference_events")}

    asyncio.run(until(is_replayed))
    assert rows(f"sqlite:///{path}", "SELECT count(*) FROM inference_events") == [(25,)]
    assert server.end() == 0


@pytest.mark.slow
def test_a_database_that_stands_still_does_not_hold_the_end_up(
    start: Fixture, connect: Fixture, rows: Fixture, until: Fixture, package: Path, postgres_database_url: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    # Named, so that a connection of this test's own that is just ending is not taken for one of the server's.
    named = f"{postgres_database_url}&application_name=served"
    server = start("--package", package, "--home", tmp_path / "home", "--database", named)
    said = {"inferenceId": "a", "outcome": "b"}
    asyncio.run(_feedback(connect, server, said))
    ids = asyncio.run(_predict(connect, server, 5))

    async def is_written() -> bool:
        return len(rows(postgres_database_url, "SELECT id FROM inference_events")) == 5

    asyncio.run(until(is_written))
    backends = _backends(rows, postgres_database_url)
    assert backends
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        ids |= asyncio.run(_predict(connect, server, 20))
        # Feedback that waits for the database does not hold the end up either, and is told that it is not kept.
        with socket.create_connection(
            (urlsplit(server.url).hostname, urlsplit(server.url).port), timeout=30
        ) as waiting:
            body = json.dumps(said).encode()
            waiting.sendall(b"POST /feedback HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            # What came later has its answer: by now the server has taken this one, too.
            ids |= asyncio.run(_predict(connect, server, 2))
            assert server.end(_END_S) == 0
            assert waiting.recv(1000).startswith(b"HTTP/1.1 503 ")
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)
    server = start("--package", package, "--home", tmp_path / "home", "--database", postgres_database_url)

    async def is_replayed() -> bool:
        return ids == {row[0] for row in rows(postgres_database_url, "SELECT id FROM inference_events")}

    asyncio.run(until(is_replayed))


def test_clients_that_stand_still_keep_neither_others_from_their_answers_nor_the_end_from_coming(
    start: Fixture, connect: Fixture, stand_still: Callable[[str, int], None], package: Path, tmp_path: Path
) -> None:
    server = start("--package", package, "--home", tmp_path / "home")
    stand_still(server.url, _STANDING_STILL)
    assert len(asyncio.run(_predict(connect, server, 50))) == 50
    began_s = time.monotonic()
    assert server.end(_END_S) == 0
    assert time.monotonic() - began_s < _END_S
    assert "Traceback" not in server.log.read_text()


def test_past_the_limit_connections_are_told_to_come_later_and_those_that_have_one_are_served(
    start: Fixture, connect: Fixture, until: Fixture, stand_still: Callable[[str, int], None], package: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    server = start("--package", package, "--home", tmp_path / "home", "--max-connections", 4)

    async def crowd() -> None:
        async with connect(server.url) as first, connect(server.url) as late:
            assert (await first.post("/predict", {"text": "good"})).status == 200
            stand_still(server.url, 3)
            answer = await late.post("/predict", {"text": "good"})
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"]["code"] == "overloaded"
            assert (await first.post("/predict", {"text": "good"})).status == 200
            assert b"tunelane_refused_connections_total 1.0" in (await first.get("/metrics")).body
        async with connect(server.url) as later:

            async def is_served() -> bool:
                return bool((await later.post("/predict", {"text": "good"})).status == 200)

            await until(is_served)

    asyncio.run(crowd())


def test_what_is_no_http_is_refused_in_the_shape_of_every_error(start: Fixture, package: Path, tmp_path: Path) -> None:
    server = start("--package", package, "--home", tmp_path / "home")
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), timeout=10) as client:
        client.sendall(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        said = client.recv(1000)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":{"code":"malformed_request"' in said


@pytest.mark.slow
def test_clients_that_stand_still_are_given_up_and_make_room(
    start: Fixture, connect: Fixture, until: Fixture, stand_still: Callable[[str, int], None], package: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    server = start("--package", package, "--home", tmp_path / "home", "--max-connections", _STANDING_STILL)
    stand_still(server.url, _STANDING_STILL)

    async def wait_for_room() -> None:
        async with connect(server.url) as client:
            assert (await client.post("/predict", {"text": "good"})).status == 503

            async def is_served() -> bool:
                return bool((await client.post("/predict", {"text": "good"})).status == 200)

            await until(is_served)

    asyncio.run(wait_for_room())
    assert server.end() == 0


def test_a_head_without_end_is_refused(start: Fixture, package: Path, tmp_path: Path) -> None:
    head = b"GET /health HTTP/1.1\r\n"
    server = start("--package", package, "--home", tmp_path / "home")
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), timeout=10) as client:
        with pytest.raises(OSError):  # a broken pipe or a reset, as the moment has it
            for _ in range(200):
                client.sendall(head)
                head = b"X: %s\r\n" % (b"x" * 1000) * 500
        assert server.resident_bytes() < 500 << 20
    assert server.end() == 0


async def _predict(connect: Fixture, server: Any, times: int) -> set[str]:
    async with connect(server.url) as client:
        answers = [await client.post("/predict", {"text": "a good film"}) for _ in range(times)]
    assert {answer.status for answer in answers} == {200}
    return {answer.json()["inferenceId"] for answer in answers}


async def _feedback(connect: Fixture, server: Any, said: dict[str, str]) -> int:
    async with connect(server.url) as client:
        answer = await client.post("/feedback", said)
    return int(answer.status)


async def _until_tables(until: Fixture, path: Path, condition: Callable[[], Any]) -> None:
    """Wait for the condition, and before that for the server to have made its tables."""

    async def holds() -> bool:
        try:
            return bool(await condition())
        except sqlite3.OperationalError:
            return False

    await until(holds)


def _backends(rows: Fixture, url: str) -> list[int]:
    """Give the PostgreSQL processes that work for the server."""
    found = rows(url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'served'")
    return [pid for (pid,) in found]
