"""The Open Inference Protocol, version 2: its bodies, and its tensors made of this server's items and answers.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

A text model takes the BYTES tensor `text`; a `tensors` model takes its graph's inputs. The first axis of every tensor
is the batch: each row is one item, answered alone. Data are JSON, flat or nested; the binary extension is not spoken.
Errors have the protocol's own shape: `{"error": MESSAGE}`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from tunelane_serving.models.model import Item
from tunelane_serving.package import Tensor
from tunelane_serving.problems import FeaturesMismatch, InvalidRequest, Problem
from tunelane_serving.server.inputs import check_texts
from tunelane_serving.server.limits import Limits
from tunelane_serving.server.operation import json_response
from tunelane_serving.server.retrying import problem_headers
from tunelane_serving.server.served import Served
from tunelane_serving.server.wire import Prediction

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


def protocol_refusal(problem: Problem) -> Response:
    """Answer a problem in the protocol's own shape."""
    message = "; ".join((str(problem), *problem.details))
    return json_response(ProtocolError(message), status=problem.status, headers=problem_headers(problem))


def platform_of(served: Served) -> str:
    """Name what runs the model as the protocol's list does; keyword rules and LiteRT are not in it."""
    framework = served.model.manifest.framework
    if framework == "rules":
        return "tunelane_rules"
    if framework == "onnx":
        return "onnx_onnxv1"
    path = next(variant.path for variant in served.model.manifest.variants if variant.name == served.model.variant)
    return "tensorflow_litert" if path.endswith(".tflite") else "tensorflow_savedmodel"


def inputs_of(served: Served) -> tuple[TensorMetadata, ...]:
    """Describe the tensors that a model takes."""
    if served.is_text_model:
        return (TensorMetadata("text", "BYTES", (-1,)),)
    return tuple(_described(tensor, tensor.shape[1:]) for tensor in served.model.manifest.inputs)


def outputs_of(served: Served) -> tuple[TensorMetadata, ...]:
    """Describe the tensors that a model gives; raises FeaturesMismatch where the protocol has no datatype for one."""
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


def items_of(served: Served, inputs: Sequence[InferInput], limits: Limits) -> list[Item]:
    """Cut the tensors into items, one a row.

    Raises:
        FeaturesMismatch: a tensor is missing or unknown, or has another datatype, shape or number of values.
        InvalidRequest: there are no rows, too many, or a text is empty or too long.
    """
    expected = {tensor.name: tensor for tensor in inputs_of(served)}
    given = {tensor.name: tensor for tensor in inputs}
    if len(given) != len(inputs):
        raise InvalidRequest("An input stands twice")
    if findings := _findings(expected, given):
        raise FeaturesMismatch(f"The inputs do not fit {served.name}", details=findings)
    counts = {tensor.shape[0] for tensor in inputs}
    if len(counts) != 1:
        raise FeaturesMismatch("The inputs have different numbers of rows; the first axis is the batch")
    if not counts <= set(range(1, limits.max_texts + 1)):
        raise InvalidRequest(f"{counts.pop()} rows; from 1 to {limits.max_texts} go in one request")
    rows = {tensor.name: _rows(tensor) for tensor in inputs}
    if not served.is_text_model:
        return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    texts = rows["text"] if len(inputs[0].shape) == 1 else [row[0] for row in rows["text"]]
    if not all(isinstance(text, str) for text in texts):
        raise FeaturesMismatch("The data of 'text' are strings, one a row")
    check_texts(texts, limits)
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


def output_tensors(served: Served, predictions: Sequence[Prediction]) -> dict[str, InferOutput]:
    """Put the answers to a request's rows together, by output; raises FeaturesMismatch where no tensor can hold them.

    Labels and scores of a classifier, the embedding of an encoder, the outputs of any other graph.
    """
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
    for metadata in outputs_of(served):
        values = [(prediction.outputs or {})[metadata.name] for prediction in predictions]
        try:
            shape = np.array(values).shape
        except ValueError as error:
            raise FeaturesMismatch(
                f"{metadata.name}: the rows' outputs have different shapes, which no tensor can hold; send them apart"
            ) from error
        # Not by numpy: it would round large UINT64 and cut NUL characters off texts.
        for _ in shape[1:]:
            values = list(chain.from_iterable(values))
        outputs[metadata.name] = InferOutput(metadata.name, shape, metadata.datatype, values)
    return outputs
