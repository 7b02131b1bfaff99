"""`GET /`, `GET /docs`, `GET /openapi.json`: what a person looks at."""

from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.server.operation import Operation
from tunelane_serving.server.services import Services


async def index(_: Request, __: Services) -> Response:
    """Answer `GET /`."""
    from tunelane_serving.server.pages import HEADERS, INDEX

    return Response(INDEX, headers=HEADERS, media_type="text/html")


async def docs(_: Request, __: Services) -> Response:
    """Answer `GET /docs`."""
    from tunelane_serving.server.pages import DOCS, HEADERS

    return Response(DOCS, headers=HEADERS, media_type="text/html")


async def openapi(_: Request, __: Services) -> Response:
    """Answer `GET /openapi.json`."""
    return Response(_document(), media_type="application/json")


@cache
def _document() -> bytes:
    """Made when it is first asked for: a cold start has no use for it."""
    import msgspec

    from tunelane_serving.server.openapi import document
    from tunelane_serving.server.routes.all import OPERATIONS as EVERYTHING

    return msgspec.json.encode(document(EVERYTHING))


OPERATIONS = (
    Operation(
        method="GET",
        path="/",
        handler=index,
        summary="The page: try the model, see how it does",
        tag="Pages",
        media_type="text/html",
    ),
    Operation(
        method="GET", path="/docs", handler=docs, summary="This documentation", tag="Pages", media_type="text/html"
    ),
    Operation(method="GET", path="/openapi.json", handler=openapi, summary="The OpenAPI document", tag="Pages"),
)
