"""`POST /predict`, `POST /batch_predict`."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.models.model import Item
from tunelane_serving.problems import (
    DatabaseAway,
    FeaturesMismatch,
    InferenceTimeout,
    InvalidRequest,
    NotFound,
    NotKept,
    NotReady,
    Overloaded,
)
from tunelane_serving.server.answering import Asked, predict, predict_all, while_connected
from tunelane_serving.server.limits import Limits
from tunelane_serving.server.operation import Operation, decode_body, json_response, read_body
from tunelane_serving.server.requests import request_id
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import BatchPrediction, BatchPredictRequest, Prediction, PredictRequest

# What every operation that runs a model may answer.
MODEL_PROBLEMS = (FeaturesMismatch, NotFound, NotReady, Overloaded, InferenceTimeout, DatabaseAway)

_TEXT_ALONE = "Give a text, or features, or an entityId; a text goes with neither of the others"


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


def check_texts(texts: Sequence[str], limits: Limits, *, what: str = "texts") -> None:
    """Raise InvalidRequest where there are no texts, too many, or one that is empty or too long."""
    if not texts:
        raise InvalidRequest("There is no text to classify; give at least one")
    if len(texts) > limits.max_texts:
        raise InvalidRequest(f"{len(texts)} {what}; at most {limits.max_texts} go in one request")
    for position, text in enumerate(texts):
        place = f"{what}[{position}]" if len(texts) > 1 else "The text"
        if not text.strip():
            raise InvalidRequest(f"{place} is empty")
        if len(text) > limits.max_text_chars:
            raise InvalidRequest(f"{place} has {len(text)} characters; at most {limits.max_text_chars} are taken")


def require_text_model(served: Served) -> None:
    """Raise FeaturesMismatch where a model takes no texts."""
    if not served.is_text_model:
        names = ", ".join(tensor.name for tensor in served.model.manifest.inputs)
        raise FeaturesMismatch(f"{served.name} takes no text; it takes features: {names}")


def text_or_features(served: Served, features: Mapping[str, Any], limits: Limits) -> Item:
    """Give what the model takes of `features`: the text of a text model stands in the feature `text`.

    Raises:
        FeaturesMismatch: a text model's features have no text.
        InvalidRequest: the text is empty or too long.
    """
    if not served.is_text_model:
        return features
    text = features.get("text")
    if not isinstance(text, str):
        raise FeaturesMismatch(f"{served.name} takes a text; give it as the feature 'text'")
    check_texts([text], limits)
    return text


def given_item(served: Served, body: PredictRequest, limits: Limits) -> Item:
    """Give what the model takes of a body without `entityId`.

    Raises:
        InvalidRequest: it has neither a text nor features, or both; or the text is empty or too long.
        FeaturesMismatch: the model takes the other one.
    """
    if body.text is None:
        if body.features is None:
            raise InvalidRequest("Give a text, or features, or the entityId whose features are stored")
        return text_or_features(served, body.features, limits)
    if body.features is not None:
        raise InvalidRequest(_TEXT_ALONE)
    check_texts([body.text], limits)
    require_text_model(served)
    return body.text


async def _item(services: Services, served: Served, body: PredictRequest) -> Item:
    if body.entity_id is None:
        return given_item(served, body, services.limits)
    if body.text is not None:
        raise InvalidRequest(_TEXT_ALONE)
    if services.database is None:
        raise NotKept("This server keeps no features; start it with --database URL")
    from tunelane_serving.features import get_features

    stored, _ = await asyncio.to_thread(get_features, services.database, body.entity_id)
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
