"""The routes: HTTP in, HTTP out. What they mean stands in `wire`, `champion` and `inference`."""

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tunelane_serving.server.champion import Champion, ChampionSource
from tunelane_serving.server.inference import InferencePool
from tunelane_serving.server.metrics import CONTENT_TYPE, CountRequests, ServerMetrics
from tunelane_serving.server.page import PAGE, PAGE_HEADERS
from tunelane_serving.server.problems import BodyTooLarge, NotReady, Problem
from tunelane_serving.server.wire import (
    BatchPrediction,
    BatchPredictRequest,
    ErrorBody,
    ErrorDetail,
    Health,
    Limits,
    PredictRequest,
    check_texts,
    decode_request,
)

# A client that is still sending when the connection closes sees a broken pipe instead of the answer. So a body that is
# too large is read on, and thrown away, up to this many bytes past the limit.
_MAX_DISCARDED_BYTES = 16 << 20


def create_app(source: ChampionSource, pool: InferencePool, limits: Limits) -> Starlette:
    """Make the ASGI application. Its caller owns `source` and `pool`, and closes them."""
    metrics = ServerMetrics(source)

    async def predict(request: Request) -> Response:
        text = decode_request(await _read_body(request, limits.max_body_bytes), PredictRequest).text
        check_texts([text], limits)
        predictions = await pool.predict(_champion(source), [text])
        metrics.count_predictions(predictions)
        return _json(predictions[0])

    async def batch_predict(request: Request) -> Response:
        texts = decode_request(await _read_body(request, limits.max_body_bytes), BatchPredictRequest).texts
        check_texts(texts, limits)
        predictions = await pool.predict(_champion(source), texts)
        metrics.count_predictions(predictions)
        return _json(BatchPrediction(predictions))

    async def health(_: Request) -> Response:
        body = _health(source)
        return _json(body, status=200 if body.ready else 503)

    async def measured(_: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/batch_predict", batch_predict, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", measured),
        Route("/", page),
    ]
    paths = frozenset(route.path for route in routes)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(CountRequests, metrics=metrics, routes=paths)],
        exception_handlers={
            Problem: _on_problem,
            404: _on_no_route,
            405: _on_wrong_method,
            ClientDisconnect: _on_disconnect,
            Exception: _on_crash,
        },
    )
    app.router.redirect_slashes = False
    return app


def _champion(source: ChampionSource) -> Champion:
    champion = source.current
    if champion is None:
        raise NotReady("No model is loaded yet; GET /health says why")
    return champion


def _health(source: ChampionSource) -> Health:
    champion = source.current
    if champion is None:
        return Health(live=True, ready=False, reload_error=source.reload_error)
    classifier = champion.classifier
    return Health(
        live=True,
        ready=True,
        model=champion.model,
        model_version=champion.model_version,
        digest=classifier.digest,
        variant=classifier.variant,
        framework=classifier.manifest.framework,
        fallback_reason=classifier.fallback_reason,
        reload_error=source.reload_error,
    )


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Read the whole body, counted as it arrives: a chunked one does not say its length."""
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes <= max_bytes:
            chunks.append(chunk)
        elif size_bytes > max_bytes + _MAX_DISCARDED_BYTES:
            break
    if size_bytes > max_bytes:
        raise BodyTooLarge(f"The body is larger than {max_bytes} bytes; send fewer or shorter texts")
    return b"".join(chunks)


def _json(body: msgspec.Struct, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(ErrorBody(ErrorDetail(code, message)), status=status, headers=headers)


async def _on_problem(_: Request, error: Exception) -> Response:
    problem = error if isinstance(error, Problem) else Problem(str(error))
    return _error(problem.status, problem.code, str(problem))


async def _on_no_route(request: Request, _: Exception) -> Response:
    return _error(404, "not_found", f"There is no {request.url.path} here")


async def _on_wrong_method(request: Request, error: Exception) -> Response:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = f"{request.url.path} does not take {request.method}, only {headers.get('Allow')}"
    return _error(405, "method_not_allowed", message, headers)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """Nobody is left to read this; without it the log would show a crash."""
    return _error(400, "client_disconnected", "The client went away while sending its request")


async def _on_crash(_: Request, __: Exception) -> Response:
    """Keep the traceback from the client; it goes to the log, since Starlette raises the error again after this."""
    return _error(500, Problem.code, "The server failed on this request; its log says why")
