"""Fixtures for the pages' tests: a small server that answers as the API does, and what the browser says of a page."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tunelane_serving.server import wire
from tunelane_serving.server.pages import DOCS, HEADERS, INDEX

_START_TIMEOUT_S = 60
# Nothing on a page takes so long, but a busy machine may.
_PATIENCE_MS = 30_000
_DIGEST = "3f9a1c" + "0b7d42e5" * 7 + "ab"


class _Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The query that the monitoring routes take: anything else is a slip of the page."""

    since: datetime
    until: datetime
    buckets: int = 24
    model: str | None = None
    model_version: str | None = None


@dataclass
class Api:
    """What the server answers; a test changes it. `asked` holds the requests: path and, where there is one, body.

    `refusals` maps a path to the status and error that it answers instead. `key` is what the monitoring asks for.
    """

    url: str = ""
    labels: dict[str, float] = field(default_factory=lambda: {"positive": 0.928, "negative": 0.051, "neutral": 0.021})
    answer: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)
    ml: dict[str, Any] = field(default_factory=dict)
    models: tuple[wire.LoadedModel, ...] = ()
    load: Callable[[int], int] = field(default=lambda i: round(30 + 14 * math.sin(i / 7) + 5 * math.sin(i * 1.7)))
    drift_status: Literal["none", "drift", "too_few_events", "no_reference"] = "none"
    refusals: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    key: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    openapi: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = (loaded_model("reviews", "12", champion=True),)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def bodies(self, path: str) -> list[Any]:
        return [body for asked, body in self.asked if asked == path]


def loaded_model(model: str, version: str, *, champion: bool = False, **other: Any) -> wire.LoadedModel:
    fields: dict[str, Any] = {"framework": "onnx", "task": "single_label", "variant": "int8", "size_bytes": 23_412_908}
    return wire.LoadedModel(model=model, model_version=version, digest=_DIGEST, champion=champion, **fields | other)


@pytest.fixture(name="loaded_model")
def _loaded_model() -> Callable[..., wire.LoadedModel]:
    return loaded_model


