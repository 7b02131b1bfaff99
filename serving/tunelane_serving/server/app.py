"""The ASGI application: operations to routes, errors to answers. What the routes mean stands in `routes`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunelane_serving.problems import MethodNotAllowed, NotFound, Overloaded, Problem
from tunelane_serving.server.inference_protocol import ProtocolError, protocol_refusal
from tunelane_serving.server.operation import Operation
from tunelane_serving.server.refusals import STOPPING, crash_refusal, disconnect_refusal, problem_refusal, refusal
from tunelane_serving.server.requests import REQUEST_ID, choose_request_id
from tunelane_serving.server.routes.all import OPERATIONS
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import ErrorBody

Endpoint = Callable[[Request], Awaitable[Response]]

_ROUTE = "tunelane.route"
# A path that is no route is anything that a client makes up; each as a label of its own would fill the memory.
_NO_ROUTE = "other"
_PATHS = frozenset(operation.path for operation in OPERATIONS)


def create_app(
    services: Services, *, cors_origins: Sequence[str] = (), aliases: Sequence[tuple[str, str]] = ()
) -> ASGIApp:
    """Make the ASGI application. Its caller owns `services`, and closes them.

    Args:
        services: what the routes work with.
        cors_origins: web origins whose pages may call this server; none by default.
        aliases: further paths, each with the path that it stands for, as Vertex AI names them.
    """
    by_path = {operation.path: operation for operation in OPERATIONS}
    aliased = [(by_path[path], alias) for alias, path in aliases]
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
    app: ASGIApp = _Observed(routed, services)
    if cors_origins:
        from starlette.middleware.cors import CORSMiddleware

        return CORSMiddleware(
            app,
            allow_origins=list(cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
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
                return protocol_refusal(problem)
            return problem_refusal(problem)

    return endpoint


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
                response = problem_refusal(STOPPING)
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


async def _on_no_route(request: Request, _: Exception) -> Response:
    return refusal(404, NotFound.code, f"There is no {request.url.path} here; GET /docs lists what there is")


async def _on_wrong_method(request: Request, _: Exception) -> Response:
    # Of all routes of the path: the router's own answer names those of the first one.
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    allowed = ", ".join(sorted({method for route in matching for method in route.methods}))
    message = f"{request.url.path} does not take {request.method}, only {allowed}"
    return refusal(405, MethodNotAllowed.code, message, headers={"allow": allowed})


async def _on_disconnect(_: Request, __: Exception) -> Response:
    # Without this the log would show a crash.
    return disconnect_refusal()


async def _on_crash(_: Request, __: Exception) -> Response:
    # Starlette raises the error again after this, and the server logs it.
    return crash_refusal()
