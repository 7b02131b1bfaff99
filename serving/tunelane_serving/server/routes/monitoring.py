"""`POST /feedback`, `GET /monitoring/…`: what was answered, whether it was right, and whether the texts change."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.problems import DatabaseAway, InvalidRequest, NotFound, NotReady
from tunelane_serving.server.operation import Operation, decode_body, decode_query, json_response, read_body
from tunelane_serving.server.services import Services, required_database
from tunelane_serving.server.wire import (
    Drift,
    Event,
    Events,
    FeedbackReceipt,
    FeedbackRequest,
    ModelId,
    MonitoringMetrics,
    Version,
)

_DEFAULT_RANGE_S = 24 * 3600.0
# Well above the 3 and 5 s after which a database that refuses is given up: this is for one that says nothing.
_FEEDBACK_TIMEOUT_S = 10.0
_Since = Annotated[datetime, Meta(tz=True, description="Start of the range; without it, 24 hours before its end.")]
_Until = Annotated[datetime, Meta(tz=True, description="End of the range, not in it; without it, now.")]


class TimeRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which events: of a model, of a version, and of when. The last 24 hours where nothing is said."""

    model: Annotated[ModelId, Meta(description="Of this model alone.")] | None = None
    model_version: (
        Annotated[str, Meta(max_length=64, description="Of this version alone; empty for a model without versions.")]
        | None
    ) = None
    since: _Since | None = None
    until: _Until | None = None


class EventsQuery(TimeRange, frozen=True):
    """Query of `GET /monitoring/events`; `cursor` is an earlier answer's `nextCursor`."""

    status: Annotated[Literal["ok", "error"], Meta(description="Answered ones, or failed ones.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="Most events in the answer.")] = 100
    cursor: (
        Annotated[str, Meta(max_length=256, description="An answer's `nextCursor`, for the events after those.")] | None
    ) = None


class MetricsQuery(TimeRange, frozen=True):
    """Query of `GET /monitoring/metrics`: into how many equal stretches the range is cut."""

    buckets: Annotated[int, Meta(ge=1, le=500, description="Into how many equal stretches the range is cut.")] = 24


class DriftQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Query of `GET /monitoring/drift`: one model version, without a name the one that serves."""

    model: Annotated[ModelId, Meta(description="A model; without it, the one that serves.")] | None = None
    model_version: (
        Annotated[Version, Meta(description="Its version; without it, the one in production or the newest.")] | None
    ) = None
    since: _Since | None = None
    until: _Until | None = None
    minimum_events: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Fewer events say nothing: the status is `too_few_events`.")
    ] = 100
    alpha: Annotated[
        float,
        Meta(ge=1e-3, lt=1, description="How often a distribution may be called drifted although nothing changed."),
    ] = 0.01


async def give_feedback(request: Request, services: Services) -> Response:
    """Answer `POST /feedback`, once it is durable."""
    body = decode_body(await read_body(request, services.limits.max_body_bytes), FeedbackRequest)
    database = required_database(services)
    from tunelane_serving.monitoring.feedback import give_feedback as store

    now_s = time.time()
    storing = asyncio.to_thread(
        store, database, inference_id=body.inference_id, outcome=body.outcome, correct=body.correct, now_s=now_s
    )
    try:
        async with asyncio.timeout(_FEEDBACK_TIMEOUT_S):
            await storing
    except TimeoutError as error:
        message = "The database does not answer in time; the feedback may be lost, and may be given again"
        raise DatabaseAway(message, retry_after_s=5) from error
    return json_response(FeedbackReceipt(body.inference_id, datetime.fromtimestamp(now_s, UTC)))


async def list_events(request: Request, services: Services) -> Response:
    """Answer `GET /monitoring/events`."""
    query = decode_query(request, EventsQuery)
    since_s, until_s = _range(query.since, query.until)
    database = required_database(services)
    from tunelane_serving.monitoring.event_pages import events

    found, next_cursor = await asyncio.to_thread(
        events,
        database,
        model=query.model,
        version=query.model_version,
        since_s=since_s,
        until_s=until_s,
        status=query.status,
        limit=query.limit,
        cursor=query.cursor,
    )
    return json_response(
        Events(tuple(msgspec.convert(event, Event, from_attributes=True) for event in found), next_cursor)
    )


async def measure(request: Request, services: Services) -> Response:
    """Answer `GET /monitoring/metrics`."""
    query = decode_query(request, MetricsQuery)
    since_s, until_s = _range(query.since, query.until)
    database = required_database(services)
    from tunelane_serving.monitoring.figures import metrics

    found = await asyncio.to_thread(
        metrics,
        database,
        model=query.model,
        version=query.model_version,
        since_s=since_s,
        until_s=until_s,
        buckets=query.buckets,
    )
    return json_response(msgspec.convert(found, MonitoringMetrics, from_attributes=True))


async def drift(request: Request, services: Services) -> Response:
    """Answer `GET /monitoring/drift`."""
    query = decode_query(request, DriftQuery)
    since_s, until_s = _range(query.since, query.until)
    database = required_database(services)
    served = await services.catalog.find(query.model, query.model_version)
    from tunelane_serving.server.drift_watch import measure_served

    return json_response(
        await asyncio.to_thread(
            measure_served,
            database,
            served,
            since_s=since_s,
            until_s=until_s,
            minimum_events=query.minimum_events,
            alpha=query.alpha,
        )
    )


def _range(since: datetime | None, until: datetime | None) -> tuple[float, float]:
    """Give the range in seconds since the epoch; raises InvalidRequest where it is empty."""
    until_s = until.timestamp() if until is not None else time.time()
    since_s = since.timestamp() if since is not None else until_s - _DEFAULT_RANGE_S
    if since_s >= until_s:
        raise InvalidRequest("since must be before until")
    return since_s, until_s


OPERATIONS = (
    Operation(
        method="POST",
        path="/feedback",
        handler=give_feedback,
        summary="Say what the right answer was",
        description="Answered once it is durable. It may come before its event, or at another instance; the newest "
        "feedback of an inference counts.",
        tag="Monitoring",
        body=FeedbackRequest,
        answer=FeedbackReceipt,
        problems=(DatabaseAway,),
        needs_database=True,
        right="feedback",
        example={"inferenceId": "{{inferenceId}}", "outcome": "positive"},
    ),
    Operation(
        method="GET",
        path="/monitoring/events",
        handler=list_events,
        summary="Inference events, the newest first, feedback joined",
        tag="Monitoring",
        query=EventsQuery,
        answer=Events,
        problems=(InvalidRequest, DatabaseAway),
        needs_database=True,
        right="monitor",
    ),
    Operation(
        method="GET",
        path="/monitoring/metrics",
        handler=measure,
        summary="Traffic, latency, confidence and accuracy of a time range",
        tag="Monitoring",
        query=MetricsQuery,
        answer=MonitoringMetrics,
        problems=(InvalidRequest, DatabaseAway),
        needs_database=True,
        right="monitor",
    ),
    Operation(
        method="GET",
        path="/monitoring/drift",
        handler=drift,
        summary="Live distributions against the package's reference",
        tag="Monitoring",
        query=DriftQuery,
        answer=Drift,
        problems=(InvalidRequest, NotFound, NotReady, DatabaseAway),
        needs_database=True,
        right="monitor",
    ),
)
