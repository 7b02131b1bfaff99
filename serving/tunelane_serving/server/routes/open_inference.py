"""The Open Inference Protocol, version 2, over HTTP, as KServe and Triton speak it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

A text model takes the BYTES tensor `text`; a `tensors` model takes its graph's inputs. The first axis of every tensor
is the batch: each row is one item, answered alone. Data are JSON, flat or nested; the binary extension is not spoken.
Errors have the protocol's own shape: `{"error": MESSAGE}`.
"""

import asyncio
import functools
import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tunelane_serving.models.model import Item
from tunelane_serving.package import Tensor
from tunelane_serving.problems import FeaturesMismatch, InvalidRequest, NotFound, Problem, Unauthorized
from tunelane_serving.server.answering import Asked, predict_all, while_connected
from tunelane_serving.server.operation import Handler, Operation, decode_body, json_response, path_value, read_body
from tunelane_serving.server.requests import request_id
from tunelane_serving.server.retrying import retry_headers
from tunelane_serving.server.routes.predictions import MODEL_PROBLEMS, check_texts
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import ModelId, Prediction, Version

_log = logging.getLogger(__name__)

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
_DTYPES = {
    "bool": "BOOL", "string": "BYTES", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
# What a parameter may be.
Parameter = str | int | float | bool


class ServerMetadata(msgspec.Struct, frozen=True):
    """The server and the protocol's extensions that it speaks."""

    name: str
    version: str
    extensions: tuple[str, ...] = ()


class Live(msgspec.Struct, frozen=True):
    """Whether the server works."""

    live: bool


class Ready(msgspec.Struct, frozen=True):
    """Whether the server can answer. The protocol's text calls it "live" here, too; KServe's own server "ready"."""

    ready: bool
    live: bool


class ModelReady(msgspec.Struct, frozen=True):
    """Whether a model can answer."""

    name: str
    ready: bool


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or output; -1 stands for an axis of any size, the first one being the batch."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model, its inputs and outputs."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class InferInput(msgspec.Struct, frozen=True):
    """A tensor: `data` in row-major order, flat or nested."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]
    parameters: dict[str, Parameter] = {}


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Parameter] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """Body of an inference. All outputs are given where none is named."""

    inputs: list[InferInput]
    id: str = ""
    parameters: dict[str, Parameter] = {}
    outputs: list[RequestedOutput] = []


class InferOutput(msgspec.Struct, frozen=True):
    """A tensor of the answer: `data` flat, in row-major order."""

    name: str
    shape: tuple[int, ...]
    datatype: Datatype
    data: list[Any]


class InferResponse(msgspec.Struct, frozen=True):
    """The answer; without a version where the model has none. `id` is the request's own, or the one it was given here.

    `parameters` hold the digest, and `inference_ids`, to give feedback to: one a row, commas between.
    """

    model_name: str
    outputs: tuple[InferOutput, ...]
    id: str
    parameters: dict[str, Parameter]
    model_version: str | UnsetType = UNSET


class ProtocolError(msgspec.Struct, frozen=True):
    """The protocol's own shape of an error."""

    error: str


def protocol_error(problem: Problem) -> Response:
    """Answer a problem in the protocol's own shape."""
    message = "; ".join((str(problem), *problem.details))
    headers = retry_headers(problem.retry_after_s)
    if isinstance(problem, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return json_response(ProtocolError(message), status=problem.status, headers=headers)


def _in_protocol(handler: Handler) -> Handler:
    """Answer problems in the protocol's own shape."""

    @functools.wraps(handler)
    async def answered(request: Request, services: Services) -> Response:
        try:
            return await handler(request, services)
        except ClientDisconnect:
            raise
        except Problem as problem:
            return protocol_error(problem)
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
            platform=_platform(served),
            inputs=_inputs(served),
            outputs=_outputs(served),
        )
    )


@_in_protocol
async def infer(request: Request, services: Services) -> Response:
    """Answer `POST /v2/models/{model_name}[/versions/{model_version}]/infer`."""
    arrived_s = time.perf_counter()
    body = decode_body(await read_body(request, services.limits.max_body_bytes), InferRequest)
    served = await _find(request, services)
    known = [output.name for output in _outputs(served)]
    wanted = [output.name for output in body.outputs] or known
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidRequest(f"There is no output {unknown[0]!r}; {served.name} gives {', '.join(known)}")
    items = _items(served, body.inputs, services)
    asked = Asked(body.id or request_id(request), arrived_s)
    work = predict_all(services, served, items, asked)
    predictions = await while_connected(request, services, work, items=len(items))
    outputs = _answer(served, predictions)
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


def _platform(served: Served) -> str:
    """Name what runs the model as the protocol's list does; keyword rules and LiteRT are not in it."""
    framework = served.model.manifest.framework
    if framework == "rules":
        return "tunelane_rules"
    if framework == "onnx":
        return "onnx_onnxv1"
    path = next(variant.path for variant in served.model.manifest.variants if variant.name == served.model.variant)
    return "tensorflow_litert" if path.endswith(".tflite") else "tensorflow_savedmodel"


def _inputs(served: Served) -> tuple[TensorMetadata, ...]:
    if served.is_text_model:
        return (TensorMetadata("text", "BYTES", (-1,)),)
    return tuple(_described(tensor, tensor.shape[1:]) for tensor in served.model.manifest.inputs)


