"""A server that speaks the API's own structs, misbehaves when told to, and keeps what it was asked."""

import asyncio
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from tunelane_serving.client import AsyncClassifier, Classifier
from tunelane_serving.server.wire import BatchPrediction, ErrorBody, ErrorDetail, FeedbackReceipt, Health, Prediction

RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Step = Callable[[BaseHTTPRequestHandler], None]


def prediction(text: str) -> Prediction:
    """What the server says of a text: its length is its version, so that mixed-up answers show."""
    return Prediction(
        "positive", ("positive",), 0.9, {"negative": 0.1, "positive": 0.9}, f"id of {text}", "tickets", str(len(text)),
        "d" * 64, "fp32", 1.5,
    )  # fmt: skip


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeServer:
    """Answers as a Tunelane server and a Vertex endpoint do, after the steps that are left in `misbehave`."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    misbehave: deque[Step] = field(default_factory=deque)
    connections: int = 0

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        if asked.path.endswith("/predict"):
            return 200, msgspec.json.encode(prediction(asked.body.get("text") or "features"))
        if asked.path.endswith("/batch_predict"):
            return 200, msgspec.json.encode(BatchPrediction(tuple(map(prediction, asked.body["texts"]))))
        if asked.path.endswith("/feedback"):
            return 200, msgspec.json.encode(FeedbackReceipt(asked.body["inferenceId"], RECEIVED_AT))
        if asked.path.endswith("/health"):
            return 200, msgspec.json.encode(Health(live=True, ready=True, model="tickets"))
        if asked.path.endswith(":predict"):
            texts = [instance.get("text", "features") for instance in asked.body["instances"]]
            predictions = list(map(prediction, texts))
            return 200, msgspec.json.encode({"predictions": predictions, "deployedModelId": "7", "model": "projects/1"})
        if "/endpoints/" in asked.path:
            models = [{"id": "7", "displayName": "old"}, {"id": "8", "model": "projects/1/models/moods"}]
            models[1]["modelVersionId"] = "3"
            return 200, json.dumps({"name": "e", "deployedModels": models, "trafficSplit": {"7": 10, "8": 90}}).encode()
        return 404, error_body("not_found", f"There is no {asked.path} here")


def error_body(code: str, message: str, details: tuple[str, ...] = ()) -> bytes:
    return msgspec.json.encode(ErrorBody(ErrorDetail(code, message, details)))


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    fake = FakeServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            fake.connections += 1

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = Asked(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(body) if body.startswith(b"{") else None,
            )
            fake.asked.append(asked)
            if fake.misbehave:
                fake.misbehave.popleft()(self)
                return
            reply(*fake.answer(asked))(self)

        do_POST = do_GET  # noqa: N815 - the library's

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that went away is what the tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield fake
    server.shutdown()
    server.server_close()


def reply(status: int, body: bytes, headers: dict[str, str] | None = None) -> Step:
    """Answer so."""

    def step(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return step


def drop(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    """Promise more bytes than come."""
    reply(200, b'{"label": ', {"content-length": "1000"})(handler)
    drop(handler)


def never_answer(handler: BaseHTTPRequestHandler) -> None:
    """Wait until the client has gone."""
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.recv(1)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send byte after byte, for ever."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


@pytest.fixture
def steps() -> type:
    """The ways to misbehave."""

    class Steps:
        drop = staticmethod(drop)
        cut_short = staticmethod(cut_short)
        never_answer = staticmethod(never_answer)
        drip = staticmethod(drip)
        reply = staticmethod(reply)

        @staticmethod
        def problem(
            status: int,
            code: str,
            *,
            message: str = "It is so.",
            headers: dict[str, str] | None = None,
            details: tuple[str, ...] = (),
        ) -> Step:
            return reply(status, error_body(code, message, details), headers)

    return Steps


class _Waiting:
    """An AsyncClassifier whose methods are called as a Classifier's are."""

    def __init__(self, classifier: AsyncClassifier, runner: asyncio.Runner) -> None:
        self._classifier = classifier
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._classifier, "aclose" if name == "close" else name)

        async def call(*arguments: Any, **named: Any) -> Any:
            return await method(*arguments, **named)

        return lambda *arguments, **named: self._runner.run(call(*arguments, **named))


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make a classifier for a server, or with `vertex=True` for an endpoint; the async one is waited for."""
    with asyncio.Runner() as runner, ExitStack() as made:

        def connect(*arguments: str, vertex: bool = False, **named: Any) -> Any:
            kind = Classifier if request.param == "sync" else AsyncClassifier
            classifier: Any = (kind.vertex if vertex else kind)(*arguments, **named)
            if isinstance(classifier, AsyncClassifier):
                classifier = _Waiting(classifier, runner)
            made.callback(classifier.close)
            return classifier

        yield connect
