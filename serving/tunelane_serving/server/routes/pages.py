"""`GET /`, `GET /docs`, `GET /openapi.json`: what a person looks at."""

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


async def openapi(request: Request, _: Services) -> Response:
    """Answer `GET /openapi.json`; the application knows all operations."""
    return Response(request.app.state.openapi(), media_type="application/json")


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
