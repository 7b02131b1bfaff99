"""Vertex AI's custom-container contract: `{"instances": […], "parameters"}` to `{"predictions": […]}`.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements

The routes have these paths, and those that Vertex AI names in `AIP_PREDICT_ROUTE` and `AIP_HEALTH_ROUTE` besides.
"""

import time
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.models.model import Item
from tunelane_serving.problems import InvalidRequest
from tunelane_serving.server.answering import Asked, predict_all, while_connected
from tunelane_serving.server.inputs import MODEL_PROBLEMS, text_or_features
from tunelane_serving.server.operation import Operation, decode_body, json_response, read_body
from tunelane_serving.server.requests import request_id
from tunelane_serving.server.routes.health import health
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import NOT_EMPTY, CallerId, Health, Prediction, Text


class VertexParameters(msgspec.Struct, frozen=True, rename="camel"):
    """What goes for all instances. Parameters that are not known are left alone, as Vertex AI's clients expect."""

    user_id: CallerId = ""
    session_id: CallerId = ""


class VertexRequest(msgspec.Struct, frozen=True, rename="camel"):
    """Body of a prediction.

    Each instance is a text, or an object of features (of a text model: `text`), or `{"features": {…}}`, as in
    `POST /predict`.
    """

    instances: Annotated[list[Text | dict[str, Any]], NOT_EMPTY]
    parameters: VertexParameters | None = None


class VertexPredictions(msgspec.Struct, frozen=True, rename="camel"):
    """The answers in the order of the instances."""

    predictions: tuple[Prediction, ...]


async def predict_instances(request: Request, services: Services) -> Response:
    """Answer `POST /vertex/predict`."""
    arrived_s = time.perf_counter()
    body = decode_body(await read_body(request, services.limits.max_body_bytes), VertexRequest)
    if not body.instances:
        raise InvalidRequest("There is no instance; give at least one")
    if len(body.instances) > services.limits.max_texts:
        raise InvalidRequest(f"{len(body.instances)} instances; at most {services.limits.max_texts} go in one request")
    served = await services.catalog.find(None, None)
    items: list[Item] = [text_or_features(served, _features(instance), services.limits) for instance in body.instances]
    parameters = body.parameters or VertexParameters()
    asked = Asked(request_id(request), arrived_s, parameters.user_id, parameters.session_id)
    work = predict_all(services, served, items, asked)
    return json_response(VertexPredictions(await while_connected(request, services, work, items=len(items))))


def _features(instance: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(instance, str):
        return {"text": instance}
    inner = instance.get("features")
    return inner if len(instance) == 1 and isinstance(inner, dict) else instance


OPERATIONS = (
    Operation(
        method="POST",
        path="/vertex/predict",
        handler=predict_instances,
        summary="Predictions as Vertex AI asks for them",
        tag="Vertex AI",
        body=VertexRequest,
        answer=VertexPredictions,
        problems=MODEL_PROBLEMS,
        right="predict",
        example={"instances": [{"text": "it was a good film"}, "it was a bad film"]},
    ),
    Operation(
        method="GET",
        path="/vertex/health",
        handler=health,
        summary="Health as Vertex AI asks for it",
        tag="Vertex AI",
        answer=Health,
        statuses={503: Health},
    ),
)
