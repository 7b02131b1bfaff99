"""What the endurance tests share: servers as processes that may be killed, and a client that can load them."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from tunelane_serving.deployment import ActiveRevision, revision_path, write_active
from tunelane_serving.package import package_digest
from tunelane_serving.packing import pack_tensors

_START_TIMEOUT_S = 60
_ANSWER_TIMEOUT_S = 30
# Opened before an open loop begins, as a balancer holds them: what opening costs is not what is measured.
_FIRST_CONNECTIONS = 400
_LISTENING = "listening on http://"


class Answer(NamedTuple):
    """A whole answer; `seconds` run from the call, waiting for a connection included."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Broken(ConnectionError):
    """The connection ended before the answer was whole. `began` says whether a part of the answer had come."""

    def __init__(self, message: str, *, began: bool = False) -> None:
        super().__init__(message)
        self.began = began


class _Connection(asyncio.Protocol):
    """One request at a time over HTTP/1.1; the server's answers all say their length."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_open = False
        self._received = b""
        self._sent_s = 0.0
        self._on_end: Callable[[Answer | Broken], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._end(Broken(str(error or "closed"), began=bool(self._received)))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(body) >= int(headers["content-length"]):
            self._received = b""
            if headers.get("connection") == "close":
                self.is_open = False
            self._end(Answer(int(status.split()[1]), headers, body, time.perf_counter() - self._sent_s))

    def send(self, request: bytes, on_end: "Callable[[Answer | Broken], None]") -> None:
        """Send a request; `on_end` is called once, with the whole answer or what came in its way."""
        assert self.transport is not None
        self._on_end, self._sent_s = on_end, time.perf_counter()
        self.transport.write(request)

    def _end(self, outcome: "Answer | Broken") -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(outcome)


class LoadClient:
    """Asks over kept connections, as many as there are requests under way; `async with` closes them."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self._host, self._port = str(urlsplit(url).hostname), urlsplit(url).port
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "tests", **(headers or {})}.items())
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def __aenter__(self) -> "LoadClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._all:
            assert connection.transport is not None
            connection.transport.abort()

    async def get(self, path: str) -> Answer:
        return await self._ask(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())

    async def post(self, path: str, body: object, content_type: str = "application/json") -> Answer:
        return await self._ask(self.encode(path, body, content_type))

    def encode(self, path: str, body: object, content_type: str = "application/json") -> bytes:
        """Give the bytes of a POST."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Type: {content_type}\r\nContent-Length: {len(content)}"
        return f"{head}\r\n\r\n".encode() + content

    async def _ask(self, request: bytes) -> Answer:
        """Send one request, never twice.

        Raises:
            Broken: the connection ended before the answer was whole.
            OSError: there is no connection to be had.
        """
        ended: asyncio.Future[Answer | Broken] = asyncio.get_running_loop().create_future()
        connection = self._idle_one() or await self._open()
        self._send(connection, request, lambda outcome: ended.done() or ended.set_result(outcome))
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            outcome = await ended
        if isinstance(outcome, Broken):
            raise outcome
        return outcome

    async def offer(
        self, request: bytes, *, rate_per_s: float, seconds: float, on_end: "Callable[[Answer | Broken], None]"
    ) -> float:
        """Send `request` at even times whatever comes back, and wait for what is under way.

        It costs 0.05 ms a request, so that one process can overload a server beside it. Each `Answer.seconds` runs from
        when the request was sent. Gives how many seconds it took to send them: more than `seconds` where this process
        cannot keep up.
        """
        for _ in range(_FIRST_CONNECTIONS):
            self._idle.append(await self._open())
        all_ended = asyncio.Event()
        total, ended, sent = int(rate_per_s * seconds), 0, 0
        began_s = time.perf_counter()

        def end(outcome: Answer | Broken) -> None:
            nonlocal ended
            on_end(outcome)
            ended += 1
            if ended == total:
                all_ended.set()

        while sent < total:
            due = min(total, int((time.perf_counter() - began_s) * rate_per_s) + 1)
            # A few at a time, so that answers are read between them.
            for _ in range(min(due - sent, 20)):
                self._send(self._idle_one() or await self._open(), request, end)
                sent += 1
            await asyncio.sleep(max(0.0, began_s + sent / rate_per_s - time.perf_counter()))
        sent_in_s = time.perf_counter() - began_s
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            await all_ended.wait()
        return sent_in_s

    @property
    def connections(self) -> int:
        """How many were opened."""
        return len(self._all)

    def _send(self, connection: _Connection, request: bytes, on_end: "Callable[[Answer | Broken], None]") -> None:
        def end(outcome: Answer | Broken) -> None:
            if connection.is_open:
                self._idle.append(connection)
            on_end(outcome)

        connection.send(request, end)

    def _idle_one(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _open(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        self._all.add(connection)
        return connection


class Server:
    """A running `tunelane-serve`. What it writes goes to `log`, never to a pipe that nobody reads."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tunelane_serving.server", *arguments, "--port", "0"],
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                # A session of its own is a scheduling group of its own on Linux: a busy server does not starve the
                # client that measures it.
                start_new_session=True,
            )
        self.url = self._wait_until_it_listens()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def end(self, timeout_s: float = 8) -> int:
        """Ask it to stop; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _wait_until_it_listens(self) -> str:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline_s:
            for line in self.log.read_text().splitlines(keepends=True):
                if line.startswith(_LISTENING) and line.endswith("\n"):
                    return line.removeprefix("listening on ").strip()
            time.sleep(0.01)
        raise AssertionError(f"the server does not listen: {self.log.read_text()}")


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start `tunelane-serve` with the given arguments on a free port and wait until it listens."""
    directory = tmp_path_factory.mktemp("servers")
    started: list[Server] = []

    def start(*arguments: str | Path | float) -> Server:
        server = Server(list(map(str, arguments)), directory / f"{len(started)}.log")
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def connect() -> Callable[..., LoadClient]:
    """Make load clients for the address of a server."""
    return LoadClient


