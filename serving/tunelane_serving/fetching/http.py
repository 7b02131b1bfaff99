"""HTTP for what is fetched: requests are tried again, and broken downloads go on where they stopped."""

import http.client
import json
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO

from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.fetching.shown import shown

_ATTEMPTS = 6
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 20
_LONGEST_ERROR_BYTES = 1 << 16
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
# A server that goes away in the middle is an OSError or an HTTPException, by the moment.
_BROKEN = (OSError, http.client.HTTPException)


class HttpFailure(TunelaneError):
    """A request that got no answer, or one that says no. `status` is None where there was no answer."""

    def __init__(self, message: str, *, status: int | None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status in _TRANSIENT_STATUS


@dataclass(frozen=True)
class HttpAnswer:
    """What a server answered."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> dict[str, Any]:
        """Decode the body, which must be a JSON object; raises TunelaneError where it is none."""
        try:
            content = json.loads(self.body)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise TunelaneError("the server answered with something that is not a JSON object; is the address right?")
        return content


class Patience:
    """How often to try again, and how long to wait before: exponential backoff with jitter, or what the server asks."""

    def __init__(self, attempts: int = _ATTEMPTS, sleep: Callable[[float], None] = time.sleep) -> None:
        self._attempts, self._sleep, self._failures = attempts, sleep, 0

    def after(self, failure: HttpFailure) -> None:
        """Wait before the next attempt, or raise `failure` where it is final or the last."""
        self._failures += 1
        if not failure.transient or self._failures >= self._attempts:
            raise failure
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311
        asked_s = failure.retry_after_s
        self._sleep(min(asked_s, _LONGEST_PAUSE_S) if asked_s is not None else pause_s)

    def renew(self) -> None:
        """Count from the start: something was achieved."""
        self._failures = 0


@dataclass
class _Arrived:
    """What has come of a download so far, and of which version it is."""

    stream: BinaryIO
    etag: str = ""


class Http:
    """Requests by `urllib`, which honours the proxies and certificates (`SSL_CERT_FILE`) of the environment.

    Args:
        redirects: whether to follow redirects, from https to https alone. Not with credentials, which would go along.
        proxies: whether to honour the environment's proxies.
        attempts: how often a request is made before its failure is final.
        timeout_s: how long the server may be silent.
        sleep: what waits between attempts.
    """

    def __init__(
        self,
        *,
        redirects: bool = False,
        proxies: bool = True,
        attempts: int = _ATTEMPTS,
        timeout_s: float = _TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            _HttpsRedirects() if redirects else _NoRedirects(),
        ]
        if not proxies:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._attempts, self._timeout_s, self._sleep = attempts, timeout_s, sleep

    def patience(self) -> Patience:
        """Give a count of attempts for something that takes several requests."""
        return Patience(self._attempts, self._sleep)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpAnswer:
        """Send a request that may be sent twice, and try again where it fails for a while.

        Raises:
            HttpFailure: the server cannot be reached, or answers with an error.
            InputError: `url` is no address, or nobody vouches for the server.
        """
        patience = self.patience()
        while True:
            try:
                return self.send_once(method, url, headers=headers, body=body)
            except HttpFailure as failure:
                patience.after(failure)

    def send_once(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpAnswer:
        """Send one request; raises HttpFailure as `send` does. A 308, which uploads answer with, is an answer."""
        try:
            with self._open(method, url, headers, body) as response:
                return HttpAnswer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.PERMANENT_REDIRECT:
                with error:
                    return HttpAnswer(error.code, error.headers, error.read(_LONGEST_ERROR_BYTES))
            raise _refused(url, error) from error
        except _BROKEN as error:
            raise _broken(url, error) from error

    def download(
        self,
        url: str,
        target: Path,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        size_bytes: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """Write what `url` gives to the file `target`; where the connection breaks, go on from there.

        Args:
            url: what to get.
            target: a file to be written; on failure it holds a part.
            headers: gives the headers of each request (a token may have to be renewed in between).
            size_bytes: how long it is, where that is known beforehand.
            max_bytes: a longer one is refused.

        Raises:
            HttpFailure: the server cannot be reached, or answers with an error.
            InputError: `url` is no address, or what is there is longer than `max_bytes` or not as long as was said.
            OSError: `target` cannot be written.
        """
        patience = self.patience()
        with target.open("wb") as stream:
            arrived = _Arrived(stream)
            while True:
                start = stream.tell()
                try:
                    expected = self._download_part(url, arrived, headers(), max_bytes)
                    expected = expected if size_bytes is None else size_bytes
                    if expected is None or stream.tell() == expected:
                        return
                    if stream.tell() > expected:
                        raise InputError(f"{shown(url)} is longer than the {expected} bytes it should have")
                    # The connection ended early, and urllib takes that for the end.
                    raise HttpFailure(f"{shown(url)}: the connection broke after {stream.tell()} bytes", status=None)
                except HttpFailure as failure:
                    if stream.tell() > start:
                        patience.renew()
                    patience.after(failure)

    def _download_part(
        self, url: str, arrived: _Arrived, headers: Mapping[str, str], max_bytes: int | None
    ) -> int | None:
        """Append what is missing to what has arrived; gives the whole length, where the server says it."""
        stream = arrived.stream
        start = stream.tell()
        asked = {**headers, "Accept-Encoding": "identity"}
        if start:
            asked["Range"] = f"bytes={start}-"
            # Only a strong ETag may be used so: RFC 9110, section 13.1.5.
            if arrived.etag and not arrived.etag.startswith("W/"):
                asked["If-Range"] = arrived.etag
        try:
            response = self._open("GET", url, asked, None)
        except urllib.error.HTTPError as error:
            if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                stream.seek(0)
                stream.truncate()
                raise HttpFailure(f"{shown(url)}: has changed while it was read", status=None) from error
            raise _refused(url, error) from error
        except _BROKEN as error:
            raise _broken(url, error) from error
        with response:
            if start and not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
                # It knows no ranges, or what lies there has changed: from the beginning.
                start = 0
                stream.seek(0)
                stream.truncate()
            # Before the body: where that breaks off, the rest must be of the same version.
            arrived.etag = response.headers.get("ETag") or ""
            length = _content_length(url, response.headers)
            whole = start + length if length is not None else None
            _require_short(url, whole or 0, max_bytes)
            while chunk := _next_chunk(url, response):
                stream.write(chunk)
                _require_short(url, stream.tell(), max_bytes)
            return whole

    def _open(self, method: str, url: str, headers: Mapping[str, str] | None, body: bytes | None) -> Any:
        try:
            # urllib would read file:// too, which no caller lets through.
            request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)  # noqa: S310
            if not request.host:
                raise ValueError("no host")
            return self._opener.open(request, timeout=self._timeout_s)
        except (ValueError, http.client.InvalidURL) as error:
            raise InputError(
                f"{shown(url)!a} is no address. Check it, and percent-encode spaces and what is not ASCII."
            ) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: the redirect is then raised as an HTTPError."""


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """Follow from https to https; anything else is then raised as an HTTPError."""
        if not newurl.startswith("https://"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _next_chunk(url: str, response: Any) -> bytes:
    """Read on. Apart from writing: a full disk is no broken connection, and asking again does not mend it."""
    try:
        chunk: bytes = response.read(_CHUNK_BYTES)
    except _BROKEN as error:
        raise _broken(url, error) from error
    return chunk


def _content_length(url: str, headers: Message) -> int | None:
    """Give the length of a body where the server says it."""
    length = headers.get("Content-Length")
    if length is None:
        return None
    if not length.strip().isdecimal():
        raise InputError(f"{shown(url)}: the server says that it has {length!r} bytes. Fetch it from another place.")
    return int(length)


def _require_short(url: str, size_bytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size_bytes > max_bytes:
        raise InputError(f"{shown(url)} has more than {max_bytes} bytes, which is more than a model package may have")


def _refused(url: str, error: urllib.error.HTTPError) -> HttpFailure:
    """Turn an error answer into a failure whose message has the reason that Google's APIs give as JSON."""
    with error:
        try:
            content = json.loads(error.read(_LONGEST_ERROR_BYTES))
            reason = content["error"]["message"]
        except (ValueError, KeyError, TypeError, *_BROKEN):
            reason = error.reason
    try:
        retry_after_s = max(float(error.headers.get("Retry-After") or ""), 0.0)
    except ValueError:
        retry_after_s = None
    return HttpFailure(
        f"{shown(url)}: {error.code} {' '.join(str(reason).split())}", status=error.code, retry_after_s=retry_after_s
    )


def _broken(url: str, error: Exception) -> TunelaneError:
    """Turn a connection that failed into a failure, which is final where it is for the server's certificate."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return InputError(f"{shown(url)}: its certificate is not trusted: {reason.verify_message}; set SSL_CERT_FILE")
    words = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason) or type(reason).__name__
    return HttpFailure(f"{shown(url)}: {' '.join(str(words).split())}", status=None)
