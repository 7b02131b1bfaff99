"""One operation of the API: its route, its types and what may go wrong. Routes and OpenAPI are both made from these."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tunelane_serving.problems import BodyTooLarge, InvalidRequest, MalformedJson, Problem
from tunelane_serving.server.keys import Right
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import ErrorBody

T = TypeVar("T", bound=msgspec.Struct)
Handler = Callable[[Request, Services], Awaitable[Response]]

# A client that is still sending when the connection closes sees a broken pipe instead of the answer. So a body that is
# too large is read on, and thrown away, up to this many bytes past the limit.
_MAX_DISCARDED_BYTES = 16 << 20


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        path: as Starlette takes it; names in braces are described in `path_types`.
        body: the struct of the JSON body; None where there is none (or `form` says what it is).
        form: the fields of a multipart form, each as a JSON schema; `required_fields` must be there.
        query: a struct of the query's parameters.
        answer: the struct of the JSON answer; None where `media_type` is another.
        problems: what the operation itself may answer; those of every request are added (`openapi.problems_of`).
        error: the struct of an error's body, where a protocol has one of its own.
        needs_database: answers NotKept on a server that keeps nothing.
        right: what the caller's API key must be good for; None for what is open to everybody.
        statuses: further statuses with a body of their own, such as a 503 of `GET /health`.
        example: a body that works, or for a form the fields' values; used by the documentation.
        path_example: values of the path's names that go with it.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    summary: str
    tag: str
    answer: type[msgspec.Struct] | None = None
    media_type: str = "application/json"
    status: int = 200
    body: type[msgspec.Struct] | None = None
    form: Mapping[str, Mapping[str, Any]] | None = None
    required_fields: tuple[str, ...] = ()
    query: type[msgspec.Struct] | None = None
    path_types: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[type[Problem], ...] = ()
    statuses: Mapping[int, type[msgspec.Struct]] = field(default_factory=dict)
    error: type[msgspec.Struct] = ErrorBody
    needs_database: bool = False
    right: Right | None = None
    example: Any = None
    path_example: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the whole body, counted as it arrives: a chunked one does not say its length.

    Raises:
        BodyTooLarge: it has more than `max_bytes`.
        ClientDisconnect: the client went away while sending.
    """
    chunks: list[bytes] = []
    size_bytes = 0
    more = True
    # Not request.stream(): its generator costs more than all the rest of this.
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size_bytes += len(chunk)
        if size_bytes <= max_bytes:
            chunks.append(chunk)
        elif size_bytes > max_bytes + _MAX_DISCARDED_BYTES:
            break
    if size_bytes > max_bytes:
        raise BodyTooLarge(f"The body is larger than {max_bytes} bytes; send fewer or shorter texts")
    return b"".join(chunks)


# Made once for each struct: making one costs more than decoding.
_decoder = cache(msgspec.json.Decoder)


def decode_body(body: bytes, kind: type[T]) -> T:
    """Decode a request's body.

    Raises:
        MalformedJson: it is not JSON in UTF-8.
        InvalidRequest: a field is missing, unknown or of another type.
    """
    try:
        decoded: T = _decoder(kind).decode(body)
        return decoded
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}; the body is {_shape(kind)}") from error
    except msgspec.DecodeError as error:
        raise MalformedJson(f"The body is not valid JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise MalformedJson("The body is not UTF-8") from error
    except RecursionError as error:
        raise MalformedJson("The body is not valid JSON: nested too deeply") from error


def decode_query(request: Request, kind: type[T]) -> T:
    """Read the query's parameters; raises InvalidRequest where one is unknown, stands twice, or has another type."""
    parameters = request.query_params
    if len(parameters.multi_items()) != len(parameters):
        raise InvalidRequest("A query parameter stands twice")
    try:
        decoded = msgspec.convert(dict(parameters), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}, in the query") from error
    for name, value in parameters.items():
        found = getattr(decoded, _field_names(kind)[name])
        # msgspec takes the word null for nothing, and a number for seconds since the epoch; the documentation says
        # neither.
        if found is None:
            raise InvalidRequest(f"{name}: {value} is no value of it, in the query")
        if isinstance(found, datetime) and ":" not in value:
            raise InvalidRequest(f"{name}: a time such as 2026-01-31T12:00:00Z is expected, in the query")
    return decoded


@cache
def _field_names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Give the fields of a struct by their names in JSON."""
    return {item.encode_name: item.name for item in msgspec.structs.fields(kind)}


def path_value(request: Request, name: str, kind: Any) -> str:
    """Give a value from the path; raises InvalidRequest where it is not a `kind`."""
    try:
        value: str = msgspec.convert(request.path_params[name], kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}, in the path: {name}") from error
    return value


def json_response(body: msgspec.Struct, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a struct as JSON."""
    return _JsonResponse(msgspec.json.encode(body), status, headers or {})


class _JsonResponse(Response):
    """Starlette's response without its way to the headers, which is the larger part of what making one costs."""

    def __init__(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = content
        self.raw_headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        for name, value in headers.items():
            self.raw_headers.append((name.encode("latin-1"), value.encode("latin-1")))


def _shape(kind: type[msgspec.Struct]) -> str:
    """Say in short what a body holds: its required fields, or all where none is."""
    fields = msgspec.structs.fields(kind)
    names = [item.encode_name for item in fields if item.required] or [item.encode_name for item in fields]
    return "{" + ", ".join(f'"{name}": …' for name in names) + "}"