@pytest.fixture
def deploy() -> Callable[..., str]:
    """Put a package into a local deployment and make it active; `digest` names the revision, the package's by default.

    Gives the digest.
    """

    def deploy(deployment: Path, package: Path, model_version: str, digest: str | None = None) -> str:
        digest = digest or package_digest(package)
        if not revision_path(deployment, digest).exists():
            shutil.copytree(package, revision_path(deployment, digest))
        write_active(deployment, ActiveRevision("sentiment", model_version, digest))
        return digest

    return deploy


@pytest.fixture
def until() -> Callable[..., Any]:
    """Await until an async condition holds."""

    async def until(condition: Callable[[], Any], *, timeout_s: float = 60, what: str = "the condition") -> None:
        deadline_s = time.monotonic() + timeout_s
        while not await condition():
            assert time.monotonic() < deadline_s, f"{what} did not come about within {timeout_s} s"
            await asyncio.sleep(0.02)

    return until


@pytest.fixture
def beside() -> Callable[..., Any]:
    """Run coroutines beside a block and stop them after it; what goes wrong in one of them fails the block at its end.

    `async with beside(lambda: work(), …, times=2):` runs each twice.
    """

    @contextlib.asynccontextmanager
    async def beside(*makers: Callable[[], Any], times: int = 1) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(make()) for make in makers for _ in range(times)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    return beside


@pytest.fixture
def rows() -> Callable[..., list[tuple[Any, ...]]]:
    """Read rows of a database by SQL, past the server; a SQLite file must first prove whole."""

    def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
        if url.startswith("sqlite:///"):
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                return connection.execute(statement).fetchall()
        import psycopg

        with psycopg.connect(url) as connection:
            return connection.execute(statement.encode()).fetchall()

    return rows


@pytest.fixture(scope="session")
def slow_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack a graph of a few milliseconds: `x` (batch, 1, 1) to `y` (batch, 1, 1). Its features: `{"x": [[0.5]]}`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    directory = tmp_path_factory.mktemp("slow")
    weights = np.random.default_rng(0).standard_normal((384, 384)).astype(np.float32) / 20
    nodes = [helper.make_node("Mul", ["x", "weights"], ["product0"])]
    nodes += [helper.make_node("MatMul", [f"product{n}", "weights"], [f"product{n + 1}"]) for n in range(12)]
    nodes += [helper.make_node("ReduceMean", ["product12", "axes"], ["y"], keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 1, 1))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 1, 1))],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, directory / "slow.onnx")
    pack_tensors(directory / "slow.onnx", directory / "package", features_for_golden=[{"x": [[0.5]]}])
    return directory / "package"
