"""The server's connections: how many there may be, and how long one may keep it waiting."""

import asyncio
import logging
import resource
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tunelane_serving.problems import Overloaded
from tunelane_serving.server.direct import DirectPredictions, PredictionInFlight
from tunelane_serving.server.refusals import STOPPING, problem_refusal
from tunelane_serving.server.wire import ErrorBody, ErrorDetail

_log = logging.getLogger(__name__)

# A client that sends nothing for so long, or takes longer for its request's head, is given up.
_PATIENCE_S = 10.0
# Taken at once. asyncio would take as many as may wait, and let all others wait for that.
_ACCEPTED_AT_ONCE = 16
_MAX_UNACCEPTED = 2048
_MAX_HEAD_BYTES = 64 << 10
# uvicorn stops reading above 64 KiB until the application has taken what came.
_MAX_DIRECT_BYTES = 32 << 10
# How long a connection past the limit may take to hear that it is one.
_REFUSED_FOR_S = 2.0
# For the database, the journal, model files and whatever else opens files beside the connections.
_OTHER_FILES = 256


class BoundedConfig(uvicorn.Config):
    """uvicorn's settings, for `BoundedServer`.

    Args:
        app: the application.
        max_connections: connections that are served at a time. As many again are answered with 503; those past them
            are broken off.
        on_refused: called for each one that is not served.
        direct: answers predictions without the application, where it may.
        settings: uvicorn's own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_connections: int,
        on_refused: Callable[[], None],
        direct: DirectPredictions | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(app, backlog=_ACCEPTED_AT_ONCE, **settings)
        self._max_connections = max_connections
        # uvicorn counts a connection a moment later than it is accepted, and several are accepted in one.
        self._serving = 0
        self._on_refused = on_refused
        self._direct = direct
        self._refused: set[_Refusal] = set()
        self._refusal = _refusal(max_connections)

    def load(self) -> None:
        """Choose what serves a connection; uvicorn calls what stands here for each."""
        super().load()
        self.http_protocol_class = self._protocol  # type: ignore[assignment]

    def _protocol(self, **arguments: Any) -> asyncio.Protocol:
        if self._serving < self._max_connections:
            self._serving += 1
            return Connection(self._end_serving, self._direct, **arguments)
        self._on_refused()
        return _Refusal(self._refused, self._max_connections, self._refusal)

    def _end_serving(self) -> None:
        self._serving -= 1


class _Refusal(asyncio.Protocol):
    """A connection past the limit: whatever comes on it is answered with 503, and not even parsed."""

    def __init__(self, others: "set[_Refusal]", max_others: int, answer: bytes) -> None:
        self._others = others
        self._max_others = max_others
        self._answer = answer
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        if len(self._others) >= self._max_others:
            transport.abort()
            return
        self._others.add(self)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_REFUSED_FOR_S, transport.abort)

    def data_received(self, _: bytes) -> None:
        # Closed by the client, which has the answer then: were it closed here while the request is still coming, the
        # kernel would break the connection off, and the answer with it.
        if self._transport is not None and self._answer:
            self._transport.write(self._answer)
            self._transport.write_eof()
            self._answer = b""

    def connection_lost(self, _: Exception | None) -> None:
        self._others.discard(self)
        if self._timer is not None:
            self._timer.cancel()


def _refusal(max_connections: int) -> bytes:
    message = f"{max_connections} connections are open already; ask again later, on fewer"
    body = msgspec.json.encode(ErrorBody(ErrorDetail(Overloaded.code, message)))
    return STATUS_LINE[503] + b"retry-after: 1\r\n" + _last_headers(body) + body


def _malformed(message: str) -> bytes:
    body = msgspec.json.encode(ErrorBody(ErrorDetail("malformed_request", message)))
    return STATUS_LINE[400] + _last_headers(body) + body


def _without_upgrade(data: bytes) -> bytes:
    """Give what a client sends from a request's head on, without its wish to go over to another protocol.

    Java's HttpClient sends `Upgrade: h2c` with its first request, with a body as well. A server may ignore that
    (https://www.rfc-editor.org/rfc/rfc9110#section-7.8); the parser would read no body then.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    for name in (b"Upgrade", b"upgrade"):
        head = head.replace(b"\r\n%b:" % name, b"\r\nX-Ignored-%b:" % name)
    return head + end + rest


def _last_headers(body: bytes) -> bytes:
    return b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)


class BoundedServer(uvicorn.Server):
    """A uvicorn server that gives up clients that keep it waiting; uvicorn itself waits for ever."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; asyncio takes one number for how many may wait and how many it accepts at once."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_MAX_UNACCEPTED)

    async def on_tick(self, counter: int) -> bool:
        """Look at every connection once a second; uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            now_s = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection) and connection.is_stalled(now_s):
                    connection.transport.abort()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is being answered; what takes too long is answered with 503."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.end_prediction()


