"""Access tokens for Google's API, from a function or from google-auth's credentials, which are not imported."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tunelane_serving.client.errors import ClassifierError, InvalidInput, NotAllowed, Unavailable
from tunelane_serving.client.retrying import parse_retry_after
from tunelane_serving.client.transport import httpx, send, too_slow

# After these google-auth waits and asks again, however little time there is: the client's own repetitions come instead.
_PASSING = (408, 429, 500, 503)


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


def token_source(credentials: GoogleCredentials | None, token: Callable[[], str] | None) -> Callable[[float], str]:
    """A function that gives a valid access token, and may block for as many seconds as it is passed.

    Threads may share it.

    Args:
        credentials: refreshed when they are no longer valid.
        token: called for every attempt, so it keeps its token as long as that is valid; its time is its own.

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
        give = token
        return lambda _: give()
    return _Refreshed(credentials)


class _Refreshed:
    def __init__(self, credentials: GoogleCredentials) -> None:
        self._credentials = credentials
        self._turn = threading.Lock()

    def __call__(self, timeout_s: float) -> str:
        until_s = time.monotonic() + timeout_s
        if not self._turn.acquire(timeout=timeout_s):
            raise too_slow("Google's token server", timeout_s)
        try:
            if not self._credentials.valid:
                self._refresh(until_s)
            return self._credentials.token or ""
        finally:
            self._turn.release()

    def _refresh(self, until_s: float) -> None:
        try:
            self._credentials.refresh(_Sender(until_s))
        except (httpx.HTTPError, ClassifierError):
            raise
        except Exception as error:
            # Of a package that is not imported here; all of them mean that there is no token.
            reason = " ".join(str(error).split())
            if getattr(error, "retryable", False):
                raise Unavailable(f"Google gives no access token now: {reason}", code="no_token") from error
            raise NotAllowed(f"Google gives no access token: {reason}", code="no_token") from error


@dataclass(frozen=True)
class _Response:
    """An answer as google-auth wants it."""

    status: int
    headers: httpx.Headers
    data: bytes


class _Sender:
    """Sends requests for google-auth, until a time is over: its `transport.Request`.

    https://googleapis.dev/python/google-auth/latest/reference/google.auth.transport.html
    """

    def __init__(self, until_s: float) -> None:
        self._until_s = until_s

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Response:
        until_s = self._until_s if timeout is None else min(self._until_s, time.monotonic() + timeout)
        with httpx.Client() as http:
            answer = _Response(*send(http, method, url, until_s=until_s, content=body, headers=headers))
        if answer.status in _PASSING:
            raise Unavailable(
                f"Google gives no access token now: {url} answered with {answer.status}",
                status=answer.status,
                code="no_token",
                retry_after_s=parse_retry_after(answer.headers.get("retry-after"), datetime.now(UTC)),
            )
        return answer