def _outputs(served: Served) -> tuple[TensorMetadata, ...]:
    if served.labels:
        # JSON lists, as a text may have any number of labels.
        chosen = TensorMetadata("label" if served.gives_one_label else "labels", "BYTES", (-1,))
        return (chosen, TensorMetadata("scores", "FP32", (-1, len(served.labels))))
    if served.is_text_model:
        return (TensorMetadata("embedding", "FP32", (-1, -1)),)
    manifest = served.model.manifest
    batch_axes = {tensor.shape[0] for tensor in manifest.inputs}
    # An output without the batch axis is given once a row, too.
    return tuple(
        _described(tensor, tensor.shape[1:] if set(tensor.shape[:1]) & batch_axes else tensor.shape)
        for tensor in manifest.outputs
    )


def _described(tensor: Tensor, item_shape: tuple[int | str, ...]) -> TensorMetadata:
    if tensor.dtype not in _DTYPES:
        raise FeaturesMismatch(f"{tensor.name}: the protocol has no datatype for {tensor.dtype}; ask POST /predict")
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in item_shape)
    return TensorMetadata(tensor.name, _DTYPES[tensor.dtype], (-1, *shape))  # type: ignore[arg-type]


def _items(served: Served, inputs: list[InferInput], services: Services) -> list[Item]:
    """Cut the tensors into items, one a row.

    Raises:
        FeaturesMismatch: a tensor is missing or unknown, or has another datatype, shape or number of values.
        InvalidRequest: there are no rows, too many, or a text is empty or too long.
    """
    expected = {tensor.name: tensor for tensor in _inputs(served)}
    given = {tensor.name: tensor for tensor in inputs}
    if len(given) != len(inputs):
        raise InvalidRequest("An input stands twice")
    if findings := _findings(expected, given):
        raise FeaturesMismatch(f"The inputs do not fit {served.name}", details=findings)
    counts = {tensor.shape[0] for tensor in inputs}
    if len(counts) != 1:
        raise FeaturesMismatch("The inputs have different numbers of rows; the first axis is the batch")
    if not counts <= set(range(1, services.limits.max_texts + 1)):
        raise InvalidRequest(f"{counts.pop()} rows; from 1 to {services.limits.max_texts} go in one request")
    rows = {tensor.name: _rows(tensor) for tensor in inputs}
    if not served.is_text_model:
        return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    texts = rows["text"] if len(inputs[0].shape) == 1 else [row[0] for row in rows["text"]]
    if not all(isinstance(text, str) for text in texts):
        raise FeaturesMismatch("The data of 'text' are strings, one a row")
    check_texts(texts, services.limits)
    return list(texts)


def _findings(expected: Mapping[str, TensorMetadata], given: Mapping[str, InferInput]) -> list[str]:
    """Say what does not fit, one line each; the values themselves are looked at by the model."""
    findings = [f"{name}: is missing" for name in expected if name not in given]
    for tensor in given.values():
        wanted = expected.get(tensor.name)
        if wanted is None:
            findings.append(f"{tensor.name[:80]!r}: there is no such input; there is {', '.join(expected)}")
        elif tensor.datatype != wanted.datatype:
            findings.append(f"{tensor.name}: {tensor.datatype} is given, {wanted.datatype} is expected")
        elif not _fits(tensor.shape, wanted):
            findings.append(f"{tensor.name}: the shape does not fit {list(wanted.shape)}")
        elif not _has_shape(tensor.data, tensor.shape):
            findings.append(f"{tensor.name}: the data are not those of the shape, neither flat nor nested")
    return findings


def _fits(shape: list[int], wanted: TensorMetadata) -> bool:
    """Whether a shape is one that is expected: a row of texts may have an axis of its own."""
    sizes = (-1, 1) if wanted.shape == (-1,) and wanted.datatype == "BYTES" and len(shape) == 2 else wanted.shape
    return len(shape) == len(sizes) and all(
        given >= 0 and size in (-1, given) for given, size in zip(shape, sizes, strict=True)
    )


def _has_shape(data: list[Any], shape: list[int]) -> bool:
    """Whether `data` have the values of a shape: all in one list, or in lists as deep as the shape has axes."""
    if not any(isinstance(value, list) for value in data):
        return len(data) == math.prod(shape)
    level: list[Any] = [data]
    for size in shape:
        if any(not isinstance(part, list) or len(part) != size for part in level):
            return False
        level = list(chain.from_iterable(level))
    return not any(isinstance(value, list) for value in level)


def _rows(tensor: InferInput) -> list[Any]:
    """Give a tensor's rows as nested lists; data and shape agree."""
    if any(isinstance(value, list) for value in tensor.data):
        return tensor.data
    values = np.empty(len(tensor.data), object)
    values[:] = tensor.data
    return list(values.reshape(tensor.shape).tolist())


def _answer(served: Served, predictions: tuple[Prediction, ...]) -> dict[str, InferOutput]:
    rows = len(predictions)
    if served.labels:
        name = "label" if served.gives_one_label else "labels"
        chosen = [
            prediction.label if served.gives_one_label else msgspec.json.encode(prediction.labels).decode()
            for prediction in predictions
        ]
        scores = [score for prediction in predictions for score in prediction.scores.values()]
        return {
            name: InferOutput(name, (rows,), "BYTES", chosen),
            "scores": InferOutput("scores", (rows, len(served.labels)), "FP32", scores),
        }
    if served.is_text_model:
        vectors = [list(prediction.embedding or []) for prediction in predictions]
        flat = [value for vector in vectors for value in vector]
        return {"embedding": InferOutput("embedding", (rows, len(vectors[0])), "FP32", flat)}
    outputs = {}
    for metadata in _outputs(served):
        try:
            values = np.array([(prediction.outputs or {})[metadata.name] for prediction in predictions])
        except ValueError as error:
            raise FeaturesMismatch(
                f"{metadata.name}: the rows' outputs have different shapes, which no tensor can hold; send them apart"
            ) from error
        outputs[metadata.name] = InferOutput(metadata.name, values.shape, metadata.datatype, values.ravel().tolist())
    return outputs


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
