"""`/features/{entity}`: the feature store."""

import asyncio
import time
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.problems import DatabaseAway, NotFound
from tunelane_serving.server.operation import Operation, decode_body, json_response, path_value, read_body
from tunelane_serving.server.services import Services, required_database
from tunelane_serving.server.wire import EntityId, Features, FeaturesRequest


async def set_entity_features(request: Request, services: Services) -> Response:
    """Answer `POST /features/{entity}`."""
    entity_id = path_value(request, "entity", EntityId)
    body = decode_body(await read_body(request, services.limits.max_body_bytes), FeaturesRequest)
    database = required_database(services)
    from tunelane_serving.database.feature_store import set_features

    features, updated_at_s = await asyncio.to_thread(set_features, database, entity_id, body.features, time.time())
    return json_response(Features(entity_id, features, datetime.fromtimestamp(updated_at_s, UTC)))


async def get_entity_features(request: Request, services: Services) -> Response:
    """Answer `GET /features/{entity}`."""
    entity_id = path_value(request, "entity", EntityId)
    database = required_database(services)
    from tunelane_serving.database.feature_store import get_features

    features, updated_at_s = await asyncio.to_thread(get_features, database, entity_id)
    return json_response(Features(entity_id, features, datetime.fromtimestamp(updated_at_s, UTC)))


OPERATIONS = (
    Operation(
        method="POST",
        path="/features/{entity}",
        handler=set_entity_features,
        summary="Set features of an entity; null removes one",
        tag="Features",
        path_types={"entity": EntityId},
        body=FeaturesRequest,
        answer=Features,
        problems=(DatabaseAway,),
        needs_database=True,
        right="predict",
        example={"features": {"text": "it was a good film", "age": 3}},
        path_example={"entity": "user-17"},
    ),
    Operation(
        method="GET",
        path="/features/{entity}",
        handler=get_entity_features,
        summary="What is stored of an entity",
        tag="Features",
        path_types={"entity": EntityId},
        answer=Features,
        problems=(NotFound, DatabaseAway),
        needs_database=True,
        right="predict",
        path_example={"entity": "user-17"},
    ),
)
