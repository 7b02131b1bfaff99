"""REST's way to the fakes: over TLS for Google's hosts, and without it for the token endpoint.

How a message is carried: https://github.com/googleapis/googleapis/blob/master/google/api/http.proto; how an error is:
https://cloud.google.com/apis/design/errors#http_mapping
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from google.protobuf import json_format

from tests.cloud.bench.api import Api
from tests.cloud.bench.contract import Contract, Route
from tests.cloud.bench.errors import HTTP_STATUS, ApiError, Dropped, invalid
from tests.cloud.bench.grpc_door import Line

_SYSTEM_PARAMETERS = ("alt", "key", "prettyPrint", "quotaUser", "userProject")
"""https://cloud.google.com/apis/docs/system-parameters"""


@dataclass(frozen=True)
class Exchange:
    """An HTTP request as a fake sees it."""

    host: str
    verb: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: Iterable[tuple[str, str]] = (("Content-Type", "application/json"),)


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def as_error(error: ApiError) -> Answer:
    status = json_format.MessageToDict(error.status())
    code = HTTP_STATUS[error.code]
    content = {"code": code, "message": error.message, "status": error.code, "details": status.get("details", [])}
    # The JSON APIs of Cloud Storage and others tell the reason here.
    content["errors"] = [{"message": error.message, "domain": "global", "reason": error.reason or error.code.lower()}]
    return as_json({"error": content}, code)


class RestDoor:
    """An HTTP server in front of `answer`, which may raise ApiError and Dropped."""

    def __init__(self, answer: Callable[[Exchange], Answer], context: ssl.SSLContext | None = None) -> None:
        self.line = Line(lambda _: "", lambda _: None)
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def setup(self) -> None:
                if context is not None:
                    # The greeting is done here, in the connection's own thread.
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def log_message(self, *_: Any) -> None: ...

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

            def answer(self) -> None:
                url = urlsplit(self.path)
                port = self.client_address[1]
                host = door.line.host(port) or self.headers.get("Host", "").split(":")[0]
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    given = answer(Exchange(host, self.command, unquote(url.path), url.query, headers, self._body()))
                except ApiError as error:
                    given = as_error(error)
                except Dropped:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(given.status)
                for name, value in given.headers:
                    self.send_header(name, value)
                if given.status != 204 and self.command != "HEAD":
                    self.send_header("Content-Length", str(len(given.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(given.body)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = answer  # noqa: N815 - names of http.server's

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Transcoder:
    """The methods of a contract by their REST routes."""

    def __init__(self, contract: Contract, api: Api) -> None:
        self._contract = contract
        self._api = api

    def answer(self, exchange: Exchange) -> Answer:
        found = self._contract.route(exchange.host, exchange.verb, exchange.path)
        if found is None:
            if exchange.path.endswith("/allowedLocations"):
                # google-auth asks whether an account is bound to regions; one that is not is answered so.
                raise ApiError("NOT_FOUND", "Not found.")
            self._api.unknown.append(f"{exchange.verb} https://{exchange.host}{exchange.path}")
            raise ApiError("NOT_FOUND", f"No such method: {exchange.verb} {exchange.path}")
        route, fields = found
        request = _message(route, fields, exchange)
        response = self._api.call(route.method, request, "rest", exchange.host, exchange.headers)
        as_numbers = "enum-encoding=int" in unquote(exchange.query)
        return Answer(200, json_format.MessageToJson(response, use_integers_for_enums=as_numbers).encode())


def _message(route: Route, fields: dict[str, str], exchange: Exchange) -> Any:
    """Put a request together from its path, query and body. Raises INVALID_ARGUMENT for unknown fields."""
    content: dict[str, Any] = {}
    for name, value in parse_qsl(exchange.query, keep_blank_values=True):
        if not name.startswith("$") and name not in _SYSTEM_PARAMETERS:
            _put(content, name.split("."), value)
    request = route.method.request()
    try:
        body = json.loads(exchange.body) if exchange.body else {}
        if route.body == "*":
            content |= body
        elif route.body:
            content[route.body] = body
        json_format.ParseDict(content, request)
    except (ValueError, json_format.ParseError) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    for path, value in fields.items():
        *parents, last = path.split(".")
        target = request
        for parent in parents:
            target = getattr(target, parent)
        if last in target.DESCRIPTOR.fields_by_name:
            setattr(target, last, value)
    return request


def _put(content: dict[str, Any], path: list[str], value: str) -> None:
    *parents, last = path
    for parent in parents:
        content = content.setdefault(parent, {})
    if last not in content:
        content[last] = value
    elif isinstance(content[last], list):
        content[last].append(value)
    else:
        content[last] = [content[last], value]