class Connection(HttpToolsProtocol):
    """A connection that knows how long it has been waiting for its client, and answers plain predictions itself.

    `on_lost` is called when it is over; `direct` answers predictions where it may; the other arguments are uvicorn's.
    """

    def __init__(self, on_lost: Callable[[], None], direct: DirectPredictions | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._on_lost = on_lost
        self._direct = direct
        # A prediction's request whose body is still coming: the application is not asked until it is seen to be needed.
        self._held: RequestResponseCycle | None = None
        self._prediction: PredictionInFlight | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection."""
        super().connection_made(transport)
        self._moved_s = self._head_since_s = time.monotonic()
        self._unsent_bytes = 0
        self._is_in_head = True
        self._is_in_body = False
        self._head_bytes = 0
        # Whatever comes after its refusal is thrown away.
        self._is_refused = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another one."""
        super().connection_lost(exc)
        if self._prediction is not None:
            self._prediction.give_up()
        self._let_application_answer()
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Pass it on; refuse a head without end, which would fill the memory."""
        if self._is_refused:
            return
        self._moved_s = time.monotonic()
        if b"pgrade:" in data and not self._is_in_body:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The request's head is larger than {_MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin a request's head."""
        super().on_message_begin()
        self._head_since_s = self._moved_s
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """End a request's head."""
        self._is_in_head, self._is_in_body = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a request's body; a large one is the application's, which stops reading in time."""
        super().on_body(body)
        if self._held is not None and len(self._held.body) > _MAX_DIRECT_BYTES:
            self._let_application_answer()

    def on_message_complete(self) -> None:
        """Answer a request that has come wholly."""
        self._is_in_body = False
        super().on_message_complete()
        cycle, direct = self._held, self._direct
        if cycle is None or direct is None:
            return
        respond = partial(self._respond, cycle)
        self._prediction = direct.begin(cycle.scope, bytes(cycle.body), respond)
        if self._prediction is None:
            self._let_application_answer()
        elif cycle.response_complete:
            self._prediction = None
        self._held = None

    def end_prediction(self) -> None:
        """Answer a prediction that takes too long: the server is stopping."""
        if self._prediction is not None:
            self._prediction.end(problem_refusal(STOPPING))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Hold back what may be answered without the application."""
        direct, scope = self._direct, cycle.scope
        if (
            direct is not None
            and scope["path"] == direct.path
            and scope["method"] == direct.method
            and cycle.more_body
            and not cycle.waiting_for_100_continue
            and not self.flow.write_paused
        ):
            self._held = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _let_application_answer(self) -> None:
        if self._held is not None:
            super()._start_asgi_task(self._held, self.app)
            self._held = None

    def _respond(self, cycle: RequestResponseCycle, response: Response) -> None:
        """Write an answer at once and wholly; what uvicorn's cycle does in two calls."""
        self._prediction = None
        if cycle.disconnected:
            return
        headers = [*self.server_state.default_headers, *response.raw_headers]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[response.status_code], head, bytes(response.body)))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def is_stalled(self, now_s: float) -> bool:
        """Say whether it is the client's turn, and has been for too long."""
        cycle = self.cycle
        if self._is_in_head or cycle is None:
            return now_s - self._head_since_s > _PATIENCE_S
        # An answer that is complete may still be on its way to a slow reader.
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes != self._unsent_bytes:
            self._unsent_bytes = unsent_bytes
            self._moved_s = now_s
        is_clients_turn = cycle.response_complete or (cycle.more_body and not self.flow.read_paused)
        return is_clients_turn and now_s - self._moved_s > _PATIENCE_S

    def on_response_complete(self) -> None:
        """Give the turn to the client."""
        self._moved_s = time.monotonic()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Answer a client whose wish for another protocol `_without_upgrade` did not see: it came in parts.

        The parser stops behind such a head: a body is not read, nor is what comes after it.
        """
        self.cycle.keep_alive = False
        headers = dict(self.headers)
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            # To the application nobody is there any more.
            self.cycle.disconnected = self.cycle.response_complete = self._is_refused = True
            self.transport.write(
                _malformed("This server speaks HTTP/1.1 alone; send a body without the header Upgrade")
            )
            # Closed by the client, or once it is given up: see `_Refusal`.
            self.transport.write_eof()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the shape of every other error, and close."""
        self.transport.write(_malformed(msg))
        self.transport.close()


def affordable_connections(wanted: int) -> int:
    """Let the process open as many files as `wanted` connections need; gives how many connections there may be.

    A connection is an open file. Where these run out nothing works any more, the database least of all.
    """
    needed = 2 * wanted + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    affordable = max(1, min(wanted, (soft - _OTHER_FILES) // 2))
    if affordable < wanted:
        _log.warning("%d connections at most instead of %d: raise ulimit -n to %d", affordable, wanted, needed)
    return affordable
