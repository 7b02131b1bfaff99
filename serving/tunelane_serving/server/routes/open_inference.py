"""The routes of the Open Inference Protocol, version 2, over HTTP, as KServe and Triton speak it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import asyncio
import functools
import logging
import time
from contextlib import suppress
from typing import Any, Literal

from msgspec import UNSET
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tunelane_serving.problems import InvalidRequest, NotFound, Problem
from tunelane_serving.server.answering import Asked, predict_all, while_connected
from tunelane_serving.server.inference_protocol import (
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    ModelReady,
    ProtocolError,
    Ready,
    ServerMetadata,
    inputs_of,
    items_of,
    output_tensors,
    outputs_of,
    platform_of,
)
from tunelane_serving.server.inputs import MODEL_PROBLEMS
from tunelane_serving.server.operation import Handler, Operation, decode_body, json_response, path_value, read_body
from tunelane_serving.server.requests import request_id
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import ModelId, Version

_log = logging.getLogger(__name__)


def _in_protocol(handler: Handler) -> Handler:
    """Answer what fails inside in the protocol's own shape, too."""

    @functools.wraps(handler)
    async def answered(request: Request, services: Services) -> Response:
        try:
            return await handler(request, services)
        except (ClientDisconnect, Problem):
            # The application answers these.
            raise
        except Exception:
            _log.exception("%s failed", request_id(request))
            return json_response(ProtocolError("The server failed on this request; its log says why"), status=500)

    return answered


async def server_metadata(_: Request, __: Services) -> Response:
    """Answer `GET /v2`."""
    from importlib.metadata import version

    return json_response(ServerMetadata("tunelane", version("tunelane")))


async def live(_: Request, __: Services) -> Response:
    """Answer `GET /v2/health/live`."""
    return json_response(Live(live=True))


async def ready(_: Request, services: Services) -> Response:
    """Answer `GET /v2/health/ready`."""
    is_ready = services.source.current is not None or services.serves_repository_alone
    return json_response(Ready(is_ready, live=is_ready), status=200 if is_ready else 503)


@_in_protocol
async def model_ready(request: Request, services: Services) -> Response:
    """Answer `GET /v2/models/{model_name}[/versions/{model_version}]/ready`."""
    served = await _find(request, services)
    return json_response(ModelReady(served.name, ready=True))


@_in_protocol
async def model_metadata(request: Request, services: Services) -> Response:
    """Answer `GET /v2/models/{model_name}[/versions/{model_version}]`."""
    served = await _find(request, services)
    return json_response(
        ModelMetadata(
            name=served.name,
            versions=await _versions(services, served),
            platform=platform_of(served),
            inputs=inputs_of(served),
            outputs=outputs_of(served),
        )
    )


@_in_protocol
async def infer(request: Request, services: Services) -> Response:
    """Answer `POST /v2/models/{model_name}[/versions/{model_version}]/infer`."""
    arrived_s = time.perf_counter()
    body = decode_body(await read_body(request, services.limits.max_body_bytes), InferRequest)
    served = await _find(request, services)
    known = [output.name for output in outputs_of(served)]
    wanted = [output.name for output in body.outputs] or known
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidRequest(f"There is no output {unknown[0]!r}; {served.name} gives {', '.join(known)}")
    items = items_of(served, body.inputs, services.limits)
    asked = Asked(body.id or request_id(request), arrived_s)
    work = predict_all(services, served, items, asked)
    predictions = await while_connected(request, services, work, items=len(items))
    outputs = output_tensors(served, predictions)
    return json_response(
        InferResponse(
            model_name=served.name,
            model_version=served.version or UNSET,
            outputs=tuple(outputs[name] for name in wanted),
            id=asked.request_id,
            parameters={
                "digest": served.model.digest,
                "inference_ids": ",".join(prediction.inference_id for prediction in predictions),
            },
        )
    )


async def _find(request: Request, services: Services) -> Served:
    name = path_value(request, "model_name", ModelId)
    version = path_value(request, "model_version", Version) if "model_version" in request.path_params else None
    return await services.catalog.find(name, version)


async def _versions(services: Services, served: Served) -> tuple[str, ...]:
    """List the versions that may be asked for under the model's name, the one that answers first."""
    versions = [served.version] if served.version else []
    if services.repository is not None:
        with suppress(NotFound):
            stored = await asyncio.to_thread(services.repository.versions, served.name)
            versions += [other.version for other in stored if other.version != served.version]
    return tuple(versions)


_NAMED = {"model_name": ModelId}
_VERSIONED = {"model_name": ModelId, "model_version": Version}
_TAG = "Open Inference Protocol"
_INFER_EXAMPLE = {
    "id": "42",
    "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["it was a good film"]}],
}


def _of_model(
    method: Literal["GET", "POST"], suffix: str, handler: Handler, summary: str, **rest: Any
) -> tuple[Operation, Operation]:
    """Make an operation on a model, and the same on one of its versions."""
    return (
        Operation(
            method, f"/v2/models/{{model_name}}{suffix}", handler, summary, _TAG,
            path_types=_NAMED, path_example={"model_name": "sentiment"}, error=ProtocolError, **rest,
        ),
        Operation(
            method, f"/v2/models/{{model_name}}/versions/{{model_version}}{suffix}", handler, f"{summary} (a version)",
            _TAG, path_types=_VERSIONED, path_example={"model_name": "encoder", "model_version": "1"},
            error=ProtocolError, **rest,
        ),
    )  # fmt: skip


_OF_NAMED = (NotFound, InvalidRequest, *MODEL_PROBLEMS)

OPERATIONS = (
    Operation("GET", "/v2", server_metadata, "The server", _TAG, answer=ServerMetadata),
    Operation("GET", "/v2/health/live", live, "Whether the server works", _TAG, answer=Live),
    Operation(
        "GET", "/v2/health/ready", ready, "Whether the server can answer", _TAG, answer=Ready, statuses={503: Ready}
    ),
    *_of_model(
        "GET", "/ready", model_ready, "Whether a model can answer", answer=ModelReady, problems=_OF_NAMED,
        right="predict",
    ),
    *_of_model(
        "POST", "/infer", infer, "Tensors in, tensors out", body=InferRequest, answer=InferResponse,
        problems=_OF_NAMED, right="predict", example=_INFER_EXAMPLE,
    ),
    *_of_model(
        "GET", "", model_metadata, "A model's inputs and outputs", answer=ModelMetadata, problems=_OF_NAMED,
        right="predict",
    ),
)  # fmt: skip
