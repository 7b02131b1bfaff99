"""A prediction answered by its connection is answered, counted and recorded as by the application."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from tunelane_serving.models.model import Outputs
from tunelane_serving.server.app import create_app
from tunelane_serving.server.connections import BoundedConfig, BoundedServer
from tunelane_serving.server.direct import DirectPredictions
from tunelane_serving.server.services import Services

Make = Callable[..., TestClient]
# What differs from one request to the next.
_OWN = re.compile(r'"(inferenceId|latencyMs)":("[0-9a-f]+"|[0-9.]+)')
_GOOD = b'{"text":"good"}'
_BODIES = {
    "a text": _GOOD,
    "the serving model by name": b'{"text":"awful","modelId":"reviews","userId":"u"}',
    "a text as a feature": b'{"features":{"text":"good"}}',
    "another model": b'{"text":"good","modelId":"other"}',
    "a version alone": b'{"text":"good","version":"1"}',
    "an empty text": b'{"text":" "}',
    "half a character": b'{"text":"\\ud800"}',
    "a text and features": b'{"text":"good","features":{}}',
    "nothing": b"{}",
    "no body": b"",
    "no JSON": b"{",
    "an unknown field": b'{"text":"good","top":1}',
    "stored features": b'{"entityId":"e"}',
    "a long text": json.dumps({"text": "good " * 1900}).encode(),
    "more than is read at once": json.dumps({"text": "good", "features": {"x": "y" * 90_000}}).encode(),
    "more than is taken": json.dumps({"text": "g" * 3_000_000}).encode(),
}


@pytest.fixture(scope="module")
def reviews(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve the application of `services` on a port, with or without direct predictions; gives its address."""
    servers: list[tuple[BoundedServer, threading.Thread]] = []

    def serve(services: Services, *, directly: bool = True, finish_s: int = 5) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        config = BoundedConfig(
            create_app(services),
            max_connections=10,
            on_refused=lambda: None,
            direct=DirectPredictions(services) if directly else None,
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=finish_s,
        )
        server = BoundedServer(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True
        for _, thread in servers:
            thread.join(20)

    serve.stop = stop
    yield serve
    stop()


@pytest.fixture
def held(make_client: Make, reviews: Path) -> Iterator[tuple[Services, threading.Event]]:
    """Give services of one worker, whose model waits for the event."""
    opened = threading.Event()
    services = make_client("--package", reviews, "--workers", "1").services
    served = services.source.current
    model = object.__new__(type(served.model))
    model.__dict__.update(served.model.__dict__)

    def run(prepared: Any) -> Any:
        assert opened.wait(60)
        return type(model).run(model, prepared)

    model.run = run

    class Source:
        current = replace(served, model=model)

    services.catalog._source = Source()
    yield services, opened
    opened.set()


def _until(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def _connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def _asked(url: str, body: bytes) -> socket.socket:
    asking = _connected(url)
    asking.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return asking


def _read_all(asking: socket.socket) -> bytes:
    with asking:
        return b"".join(iter(lambda: asking.recv(65536), b""))


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_both_ways_give_the_same_answer(make_client: Make, serve: Any, reviews: Path, body: bytes) -> None:
    answers = []
    for directly in (True, False):
        services = make_client("--package", reviews).services
        url = serve(services, directly=directly)
        headers = {"x-request-id": "mine", "content-type": "application/json"}
        response = httpx.post(f"{url}/predict", content=body, headers=headers, timeout=20)
        counted = {key: count for key, count in _folded(services).items() if count}
        kept = {name: value for name, value in response.headers.items() if name not in ("date", "content-length")}
        answers.append((response.status_code, kept, _OWN.sub("", response.text), counted))
    assert answers[0] == answers[1]


def _folded(services: Services) -> dict[tuple[str, int], int]:
    # The answer may be there a moment before it is counted.
    _until(lambda: services.metrics.fold() or services.metrics.requests)
    return dict(services.metrics.requests)


def test_direct_predictions_do_not_pass_through_the_application(
    make_client: Make, serve: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    begin = DirectPredictions.begin
    monkeypatch.setattr(DirectPredictions, "begin", lambda *args: begun.append(begin(*args)) or begun[-1])
    url = serve(make_client("--package", reviews).services)
    assert httpx.post(f"{url}/predict", content=_GOOD).json()["label"] == "positive"
    assert httpx.post(f"{url}/predict", content=b"{}").status_code == 422
    assert [prediction is not None for prediction in begun] == [True, False]


def test_keys_are_asked_for(make_client: Make, serve: Any, reviews: Path, api_keys: Path) -> None:
    url = serve(make_client("--package", reviews, "--api-keys", api_keys).services)
    assert httpx.post(f"{url}/predict", content=_GOOD).headers["www-authenticate"] == "Bearer"
    assert httpx.post(f"{url}/predict", content=_GOOD, headers={"x-api-key": "other"}).status_code == 401
    assert httpx.post(f"{url}/predict", content=_GOOD, headers={"x-api-key": "secret"}).status_code == 200


@pytest.mark.parametrize("body", [_GOOD, _BODIES["more than is read at once"]], ids=["small", "large"])
def test_a_body_may_come_in_pieces(make_client: Make, serve: Any, reviews: Path, body: bytes) -> None:
    url = serve(make_client("--package", reviews).services)
    with _connected(url) as pieces:
        pieces.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 20_000):
            piece = body[start : start + 20_000]
            pieces.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(0.02)
        pieces.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: pieces.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200" if body is _GOOD else b"HTTP/1.1 422")


def test_who_waits_to_be_told_to_continue_is(make_client: Make, serve: Any, reviews: Path) -> None:
    url = serve(make_client("--package", reviews).services)
    with _connected(url) as waiting:
        waiting.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n")
        assert waiting.recv(65536).startswith(b"HTTP/1.1 100")
        waiting.sendall(_GOOD)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200")


def test_requests_sent_at_once_are_answered_in_order(make_client: Make, serve: Any, reviews: Path) -> None:
    url = serve(make_client("--package", reviews).services)
    words = ["good", "awful", " ", "good"]
    bodies = [json.dumps({"text": word}).encode() for word in words]
    requests = [b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies]
    requests.append(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    with _connected(url) as asking:
        asking.sendall(b"".join(requests))
        answers = _read_all(asking).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"422", b"200", b"200"]
    labels = [json.loads(answer.partition(b"\r\n\r\n")[2])["label"] for answer in answers[:2]]
    assert labels == ["positive", "negative"]


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_connection_that_is_to_end_ends(make_client: Make, serve: Any, reviews: Path, version: str) -> None:
    url = serve(make_client("--package", reviews).services)
    with _connected(url) as asking:
        close = "Connection: close\r\n" if version == "HTTP/1.1" else ""
        asking.sendall(f"POST /predict {version}\r\nHost: x\r\n{close}Content-Length: 15\r\n\r\n".encode() + _GOOD)
        head, _, body = _read_all(asking).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert json.loads(body)["label"] == "positive"


def test_the_work_of_a_client_that_went_away_is_dropped(serve: Any, held: Any) -> None:
    services, opened = held
    url = serve(services)
    first, second = _asked(url, _GOOD), _asked(url, _GOOD)
    scheduler = services.engine.scheduler
    _until(lambda: (scheduler.running, scheduler.waiting) == (1, 1))
    second.close()
    _until(lambda: scheduler.waiting == 0)
    opened.set()
    assert first.recv(65536).startswith(b"HTTP/1.1 200")
    first.close()
    _until(lambda: services.metrics.fold() or len(services.metrics.requests) == 2)
    assert dict(services.metrics.requests) == {("/predict", 200): 1, ("/predict", 400): 1}


def test_a_client_that_goes_away_while_sending_is_counted(make_client: Make, serve: Any, reviews: Path) -> None:
    services = make_client("--package", reviews).services
    with _connected(serve(services)) as asking:
        asking.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{"te')
        time.sleep(0.1)
    assert _folded(services) == {("/predict", 400): 1}


def test_what_takes_too_long_at_the_end_is_a_503(serve: Any, held: Any) -> None:
    services, _ = held
    url = serve(services, finish_s=1)
    asking = _asked(url, _GOOD)
    _until(lambda: services.engine.scheduler.running == 1)
    serve.stop()
    answer = _read_all(asking)
    assert (answer[:12], b"server is stopping" in answer) == (b"HTTP/1.1 503", True)


def test_a_model_that_fails_is_a_500_and_says_nothing_of_why(
    make_client: Make, serve: Any, reviews: Path, caplog: pytest.LogCaptureFixture
) -> None:
    services = make_client("--package", reviews).services
    model = services.source.current.model

    def run(_: Any) -> Any:
        raise ValueError("secret inside")

    model.run = run
    response = httpx.post(f"{serve(services)}/predict", content=_GOOD)
    assert (response.status_code, "secret" in response.text) == (500, False)
    assert "secret inside" in caplog.text


@pytest.mark.parametrize("directly", [True, False])
def test_an_answer_that_json_has_no_word_for_is_a_500_and_nobody_waits_for_ever(
    make_client: Make, serve: Any, reviews: Path, directly: bool, caplog: pytest.LogCaptureFixture
) -> None:
    services = make_client("--package", reviews).services
    services.source.current.model.run = lambda _: [Outputs({"numbers": np.array([1j])})]
    response = httpx.post(f"{serve(services, directly=directly)}/predict", content=_GOOD, timeout=20)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "complex" not in response.text
    # The log may say so a moment after the answer.
    _until(lambda: "objects of type complex" in caplog.text)
    assert _folded(services) == {("/predict", 500): 1}


@pytest.mark.parametrize("directly", [True, False])
def test_who_would_go_over_to_http_2_is_answered_all_the_same(
    make_client: Make, serve: Any, reviews: Path, directly: bool
) -> None:
    url = serve(make_client("--package", reviews).services, directly=directly)
    # As Java's HttpClient asks at first: https://www.rfc-editor.org/rfc/rfc7540#section-3.2
    upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAAB"}
    with httpx.Client(base_url=url, headers=upgrade, timeout=20) as client:
        for _ in range(2):
            assert client.get("/health").status_code == 200
            assert client.post("/predict", content=_GOOD).json()["label"] == "positive"
        # In a body it is text like any other.
        text = "\r\nUpgrade: a good film\r\n\r\n\r\nUpgrade: good"
        assert client.post("/predict", json={"text": text}).status_code == 200
    head = "".join(f"{name}: {value}\r\n" for name, value in (upgrade | {"content-length": str(len(_GOOD))}).items())
    with _connected(url) as slow:
        slow.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n".encode())
        time.sleep(0.1)
        slow.sendall(_GOOD)
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"positive" in answer


@pytest.mark.parametrize("directly", [True, False])
def test_whose_wish_for_http_2_is_not_seen_in_time_is_told_that_the_body_is_not_read(
    make_client: Make, serve: Any, reviews: Path, directly: bool
) -> None:
    url = serve(make_client("--package", reviews).services, directly=directly)
    with _connected(url) as slow:
        # Nobody writes the name so; a name that comes in two parts cannot be sent so that it surely does.
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUPGRADE: h2c\r\n")
        slow.sendall(f"Content-Length: {len(_GOOD)}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
        # Who is still sending is not broken off: it might not see the answer then.
        for byte in _GOOD:
            slow.sendall(bytes([byte]))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"without the header Upgrade" in answer
