"""Secret Manager, as far as it gives a version of a secret.

https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

import base64
import re
from collections.abc import Callable
from typing import Any

from tests.cloud.bench.api import Api
from tests.cloud.bench.errors import ApiError
from tests.cloud.bench.faults import Call
from tests.cloud.bench.rest_door import Answer, Exchange, as_json

_ACCESS = re.compile(r"/v1/(projects/[^/]+/secrets/([^/]+)/versions/([^/]+)):access")


class SecretVersions:
    """Versions by the secret's id, the first one first. A version that is None is disabled."""

    def __init__(self, api: Api, check_bearer: Callable[[str], None]) -> None:
        self._api = api
        self._check_bearer = check_bearer
        self.versions: dict[str, list[bytes | None]] = {}

    def reset(self) -> None:
        self.versions.clear()

    def answer(self, exchange: Exchange) -> Answer:
        """Answer a client."""
        call = Call("AccessSecretVersion", {"path": exchange.path}, "rest", exchange.host)
        given: Answer = self._api.answered(call, "secretmanager", lambda: self._access(exchange))
        return given

    def _access(self, exchange: Exchange) -> Answer:
        self._check_bearer(exchange.headers.get("authorization", ""))
        match = _ACCESS.fullmatch(exchange.path)
        if match is None or exchange.verb != "GET":
            self._api.unknown.append(f"{exchange.verb} https://{exchange.host}{exchange.path}")
            raise ApiError("NOT_FOUND", "No such method.")
        name, secret, version = match.groups()
        kept = self.versions.get(secret, [])
        number = len(kept) if version == "latest" else int(version)
        if not 0 < number <= len(kept):
            raise ApiError("NOT_FOUND", f"Secret Version [{name}] not found.")
        content = kept[number - 1]
        if content is None:
            raise ApiError("FAILED_PRECONDITION", f"Secret Version [{name}] is in DISABLED state.")
        found: dict[str, Any] = {"name": name, "payload": {"data": base64.b64encode(content).decode()}}
        return as_json(found)
