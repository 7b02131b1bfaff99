"""`POST /predict`, `POST /batch_predict`."""

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.models.model import Item
from tunelane_serving.problems import InvalidRequest, NotKept
from tunelane_serving.server.answering import Asked, predict, predict_all, while_connected
from tunelane_serving.server.inputs import (
    MODEL_PROBLEMS,
    TEXT_ALONE,
    check_texts,
    given_item,
    require_text_model,
    text_or_features,
)
from tunelane_serving.server.operation import Operation, decode_body, json_response, read_body
from tunelane_serving.server.requests import request_id
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services, required_database
from tunelane_serving.server.wire import BatchPrediction, BatchPredictRequest, Prediction, PredictRequest


async def predict_one(request: Request, services: Services) -> Response:
    """Answer `POST /predict`."""
    arrived_s = time.perf_counter()
    body = decode_body(await read_body(request, services.limits.max_body_bytes), PredictRequest)
    served = await services.catalog.find(body.model_id, body.version)
    item = await _item(services, served, body)
    asked = Asked(request_id(request), arrived_s, body.user_id, body.session_id)
    return json_response(await while_connected(request, services, predict(services, served, item, asked)))


async def predict_batch(request: Request, services: Services) -> Response:
    """Answer `POST /batch_predict`."""
    arrived_s = time.perf_counter()
    body = decode_body(await read_body(request, services.limits.max_body_bytes), BatchPredictRequest)
    check_texts(body.texts, services.limits)
    served = await services.catalog.find(body.model_id, body.version)
    require_text_model(served)
    asked = Asked(request_id(request), arrived_s, body.user_id, body.session_id)
    work = predict_all(services, served, body.texts, asked)
    return json_response(BatchPrediction(await while_connected(request, services, work, items=len(body.texts))))


async def _item(services: Services, served: Served, body: PredictRequest) -> Item:
    if body.entity_id is None:
        return given_item(served, body, services.limits)
    if body.text is not None:
        raise InvalidRequest(TEXT_ALONE)
    database = required_database(services)
    from tunelane_serving.database.feature_store import get_features

    stored, _ = await asyncio.to_thread(get_features, database, body.entity_id)
    # Those that the model does not take are other models' business.
    taken = {"text"} if served.is_text_model else {tensor.name for tensor in served.model.manifest.inputs}
    features = {name: value for name, value in stored.items() if name in taken} | (body.features or {})
    return text_or_features(served, features, services.limits)


PREDICT = Operation(
    method="POST",
    path="/predict",
    handler=predict_one,
    summary="Answer one text, or one set of features",
    tag="Predictions",
    body=PredictRequest,
    answer=Prediction,
    problems=(*MODEL_PROBLEMS, NotKept),
    right="predict",
    example={"text": "it was a good film"},
)

OPERATIONS = (
    PREDICT,
    Operation(
        method="POST",
        path="/batch_predict",
        handler=predict_batch,
        summary="Answer several texts, all by one model version",
        tag="Predictions",
        body=BatchPredictRequest,
        answer=BatchPrediction,
        problems=MODEL_PROBLEMS,
        right="predict",
        example={"texts": ["it was a good film", "it was a bad film"]},
    ),
)
