"""Access tokens for Google's API, from a function or from google-auth's credentials, which are not imported."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tunelane_serving.client.errors import InvalidInput, NotAllowed
from tunelane_serving.client.transport import httpx

_TIMEOUT_S = 10.0


class GoogleCredentials(Protocol):
    """What is needed of google-auth's `Credentials`."""

    @property
    def valid(self) -> bool:
        """Whether `token` can be used now."""
        ...

    @property
    def token(self) -> str | None:
        """The access token."""
        ...

    def refresh(self, request: Any) -> None:
        """Get a new token; `request` sends what that takes."""
        ...


def token_source(credentials: GoogleCredentials | None, token: Callable[[], str] | None) -> Callable[[], str]:
    """A function that gives a valid access token, and may block. Threads may share it.

    Args:
        credentials: refreshed when they are no longer valid.
        token: called for every attempt, so it keeps its token as long as that is valid.

    Raises:
        InvalidInput: both are given, or none.
    """
    if (credentials is None) == (token is None):
        raise InvalidInput(
            "Pass credentials (of google-auth, with the scope cloud-platform), or token: a function that gives an "
            "access token.",
            code="invalid_input",
        )
    if credentials is None:
        assert token is not None  # noqa: S101 - one of the two was given
        return token
    return _Refreshed(credentials)


class _Refreshed:
    def __init__(self, credentials: GoogleCredentials) -> None:
        self._credentials = credentials
        self._turn = threading.Lock()

    def __call__(self) -> str:
        with self._turn:
            if not self._credentials.valid:
                try:
                    self._credentials.refresh(_send)
                except httpx.HTTPError:
                    raise
                except Exception as error:
                    # Of a package that is not imported here; all of them mean that there is no token.
                    reason = " ".join(str(error).split())
                    raise NotAllowed(f"Google gives no access token: {reason}", code="no_token") from error
            return self._credentials.token or ""


@dataclass(frozen=True)
class _Response:
    """An answer as google-auth wants it."""

    status: int
    headers: httpx.Headers
    data: bytes


def _send(
    url: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
    timeout: float | None = None,
    **_: Any,
) -> _Response:
    """Send a request for google-auth: its `transport.Request` as a function.

    https://googleapis.dev/python/google-auth/latest/reference/google.auth.transport.html
    """
    response = httpx.request(method, url, content=body, headers=headers, timeout=timeout or _TIMEOUT_S)
    return _Response(response.status_code, response.headers, response.content)
