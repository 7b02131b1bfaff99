import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import ClassVar

import pytest

from benchmarks.serving.load import Measured, Plan, encode, response_end, run

BODIES = [json.dumps({"text": text}) for text in ("one", "två", "three")]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[bytes]] = []
    numbers: ClassVar[Iterator[int]] = count(1)
    delay_s = 0.0
    status = 200
    breaks_every = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(body)
        time.sleep(self.delay_s)
        if self.breaks_every and next(self.numbers) % self.breaks_every == 0:
            self.close_connection = True
            return
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client ended first
            super().handle()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def handler() -> type[_Handler]:
    return type("Handler", (_Handler,), {"seen": [], "numbers": count(1)})


@pytest.fixture
def port(handler: type[_Handler]) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _plan(port: int, **kind: float) -> Plan:
    return Plan(port, "/predict", BODIES, 0.3, os.getsid(0), warm_up_s=0.05, drain_s=2.0, **kind)  # type: ignore[arg-type]


def test_a_request_says_its_length_in_bytes() -> None:
    head, _, body = encode("/predict", BODIES[1]).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: now\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ndate: now\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n",
    ],
)
def test_a_response_ends_where_it_says_and_not_before(response: bytes) -> None:
    assert response_end(response) == len(response)
    assert all(response_end(response[:size]) == 0 for size in range(len(response)))


def test_a_closed_loop_keeps_each_client_at_one_request(port: int, handler: type[_Handler]) -> None:
    handler.delay_s = 0.02
    measured = run(_plan(port, clients=4))
    assert measured.failed == 0
    assert measured.connections == 4
    assert 4 <= measured.answered <= 4 * 0.3 / 0.02 + 4
    assert min(measured.latencies_ms) >= 20
    assert set(handler.seen) <= {body.encode() for body in BODIES}


def test_an_open_loop_sends_all_that_was_scheduled_and_counts_from_the_schedule(
    port: int, handler: type[_Handler]
) -> None:
    handler.delay_s = 0.03
    measured = run(_plan(port, rate_per_s=100, max_connections=1))
    # One connection answers 33 a second, so that what arrives at 100 a second waits ever longer for it.
    assert measured.failed == 0
    assert measured.connections == 1
    assert measured.latencies_ms[-1] > 300
    assert measured.answered == len(measured.latencies_ms) > 15


def test_more_connections_are_opened_when_all_wait(port: int, handler: type[_Handler]) -> None:
    handler.delay_s = 0.2
    measured = run(_plan(port, rate_per_s=100))
    assert measured.failed == 0
    assert measured.connections > 8


@pytest.mark.parametrize("kind", [{"clients": 2}, {"rate_per_s": 100}])
def test_a_refusal_is_counted_by_its_status_and_has_no_latency(
    port: int, handler: type[_Handler], kind: dict[str, float]
) -> None:
    handler.status = 503
    measured = run(_plan(port, **kind))
    assert measured.answered == 0
    assert measured.failed == measured.statuses["503"] > 0
    assert measured.latencies_ms == []


@pytest.mark.parametrize("kind", [{"clients": 2}, {"rate_per_s": 100}])
def test_a_broken_connection_is_counted_and_the_load_goes_on(
    port: int, handler: type[_Handler], kind: dict[str, float]
) -> None:
    handler.breaks_every = 5
    measured = run(_plan(port, **kind))
    assert measured.statuses["closed"] >= 1
    assert measured.answered > measured.statuses["closed"]


def test_what_is_never_answered_is_counted(port: int, handler: type[_Handler]) -> None:
    handler.delay_s = 1.5
    plan = Plan(port, "/predict", BODIES, 0.2, os.getsid(0), rate_per_s=50, warm_up_s=0.0, drain_s=0.1)
    measured = run(plan)
    assert measured.statuses == {"unanswered": measured.failed}
    assert measured.failed > 0


def test_a_plan_is_either_closed_or_open() -> None:
    with pytest.raises(ValueError, match="either"):
        run(_plan(1, clients=1, rate_per_s=1.0))


def test_good_answers_are_those_with_status_200() -> None:
    measured = Measured(1.0, {"200": 3, "503": 2, "closed": 1}, [1.0] * 3, 0.0, 0.0, 0.0, 1)
    assert (measured.answered, measured.failed) == (3, 3)
