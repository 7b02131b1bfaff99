"""httpx, and what its errors mean for a call."""

from typing import TYPE_CHECKING

from tunelane_serving.client.errors import ClassifierError, Unavailable

if TYPE_CHECKING:
    import httpx
else:
    try:
        import httpx
    except ImportError as error:
        raise ImportError("tunelane_serving.client needs httpx. Run: pip install 'tunelane[client]'") from error

__all__ = ["failure", "httpx", "too_slow"]


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
