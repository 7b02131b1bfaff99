"""Every limit's answer: 413, 422, 429 or 503, with Retry-After where asking again makes sense; and who is left out."""

import asyncio
import hashlib
import json
import signal
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from tunelane_serving.server.app import create_app
from tunelane_serving.server.limits import Limits

Make = Callable[..., TestClient]
Build = Callable[..., Path]
Start = Callable[..., Any]
Recorded = Callable[..., list[dict[str, Any]]]
Until = Callable[..., None]


@pytest.fixture(scope="module")
def reviews(tiny_package: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


class Gate:
    """Keeps a model's runs from ending until it is opened."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._opened = threading.Event()
        self.runs = 0

    def open(self) -> None:
        self._opened.set()

    def run(self, prepared: Any) -> Any:
        self.runs += 1
        assert self._opened.wait(60)
        return type(self._model).run(self._model, prepared)


@pytest.fixture
def gated(make_client: Make, reviews: Path) -> Any:
    """Give a maker of clients whose model waits at a gate, which is open in the end."""
    gates: list[Gate] = []

    def gated(*arguments: str | Path) -> tuple[TestClient, Gate]:
        client = make_client("--package", reviews, *arguments)
        served = client.services.source.current
        model = object.__new__(type(served.model))
        gate = Gate(served.model)
        model.__dict__.update(vars(served.model) | {"run": gate.run})
        client.services.source.current = replace(served, model=model)
        gates.append(gate)
        return client, gate

    yield gated
    for gate in gates:
        gate.open()


def _at_once(client: TestClient, work: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """Do asynchronous work with a client of the application in one event loop, as a server has one."""

    async def run() -> Any:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server", timeout=60) as asking:
            return await work(asking)

    return asyncio.run(run())


def _assert_later(response: httpx.Response, status: int, code: str) -> int:
    """Assert a refusal that says when to come again; gives the seconds."""
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    retry_after_s = int(response.headers["retry-after"])
    assert 1 <= retry_after_s <= 60
    return retry_after_s


def test_too_many_products_are_a_422(make_client: Make, reviews: Path) -> None:
    client = make_client("--package", reviews, "--max-products", "2", "--max-texts", "2", "--max-text-chars", "10")
    products = [{"id": name, "text": name} for name in "abc"]
    bodies = [
        {"products": products, "context": {"text": "a"}},
        {"products": products[:1], "context": {"history": ["a"] * 3}},
        {"products": products[:1], "context": {"text": "a" * 11}},
        {"products": [{"id": "a", "text": "a" * 11}], "context": {"text": "a"}},
    ]
    for body in bodies:
        response = client.post("/personalize", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request"), response.text


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/predict", {"text": "a" * 200}),
        ("/batch_predict", {"texts": ["a" * 200]}),
        ("/personalize", {"products": [{"id": "a", "text": "a" * 200}], "context": {"text": "a"}}),
        ("/vertex/predict", {"instances": ["a" * 200]}),
        ("/feedback", {"inferenceId": "a", "outcome": "a" * 200}),
        ("/features/a", {"features": {"a": "a" * 200}}),
        ("/model/a/1/stage", {"stage": "a" * 200}),
    ],
)
def test_a_body_that_is_too_large_is_a_413_on_every_route(
    make_client: Make, reviews: Path, api_keys: Path, route: str, body: dict[str, Any]
) -> None:
    client = make_client("--package", reviews, "--api-keys", api_keys, "--max-body-bytes", "150")
    content = json.dumps(body).encode()
    for sent in (content, iter([content[:100], content[100:]])):
        response = client.post(route, content=sent, headers={"x-api-key": "secret"})
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large"), response.text


def test_a_key_that_is_used_up_is_a_429_and_others_go_on(make_client: Make, reviews: Path, tmp_path: Path) -> None:
    listed = [
        {
            "name": name,
            "sha256": hashlib.sha256(name.encode()).hexdigest(),
            "rights": ["predict"],
            "requests_per_minute": limit,
        }
        for name, limit in (("mild", 2), ("keen", 100))
    ]
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(listed))
    client = make_client("--package", reviews, "--api-keys", keys)

    def ask(key: str, route: str = "/predict") -> httpx.Response:
        return client.post(route, json={"text": "good"}, headers={"x-api-key": key})

    assert [ask("mild").status_code for _ in range(2)] == [200, 200]
    # One comes back in half a minute.
    assert 25 <= _assert_later(ask("mild"), 429, "rate_limited") <= 30
    assert ask("mild", "/batch_predict").status_code == 429
    assert [ask("keen").status_code for _ in range(5)] == [200] * 5
    assert client.get("/health").status_code == 200


def test_what_comes_past_the_queue_is_a_503_and_the_rest_is_answered(gated: Any) -> None:
    client, gate = gated("--workers", "1", "--max-waiting", "2")

    async def overload(asking: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.ensure_future(asking.post("/predict", json={"text": "good"}))
        while not gate.runs:
            await asyncio.sleep(0.001)
        waiting = [asyncio.ensure_future(asking.post("/predict", json={"text": "good"})) for _ in range(2)]
        while client.services.engine.scheduler.waiting < 2:
            await asyncio.sleep(0.001)
        depth = (await asking.get("/health/ml")).json()["queueDepth"]
        refused = await asyncio.gather(
            *(asking.post("/predict", json={"text": "bad"}) for _ in range(5)),
            asking.post("/batch_predict", json={"texts": ["bad"]}),
            asking.post("/vertex/predict", json={"instances": ["bad"]}),
        )
        protocol = await asking.post(
            "/v2/models/reviews/infer",
            json={"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["bad"]}]},
        )
        assert (depth, protocol.status_code, type(protocol.json()["error"])) == (2, 503, str)
        assert int(protocol.headers["retry-after"]) >= 1
        for response in refused:
            _assert_later(response, 503, "overloaded")
        # It lives, and says so, however much waits.
        assert (await asking.get("/health")).status_code == 200
        gate.open()
        answered: list[httpx.Response] = await asyncio.gather(first, *waiting)
        return answered

    answered = _at_once(client, overload)
    assert [response.json()["label"] for response in answered] == ["positive"] * 3
    assert client.post("/predict", json={"text": "bad"}).status_code == 200
    # Nothing was inferred for what was refused.
    assert gate.runs == 4


def test_a_request_that_could_never_wait_is_a_422_and_not_a_503_for_ever(make_client: Make, reviews: Path) -> None:
    client = make_client("--package", reviews, "--max-waiting", "2")
    assert client.post("/batch_predict", json={"texts": ["good"] * 2}).status_code == 200
    response = client.post("/batch_predict", json={"texts": ["good"] * 3})
    assert (response.status_code, "at most 2 may wait" in response.text) == (422, True)


@pytest.mark.parametrize("route", ["/predict", "/batch_predict"])
def test_an_answer_that_does_not_come_in_time_is_a_503_and_an_event(gated: Any, recorded: Recorded, route: str) -> None:
    client, gate = gated("--workers", "1", "--inference-timeout-s", "0.8")
    bodies = {"/predict": {"text": "good"}, "/batch_predict": {"texts": ["good", "bad"]}}

    async def ask(asking: httpx.AsyncClient) -> httpx.Response:
        return await asking.post(route, json=bodies[route])

    response = _at_once(client, ask)
    # The gate is closed: the answer did not wait for the model.
    _assert_later(response, 503, "inference_timeout")
    assert "0.8 s" in response.json()["error"]["message"]
    gate.open()
    assert client.post("/predict", json={"text": "bad"}).status_code == 200
    events = recorded(client)
    assert {event["status"] for event in events[:-1]} == {"error"}
    assert "InferenceTimeout: no answer within 0.8 s" in events[0]["error"]
    assert events[-1]["status"] == "ok"


def test_what_waits_in_vain_does_not_reach_the_model(gated: Any) -> None:
    client, gate = gated("--workers", "1", "--inference-timeout-s", "0.8")

    async def ask(asking: httpx.AsyncClient) -> list[httpx.Response]:
        answers: list[httpx.Response] = await asyncio.gather(
            *(asking.post("/predict", json={"text": "good"}) for _ in range(4))
        )
        return answers

    assert [response.status_code for response in _at_once(client, ask)] == [503] * 4
    gate.open()
    assert client.post("/predict", json={"text": "good"}).status_code == 200
    # The one that ran, and the one after all was over.
    assert gate.runs == 2


def test_a_client_that_goes_away_takes_its_work_out_of_the_queue(
    start_server: Start, patient_package: Path, until: Until
) -> None:
    server = start_server("--package", patient_package, "--workers", "1", "--max-waiting", "3")
    address = urlsplit(server.url)

    def depth() -> int:
        return int(server.client.get("/health/ml").json()["queueDepth"])

    def ask(rounds: int, *, many: int = 1) -> socket.socket:
        instances = [{"rounds": rounds}] * many
        body = json.dumps({"instances": instances}).encode()
        client = socket.create_connection((address.hostname, address.port))
        client.sendall(b"POST /vertex/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return client

    # What takes long is worth looking out for; not so long that the others could not be answered in time.
    assert server.client.post("/predict", json={"features": {"rounds": 30_000}}).status_code == 200
    for_ever = [ask(1 << 40) for _ in range(2)]
    until(lambda: depth() == 1)
    several = ask(1, many=2)
    until(lambda: depth() == 3)
    assert server.client.post("/predict", json={"features": {"rounds": 1}}).status_code == 503
    several.close()
    until(lambda: depth() == 1)
    for client in for_ever:
        # As a client that is killed: not closed, but reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    until(lambda: depth() == 0)
    assert server.client.get("/health").status_code == 200
    server.process.kill()
    assert "Traceback" not in server.process.communicate()[1]


def test_pages_of_other_origins_may_not_call_unless_their_origin_is_named(make_client: Make, reviews: Path) -> None:
    services = make_client("--package", reviews).services
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    closed = TestClient(create_app(services))
    assert closed.options("/predict", headers=asked).status_code == 405
    for response in (
        closed.options("/predict", headers=asked),
        closed.post("/predict", json={"text": "good"}, headers=asked),
        closed.get("/health", headers=asked),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]

    opened = TestClient(create_app(services, cors_origins=["https://shop.example"]))
    preflight = opened.options("/predict", headers=asked | {"access-control-request-headers": "x-api-key"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    for status, body in ((200, {"text": "good"}), (422, {})):
        answer = opened.post("/predict", json=body, headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://shop.example")
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert exposed == ["Retry-After", "X-Request-Id"]
    other = opened.post("/predict", json={"text": "good"}, headers={"origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_logs_are_json_with_request_ids_and_never_hold_a_text(start_server: Start, reviews: Path) -> None:
    server = start_server(
        "--package", reviews, "--access-log", "--cors-origin", "https://shop.example", "--max-body-bytes", "2000"
    )
    word = "unutterable"
    client = server.client
    answers = [
        client.post("/predict", json={"text": word, "userId": word}, headers={"x-request-id": "trace-1"}),
        client.post("/predict", json={"text": word, "colour": word}),
        client.post("/predict", content=f'{{"text": "{word}'.encode()),
        client.post("/predict", json={"text": word * 500}),
        client.post("/predict", json={"features": {word: word}}),
        client.post("/batch_predict", json={"texts": [word]}),
        client.post("/personalize", json={"products": [{"id": word, "text": word}], "context": {"text": word}}),
        client.post("/v2/models/reviews/infer", json={"inputs": [{"name": word}]}),
        client.post("/feedback", json={"inferenceId": word, "outcome": word}),
        client.post(f"/features/{word}", json={"features": {"text": word}}),
        client.get(f"/monitoring/events?cursor={word}"),
        client.get(f"/{word}"),
        client.get("/health", headers={"origin": "https://shop.example", "x-request-id": "a b"}),
    ]
    assert [answer.status_code for answer in answers] == [
        200,
        422,
        400,
        413,
        400,
        200,
        400,
        422,
        200,
        200,
        422,
        404,
        200,
    ]
    assert answers[-1].headers["access-control-allow-origin"] == "https://shop.example"
    assert server.end(signal.SIGTERM) == 0
    stdout, stderr = server.process.communicate()
    assert stdout == ""
    assert word not in stderr
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all(line.keys() >= {"time", "severity", "message"} for line in lines)
    accesses = [line for line in lines if "requestId" in line]
    assert [line["requestId"] for line in accesses] == [answer.headers["x-request-id"] for answer in answers]
    assert accesses[0]["requestId"] == "trace-1"
    assert [line["status"] for line in accesses] == [answer.status_code for answer in answers]
    assert [line["route"] for line in accesses[-4:]] == ["/features/{entity}", "/monitoring/events", "other", "/health"]
    assert all(line["durationMs"] > 0 for line in accesses)


def test_every_limit_says_its_unit_and_has_an_option(make_client: Make, reviews: Path) -> None:
    given = {field.name: 7 for field in fields(Limits)}
    arguments = [part for name in given for part in (f"--{name.replace('_', '-')}", "7")]
    limits = make_client("--package", reviews, *arguments).services.limits
    assert {field.name: getattr(limits, field.name) for field in fields(Limits)} == given
