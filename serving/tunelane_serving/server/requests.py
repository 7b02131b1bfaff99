"""What every request has: an id, which stands in its answer, its event and the log."""

import re

from starlette.requests import Request
from starlette.types import Scope

from tunelane_serving.server.ids import new_request_id

# Where the application keeps it.
REQUEST_ID = "tunelane.request_id"

_USABLE = re.compile(rb"[\x21-\x7e]{1,128}")


def choose_request_id(scope: Scope) -> str:
    """Give the caller's `X-Request-Id` where it is one that a log can carry, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _USABLE.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()


def request_id(request: Request) -> str:
    """Give the request's id."""
    return str(request.scope[REQUEST_ID])
