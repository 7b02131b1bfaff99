"""The ASGI application: operations to routes, errors to answers. What the routes mean stands in `routes`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunelane_serving.problems import MethodNotAllowed, NotFound, Overloaded, Problem, Unauthorized
from tunelane_serving.server.operation import Operation, json_response
from tunelane_serving.server.requests import REQUEST_ID, choose_request_id
from tunelane_serving.server.retrying import retry_headers
from tunelane_serving.server.routes import predictions
from tunelane_serving.server.routes.all import OPERATIONS
from tunelane_serving.server.routes.open_inference import ProtocolError, protocol_error
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import ErrorBody, ErrorDetail

Endpoint = Callable[[Request], Awaitable[Response]]

_ROUTE = "tunelane.route"
# A path that is no route is anything that a client makes up; each as a label of its own would fill the memory.
_NO_ROUTE = "other"
_SHORTCUT = predictions.OPERATIONS
_STOPPING = Overloaded("The server is stopping; ask another instance", retry_after_s=1.0)
_PATHS = frozenset(operation.path for operation in OPERATIONS)


def create_app(
    services: Services, *, cors_origins: Sequence[str] = (), aliases: Mapping[str, str] | None = None
) -> ASGIApp:
    """Make the ASGI application. Its caller owns `services`, and closes them.

    Args:
        services: what the routes work with.
        cors_origins: web origins whose pages may call this server; none by default.
        aliases: further paths by the path that they stand for, as Vertex AI names them.
    """
    by_path = {operation.path: operation for operation in OPERATIONS}
    aliased = [(by_path[path], alias) for alias, path in (aliases or {}).items()]
    # One of this server's own paths, named by Vertex AI, means there what Vertex AI sends to it.
    taken = {(operation.method, alias) for operation, alias in aliased}
    own = [(operation, operation.path) for operation in OPERATIONS if (operation.method, operation.path) not in taken]
    endpoints = [(operation, path, _endpoint(operation, services)) for operation, path in (*own, *aliased)]
    routed = Starlette(
        routes=[Route(path, endpoint, methods=[operation.method]) for operation, path, endpoint in endpoints],
        exception_handlers={
            404: _on_no_route,
            405: _on_wrong_method,
            ClientDisconnect: _on_disconnect,
            Exception: _on_crash,
        },
    )
    routed.router.redirect_slashes = False
    routed.state.openapi = _openapi
    shortcuts = {path: endpoint for operation, path, endpoint in endpoints if operation in _SHORTCUT}
    app: ASGIApp = _Shortcut(_Observed(routed, services), shortcuts, services)
    if cors_origins:
        from starlette.middleware.cors import CORSMiddleware

        return CORSMiddleware(app, allow_origins=list(cors_origins), allow_methods=["*"], allow_headers=["*"])
    return app


@cache
def _openapi() -> bytes:
    """Made when it is first asked for: a cold start has no use for it."""
    from tunelane_serving.server.openapi import document

    return msgspec.json.encode(document(OPERATIONS))


def _endpoint(operation: Operation, services: Services) -> Endpoint:
    # A request that will be refused is not read first, so that refusing costs little and takes no memory. Not where
    # answers are kept, which need no worker, and not where a protocol has errors of its own.
    needs_room = Overloaded in operation.problems and operation.error is ErrorBody and services.engine.answers is None

    async def endpoint(request: Request) -> Response:
        request.scope[_ROUTE] = operation.path
        # Caught here and not by Starlette, whose way with exceptions costs as much as all else of a refusal.
        try:
            if operation.right is not None:
                services.keys.require(request, operation.right)
            if needs_room:
                services.engine.scheduler.require_room()
            return await operation.handler(request, services)
        except Problem as problem:
            if operation.error is ProtocolError:
                return protocol_error(problem)
            return _of_problem(problem)

    return endpoint


class _Shortcut:
    """ASGI: the routes that are called most, without Starlette's router and middlewares.

    Those cost a third of what the event loop does for a prediction. What is answered is the same.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint], services: Services) -> None:
        self._app = app
        self._endpoints = endpoints
        self._metrics = services.metrics
        # A log line for every request costs more than is saved here.
        self._is_on = services.access_log is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to one of the routes; pass on whatever else there is."""
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" and self._is_on else None
        if endpoint is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        request_id = scope[REQUEST_ID] = choose_request_id(scope)
        request = Request(scope, receive, send)
        crash: Exception | None = None
        try:
            response = await endpoint(request)
        except ClientDisconnect as error:
            response = await _on_disconnect(request, error)
        except asyncio.CancelledError:
            response = _of_problem(_STOPPING)
        except Exception as error:
            response = await _on_crash(request, error)
            crash = error
        response.raw_headers.append((b"x-request-id", request_id.encode("ascii")))
        await response(scope, receive, send)
        self._metrics.count_request(scope[_ROUTE], response.status_code, time.perf_counter() - started_s)
        if crash is not None:
            # The server logs it.
            raise crash


class _Observed:
    """ASGI middleware: a request id for every request, and what was answered counted and logged, errors included."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._metrics = services.metrics
        self._log = services.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = choose_request_id(scope)
        header = (b"x-request-id", request_id.encode("ascii"))
        # What raises on its way through here becomes a 500 further out.
        status = 500
        is_started = False
        started_s = time.perf_counter()

        async def send_noting_status(message: Message) -> None:
            nonlocal status, is_started
            if message["type"] == "http.response.start":
                is_started = True
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        except asyncio.CancelledError:
            # The server is stopping and the time for finishing is over.
            if not is_started:
                response = _of_problem(_STOPPING)
                await response(scope, receive, send_noting_status)
        finally:
            duration_s = time.perf_counter() - started_s
            path = scope["path"]
            route = scope.get(_ROUTE) or (path if path in _PATHS else _NO_ROUTE)
            self._metrics.count_request(route, status, duration_s)
            if self._log is not None:
                self._log.write(
                    request_id=request_id, method=scope["method"], route=route, status=status, duration_s=duration_s
                )


def _error(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(ErrorBody(ErrorDetail(code, message)), status=status, headers=headers)


def _of_problem(problem: Problem) -> Response:
    headers = retry_headers(problem.retry_after_s)
    if isinstance(problem, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    body = ErrorBody(ErrorDetail(problem.code, str(problem), problem.details))
    return json_response(body, status=problem.status, headers=headers)


async def _on_no_route(request: Request, _: Exception) -> Response:
    return _error(404, NotFound.code, f"There is no {request.url.path} here; GET /docs lists what there is")


async def _on_wrong_method(request: Request, error: Exception) -> Response:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = f"{request.url.path} does not take {request.method}, only {headers.get('Allow')}"
    return _error(405, MethodNotAllowed.code, message, headers=headers)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """Nobody is left to read this; without it the log would show a crash."""
    return _error(400, "client_disconnected", "The client went away before it had its answer")


async def _on_crash(_: Request, __: Exception) -> Response:
    """Keep the traceback from the client; it goes to the log, since Starlette raises the error again after this."""
    return _error(500, Problem.code, "The server failed on this request; its log says why")