@pytest.fixture
def api() -> Iterator[Api]:
    """Serve the pages and an API on loopback; `api.url` is where."""
    api = Api()
    server = uvicorn.Server(uvicorn.Config(create_fake_app(api), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    api.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    yield api
    server.should_exit = True
    thread.join()


@dataclass
class Opened:
    """A page, and what went wrong on it: errors on the console, and requests to anywhere else."""

    page: Page
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """One window for a module's pages: starting one for each takes longer than most tests."""
    context = browser.new_context(timezone_id="Europe/Berlin", permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(_PATIENCE_MS)
    expect.set_options(timeout=_PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def open_page(window: BrowserContext, api: Api) -> Iterator[Callable[..., Opened]]:
    """Open a path of the server in a tab of its own, with an own session storage."""
    tabs = []

    def start(path: str = "") -> Opened:
        opened = Opened(window.new_page())
        tabs.append(opened.page)
        opened.page.on("console", lambda said: opened.wrong.append(said.text) if said.type == "error" else None)
        opened.page.on("pageerror", lambda error: opened.wrong.append(str(error)))
        opened.page.on(
            "request", lambda sent: None if sent.url.startswith((api.url, "data:")) else opened.wrong.append(sent.url)
        )
        opened.page.goto(api.url + path)
        return opened

    yield start
    for tab in tabs:
        tab.close()


def create_fake_app(api: Api) -> Starlette:
    """Make an application with the routes that the pages use."""

    def json(body: Any, status: int = 200) -> Response:
        return Response(msgspec.json.encode(body), status, media_type="application/json")

    def refusal(status: int, code: str, message: str) -> Response:
        return json(wire.ErrorBody(wire.ErrorDetail(code, message)), status)

    def route(path: str, method: str, answer: Callable[[Request, bytes], Response]) -> Route:
        async def handle(request: Request) -> Response:
            content = await request.body()
            api.asked.append((path, msgspec.json.decode(content) if content else dict(request.query_params)))
            if path in api.refusals:
                return refusal(*api.refusals[path])
            return answer(request, content)

        return Route(path, handle, methods=[method])

    def predict(request: Request, content: bytes) -> Response:
        body = msgspec.json.decode(content, type=wire.PredictRequest)
        if body.features is None and not (body.text or "").strip():
            return refusal(422, "invalid_request", "The text is empty")
        best = max(api.labels, key=lambda name: api.labels[name])
        fields: dict[str, Any] = {
            "label": best,
            "labels": (best,),
            "confidence": api.labels[best],
            "scores": api.labels,
            "inference_id": "0192-abc",
            "model": "reviews",
            "model_version": "12",
            "digest": _DIGEST,
            "variant": "int8",
            "latency_ms": 3.42,
        }
        return json(wire.Prediction(**fields | api.answer))

    def feedback(request: Request, content: bytes) -> Response:
        body = msgspec.json.decode(content, type=wire.FeedbackRequest)
        return json(wire.FeedbackReceipt(body.inference_id, datetime.now(UTC)))

    def health(request: Request, content: bytes) -> Response:
        fields: dict[str, Any] = {"live": True, "ready": True, "model": "reviews", "model_version": "12"}
        fields |= {"digest": _DIGEST, "variant": "int8", "framework": "onnx", "backend": "onnxruntime 1.31.1, int8"}
        body = wire.Health(**fields | api.health)
        return json(body, 200 if body.ready else 503)

    def health_ml(request: Request, content: bytes) -> Response:
        fields: dict[str, Any] = {
            "status": "ok",
            "models": api.models,
            "workers": 2,
            "queue_depth": 0,
            "events_waiting": 3,
            "events_in_journal": 0,
            "events_dropped": 0,
            "database": "ok",
            "drift": "none",
        }
        return json(wire.HealthML(**fields | api.ml))

    def metrics(request: Request, content: bytes) -> Response:
        if refused := _refuse_key(request):
            return refused
        query = msgspec.convert(dict(request.query_params), _Range, strict=False)
        return json(_metrics(api, query))

    def drift(request: Request, content: bytes) -> Response:
        if refused := _refuse_key(request):
            return refused
        query = msgspec.convert(dict(request.query_params), _Range, strict=False)
        return json(_drift(api, query))

    def _refuse_key(request: Request) -> Response | None:
        if not api.key or request.headers.get("authorization") == f"Bearer {api.key}":
            return None
        return refusal(401, "unauthorized", "Send an API key of this server")

    async def page(request: Request) -> Response:
        return HTMLResponse(DOCS if request.url.path == "/docs" else INDEX, headers=HEADERS)

    async def openapi(request: Request) -> Response:
        return json(api.openapi)

    async def favicon(request: Request) -> Response:
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/docs", page),
            Route("/openapi.json", openapi),
            Route("/favicon.ico", favicon),
            route("/predict", "POST", predict),
            route("/feedback", "POST", feedback),
            route("/health", "GET", health),
            route("/health/ml", "GET", health_ml),
            route("/monitoring/metrics", "GET", metrics),
            route("/monitoring/drift", "GET", drift),
        ]
    )


def _metrics(api: Api, query: _Range) -> wire.MonitoringMetrics:
    width = (query.until - query.since) / query.buckets
    buckets = []
    for i in range(query.buckets):
        count = api.load(i)
        measured = count > 0
        latency_ms = 3.1 + 0.6 * math.sin(i / 5)
        buckets.append(
            wire.Bucket(
                start=query.since + i * width,
                count=count,
                errors=count // 9 if i in (21, 22, 23) else 0,
                mean_latency_ms=latency_ms if measured else None,
                p95_latency_ms=latency_ms * 2.2 + (i % 7) * 0.3 if measured else None,
                mean_confidence=0.86 + 0.05 * math.sin(i / 9) if measured else None,
                accuracy=0.9 + 0.06 * math.cos(i / 4) if measured and i % 17 not in (3, 4, 9) else None,
            )
        )
    total = sum(bucket.count for bucket in buckets)
    ranked = sorted(api.labels, key=lambda name: -api.labels[name])
    labels = {name: max(1, round(total * 0.5 / 1.6**i)) for i, name in enumerate(ranked)} if total else {}
    return wire.MonitoringMetrics(
        model=query.model,
        model_version=query.model_version,
        since=query.since,
        until=query.until,
        count=total,
        errors=sum(bucket.errors for bucket in buckets),
        mean_latency_ms=3.24 if total else None,
        p50_latency_ms=2.91 if total else None,
        p95_latency_ms=7.4 if total else None,
        p99_latency_ms=11.8 if total else None,
        mean_confidence=0.864 if total else None,
        feedback_count=round(total * 0.13),
        accuracy=0.913 if total else None,
        labels=labels,
        buckets=tuple(buckets),
    )


def _drift(api: Api, query: _Range) -> wire.Drift:
    def feature(name: str, psi: float, bins: tuple[str, ...], reference: list[float], live: list[float]) -> Any:
        measured = api.drift_status in ("none", "drift")
        return wire.FeatureDrift(
            name=name,
            psi=psi if measured else None,
            threshold=0.1 if measured else None,
            drifted=measured and psi > 0.1,
            events=1812 if measured else 41,
            reference_count=4000,
            bins=bins,
            reference=tuple(reference),
            live=tuple(live),
        )

    moved = api.drift_status == "drift"
    tenths = tuple(f"{i / 10:.1f} to {(i + 1) / 10:.1f}" for i in range(10))
    lengths = tuple(
        f"{low} to {high}" for low, high in [(0, 4), (4, 8), (8, 16), (16, 24), (24, 32), (32, 48), (48, 64)]
    )
    confidences = [0, 0, 0.01, 0.02, 0.04, 0.05, 0.08, 0.14, 0.22, 0.44]
    words = [0.05, 0.13, 0.31, 0.26, 0.14, 0.08, 0.03]
    features = (
        feature("label", 0.021, ("negative", "neutral", "positive"), [0.31, 0.14, 0.55], [0.27, 0.16, 0.57]),
        feature(
            "confidence", 0.204 if moved else 0.013, tenths, confidences, confidences[::-1] if moved else confidences
        ),
        feature("length_tokens", 0.034, lengths, words, [0.07, 0.16, 0.3, 0.23, 0.13, 0.08, 0.03]),
    )
    return wire.Drift(
        model="reviews",
        model_version="12",
        digest=_DIGEST,
        since=query.since,
        until=query.until,
        events=41 if api.drift_status == "too_few_events" else 1812,
        minimum_events=100,
        alpha=0.01,
        status=api.drift_status,
        features=() if api.drift_status == "no_reference" else features,
    )
