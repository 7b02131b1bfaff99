"""One HTTP request of the client and how its answer is read. Whoever sends it, sync or async, does so the same way."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from tunelane_serving.client.errors import ClassifierError, InvalidInput, NotAllowed, Unavailable
from tunelane_serving.client.retrying import parse_retry_after

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_OK = 200
_INVALID = (400, 404, 413, 414, 422)
_NOT_ALLOWED = (401, 403)
# 502 and 504 come from the proxies and load balancers that stand before a server.
_UNAVAILABLE = (429, 502, 503, 504)
_SHOWN_CHARACTERS = 500


@dataclass(frozen=True)
class Reply:
    """An answer as it came. The names in `headers` are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what makes a result of its answer.

    Attributes:
        read: gives the result; raises ClassifierError where the body is something else.
        headers: besides those of every request.
        takes_token: whether the service's access token goes with it: never to another host than the service's.
        is_repeatable: whether it may be sent again where no answer came.
        statuses: those besides 200 whose body may be the answer all the same.
    """

    method: str
    url: str
    read: Callable[[bytes], T]
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_token: bool = False
    is_repeatable: bool = True
    statuses: tuple[int, ...] = ()

    def result(self, reply: Reply) -> T:
        """What the answer says.

        Raises:
            ClassifierError: it is an error; the class says what kind.
        """
        if reply.status == _OK:
            return self.read(reply.body)
        if reply.status in self.statuses:
            # The same status comes from proxies, with a body of theirs.
            with suppress(ClassifierError):
                return self.read(reply.body)
        raise error_of(reply, self.url)

    def all_headers(self, token: str) -> dict[str, str]:
        """The request's headers, with the access token where it goes along."""
        headers = dict(self.headers)
        if self.body:
            headers["content-type"] = "application/json"
        if self.takes_token and token:
            headers["authorization"] = f"Bearer {token}"
        return headers


def error_of(reply: Reply, url: str) -> ClassifierError:
    """The error that an answer is; the server's own code and message where it has them."""
    code, message, details = _said(reply.body)
    if not message:
        where = reply.headers.get("location", "")
        message = f"{url} sends on to {where}; give that address" if where else f"{url} answered without a reason"
    kind = ClassifierError
    if reply.status in _INVALID:
        kind = InvalidInput
    elif reply.status in _NOT_ALLOWED:
        kind = NotAllowed
    elif reply.status in _UNAVAILABLE:
        kind = Unavailable
    return kind(
        f"{message} ({' '.join(filter(None, (str(reply.status), code)))})",
        status=reply.status,
        code=code,
        details=details,
        retry_after_s=parse_retry_after(reply.headers.get("retry-after"), datetime.now(UTC)),
    )


def encode_body(asked: object) -> bytes:
    """What is asked as JSON.

    Raises:
        InvalidInput: a text holds half a character (a lone surrogate), which no UTF-8 has.
    """
    try:
        return msgspec.json.encode(asked)
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"A text holds half a character: {error.object[error.start]!a} at position {error.start}. "
            "Decode it anew, or take it out.",
            code="invalid_input",
        ) from error


def decode_answer(body: bytes, kind: type[S], url: str) -> S:
    """Decode an answer; fields that are not known come from a newer server and are passed over.

    Raises:
        ClassifierError: it is something else.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unexpected(url, str(error)) from error


def unexpected(url: str, found: str) -> ClassifierError:
    """The error for an answer that the client does not understand."""
    return ClassifierError(
        f"{url} answered something else than a Tunelane server does: {found}. Check the address.",
        status=200,
        code="unexpected_answer",
    )


def _said(body: bytes) -> tuple[str, str, tuple[str, ...]]:
    """Code, message and details of an error's body; empty where it is none that is known.

    Ours is `{"error": {"code": "overloaded", "message": …}}`, Google's
    `{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": …}}`.
    """
    try:
        error: Any = msgspec.json.decode(body)["error"]
        code = error["code"] if isinstance(error["code"], str) else error.get("status", "")
        details = error.get("details", ())
        return (
            str(code),
            _one_line(error["message"]),
            tuple(_one_line(detail) for detail in details if isinstance(detail, str)),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError, AttributeError):
        return "", "", ()


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]} …"
