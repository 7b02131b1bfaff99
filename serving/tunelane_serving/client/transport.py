"""httpx, and what its errors mean for a call."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunelane_serving.client.errors import ClassifierError, Unavailable

if TYPE_CHECKING:
    import httpx
else:
    try:
        import httpx
    except ImportError as error:
        raise ImportError("tunelane_serving.client needs httpx. Run: pip install 'tunelane[client]'") from error

__all__ = ["failure", "httpx", "send", "too_slow"]


def send(
    http: httpx.Client,
    method: str,
    url: str,
    *,
    until_s: float,
    content: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, httpx.Headers, bytes]:
    """Send a request; gives the answer's status, headers and body.

    Args:
        http: what sends it.
        method: of the request.
        url: of the request.
        until_s: when all must be over, on `time.monotonic`'s clock.
        content: the body.
        headers: besides those of httpx.

    Raises:
        httpx.HTTPError: no answer came, or not all of it in time.
    """
    with http.stream(
        method, url, content=content, headers=headers, extensions={"timeout": _TimeLeft(until_s)}
    ) as response:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            # Each chunk may take what was left before it: an answer that drips must not go on for ever.
            if time.monotonic() > until_s:
                raise httpx.ReadTimeout("the answer is not whole yet")
    return response.status_code, response.headers, bytes(body)


def failure(error: httpx.HTTPError | httpx.InvalidURL, url: str, timeout_s: float) -> ClassifierError:
    """The client's error for an attempt that brought no answer: whatever may pass is `Unavailable`."""
    if isinstance(error, httpx.TimeoutException):
        return too_slow(url, timeout_s)
    reason = " ".join(str(error).split()) or type(error).__name__
    passes = isinstance(error, httpx.TransportError) and not isinstance(
        error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
    )
    kind = Unavailable if passes else ClassifierError
    return kind(f"{url} cannot be asked: {reason}", code="no_connection")


def too_slow(url: str, timeout_s: float) -> Unavailable:
    """The error for an attempt whose time is over."""
    return Unavailable(f"{url} did not answer within {timeout_s:.3g} s", code="timeout")


class _TimeLeft(dict[str, float]):
    """Timeouts for httpx's phases (connect, write, read, pool), each what is left of the whole when it begins.

    https://www.python-httpx.org/advanced/extensions/#timeout
    """

    def __init__(self, until_s: float) -> None:
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool"), until_s - time.monotonic()))
        self._until_s = until_s

    def get(self, phase: str, default: Any = None) -> Any:  # noqa: ARG002 - dict's
        return max(self._until_s - time.monotonic(), 0.001)
