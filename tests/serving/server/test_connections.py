"""A client that keeps the server waiting is given up; one that is only slow is not."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tunelane_serving.server import connections
from tunelane_serving.server.connections import BoundedConfig, BoundedServer

_PATIENCE_S = 2.0
_ANSWER = b"x" * (16 << 20)


async def _application(scope: Any, receive: Any, send: Any) -> None:
    del scope
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": _ANSWER})


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture
def address(server: BoundedServer, listener: socket.socket) -> tuple[str, int]:
    del server
    found: tuple[str, int] = listener.getsockname()
    return found


@pytest.fixture
def server(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[BoundedServer]:
    """A server that is patient for 2 s, at work."""
    monkeypatch.setattr(connections, "_PATIENCE_S", _PATIENCE_S)
    config = BoundedConfig(
        _application,
        max_connections=10,
        on_refused=lambda: None,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=60,
    )
    server = BoundedServer(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield server
    server.should_exit = True
    thread.join(20)


def _connect(address: tuple[str, int]) -> socket.socket:
    # A small buffer, so that most of an answer waits at the server.
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    asking.settimeout(20)
    asking.connect(address)
    return asking


def _until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_slow_reader_gets_the_whole_answer(address: tuple[str, int]) -> None:
    received = 0
    with _connect(address) as reading:
        reading.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        began_s = time.monotonic()
        while part := reading.recv(1 << 20):
            received += len(part)
            time.sleep(0.05)
    assert received > len(_ANSWER)
    assert time.monotonic() - began_s > 2 * _PATIENCE_S


def test_a_reader_that_stops_is_given_up(server: BoundedServer, address: tuple[str, int]) -> None:
    with _connect(address) as reading:
        reading.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        # Until the answer is written, most of it to memory, and until the reader is given up.
        _until(lambda: server.server_state.total_requests == 1)
        _until(lambda: not server.server_state.connections)
        received = 0
        with suppress(ConnectionResetError):
            while part := reading.recv(1 << 20):
                received += len(part)
    assert received < len(_ANSWER)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfive5"])
def test_a_client_that_stops_sending_is_given_up(address: tuple[str, int], sent: bytes) -> None:
    # Before the server can have begun to wait, however busy the machine is.
    began_s = time.monotonic()
    with _connect(address) as sending:
        sending.sendall(sent)
        with suppress(ConnectionResetError):
            assert sending.recv(1) == b""
        assert time.monotonic() - began_s >= _PATIENCE_S
