"""API keys: who may do what, and how often."""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from tunelane_serving.errors import InputError
from tunelane_serving.problems import Forbidden, RateLimited, Unauthorized

# What a key may be good for: answers and features; outcomes; reading what was recorded; uploads and stages.
Right = Literal["predict", "feedback", "monitor", "manage"]


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key as the operator writes it down: by its SHA-256, so that the list is no secret.

    `requests_per_minute` is also how many may come at once; None sets no bound.
    """

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    rights: tuple[Right, ...]
    requests_per_minute: Annotated[int, Meta(ge=1)] | None = None


def read_keys(content: bytes, where: str) -> "ApiKeys":
    """Read a JSON list of keys.

    Raises:
        InputError: it is no such list, or two keys share a name or a digest.
    """
    try:
        keys = msgspec.json.decode(content, type=list[ApiKey])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f'{where}: {error}; API keys are a JSON list of {{"name", "sha256", "rights", "requests_per_minute"}}'
        ) from error
    if len({key.name for key in keys}) != len(keys) or len({key.sha256 for key in keys}) != len(keys):
        raise InputError(f"{where}: a name or a key stands twice")
    if not keys:
        raise InputError(f"{where}: there is no key in it; leave the option away to serve without keys")
    return ApiKeys(keys)


class ApiKeys:
    """The keys of a server, and what each has used. Without any, everything but management is open."""

    def __init__(self, keys: Sequence[ApiKey] = ()) -> None:
        self._keys = tuple(keys)
        self._buckets = {key.name: _Bucket(key.requests_per_minute) for key in keys if key.requests_per_minute}

    def require(self, request: Request, right: Right) -> None:
        """Let a request pass that may do this.

        The key stands in `X-API-Key`, or in `Authorization` as a bearer token.

        Raises:
            Unauthorized: there is no key, or nobody has it.
            Forbidden: the key is not good for this, or management is off.
            RateLimited: the key has used up its requests.
        """
        if not self._keys:
            if right == "manage":
                raise Forbidden("Managing models is off: this server has no API keys; start it with --api-keys FILE")
            return
        key = self._find(_presented(request.headers))
        if right not in key.rights:
            raise Forbidden(f"The key {key.name!r} is not good for {right!r}")
        bucket = self._buckets.get(key.name)
        if bucket is not None and (wait_s := bucket.take(time.monotonic())):
            raise RateLimited(
                f"The key {key.name!r} has {key.requests_per_minute} requests a minute, and they are used up",
                retry_after_s=wait_s,
            )

    def _find(self, presented: str) -> ApiKey:
        digest = hashlib.sha256(presented.encode()).hexdigest()
        # Every key is compared, wholly: how long it takes tells nothing.
        found = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not found:
            raise Unauthorized("Send an API key of this server in X-API-Key, or as a bearer token in Authorization")
        return found[0]


def _presented(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")


class _Bucket:
    """A token bucket: full at first, refilled evenly."""

    def __init__(self, requests_per_minute: int) -> None:
        self._size = float(requests_per_minute)
        self._left = self._size
        self._rate_per_s = requests_per_minute / 60
        self._filled_at_s: float | None = None

    def take(self, now_s: float) -> float:
        """Take one; gives 0, or how many seconds from now there is one."""
        passed_s = now_s - (self._filled_at_s if self._filled_at_s is not None else now_s)
        self._filled_at_s = now_s
        self._left = min(self._size, self._left + passed_s * self._rate_per_s)
        if self._left < 1:
            return (1 - self._left) / self._rate_per_s
        self._left -= 1
        return 0.0
