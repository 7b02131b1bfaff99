"""`GET /health`, `GET /health/ml`, `GET /metrics`."""

from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.models.model import Model
from tunelane_serving.server.operation import Operation, json_response
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import Health, HealthML, LoadedModel


async def health(_: Request, services: Services) -> Response:
    """Answer `GET /health`."""
    body = describe_health(services)
    return json_response(body, status=200 if body.ready else 503)


async def health_ml(_: Request, services: Services) -> Response:
    """Answer `GET /health/ml`."""
    return json_response(_describe_models(services))


async def metrics(_: Request, services: Services) -> Response:
    """Answer `GET /metrics`."""
    from tunelane_serving.server.exposition import CONTENT_TYPE, render

    return Response(render(services), media_type=CONTENT_TYPE)


def describe_health(services: Services) -> Health:
    """Say whether the server can answer, and with what. With no model of its own, its repository is enough."""
    served = services.source.current
    if served is None:
        return Health(
            live=True,
            ready=services.serves_repository_alone,
            reload_error=services.source.reload_error,
            mode=services.mode,
        )
    model = served.model
    return Health(
        live=True,
        ready=True,
        model=served.name,
        model_version=served.version,
        digest=model.digest,
        variant=model.variant,
        framework=model.manifest.framework,
        backend=_backend(model),
        fallback=served.is_fallback,
        fallback_reason=model.fallback_reason,
        reload_error=services.source.reload_error,
        mode=services.mode,
    )


def _backend(model: Model) -> str:
    """Name what runs the model, with its version."""
    framework = model.manifest.framework
    if framework == "rules":
        return "keyword rules"
    if framework == "onnx":
        return _with_version("onnxruntime")
    path = next(variant.path for variant in model.manifest.variants if variant.name == model.variant)
    return _with_version("ai-edge-litert" if path.endswith(".tflite") else "tensorflow")


@cache
def _with_version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:  # installed by another name, such as tensorflow-cpu
        return distribution


def _describe_models(services: Services) -> HealthML:
    served = services.source.current
    recorder = services.recorder
    reasons = [services.source.reload_error] if services.source.reload_error else []
    if served is not None and served.model.fallback_reason:
        reasons.append(served.model.fallback_reason)
    if recorder is not None and recorder.database_away:
        reasons.append("the database does not answer; events wait in the journal")
    usable = (served is not None) or services.serves_repository_alone
    drift = services.drift_watch.status if services.drift_watch is not None else "unknown"
    if drift == "drift":
        reasons.append("the texts differ from those that the model was judged on; see GET /monitoring/drift")
    return HealthML(
        status="unavailable" if not usable else "degraded" if reasons else "ok",
        models=tuple(_loaded_models(services, served)),
        workers=services.engine.scheduler.workers,
        queue_depth=services.engine.scheduler.waiting,
        events_waiting=recorder.waiting if recorder is not None else 0,
        events_in_journal=recorder.in_journal if recorder is not None else 0,
        events_dropped=recorder.dropped if recorder is not None else 0,
        database="none" if recorder is None else "away" if recorder.database_away else "ok",
        drift=drift,
        reasons=tuple(reasons),
    )


def _loaded_models(services: Services, served: Served | None) -> list[LoadedModel]:
    """List what is in memory: the one that serves first, then those of the repository by their names."""
    champion = [] if served is None else [_loaded(served, champion=True)]
    others = [_loaded(other, champion=False) for other in services.catalog.loaded()]
    return champion + [entry for entry in others if entry.digest not in {known.digest for known in champion}]


def _loaded(served: Served, *, champion: bool) -> LoadedModel:
    model = served.model
    return LoadedModel(
        model=served.name,
        model_version=served.version,
        digest=model.digest,
        framework=model.manifest.framework,
        task=model.manifest.task,
        variant=model.variant,
        size_bytes=model.size_bytes,
        champion=champion,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/health",
        handler=health,
        summary="Whether the server is live and ready, and with which model",
        tag="Health",
        answer=Health,
        statuses={503: Health},
    ),
    Operation(
        method="GET",
        path="/health/ml",
        handler=health_ml,
        summary="The loaded models, the queue, the events and the drift",
        tag="Health",
        answer=HealthML,
    ),
    Operation(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Everything counted, for Prometheus",
        tag="Health",
        media_type="text/plain",
    ),
)
