"""The OpenAPI 3.1 document, made from the operations and the structs on the wire.

https://spec.openapis.org/oas/v3.1.1.html
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec.inspect import Field, StructType, Type

from tunelane_serving.problems import (
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    MalformedJson,
    NotKept,
    Problem,
    RateLimited,
    Unauthorized,
)
from tunelane_serving.server.examples import ANSWERS
from tunelane_serving.server.operation import Operation
from tunelane_serving.server.wire import ErrorBody, Features, Personalization, Prediction, UploadedModel

_REF = "#/components/schemas/{name}"
_INTRODUCTION = """
Predictions of ONNX models, their monitoring and their management.

Every error has the same shape: a `code` for programs, a `message` for people. The Open Inference Protocol's routes have
that protocol's own. Every answer has the header `X-Request-Id`; a request may bring its own.

A server with as many connections as it takes answers whatever else it is asked with 503, `overloaded`.

A server with API keys takes one in `X-API-Key`, or as a bearer token. `x-right` says what the key must be good for. A
server without keys asks for none, and manages no models.
"""
# In the order in which somebody new would try them: models are uploaded before others are asked.
_TAGS = {
    "Predictions": "Ask the model that serves, or one of the repository.",
    "Monitoring": "Say what was right, and see how the models do. Every prediction is an event.",
    "Models": "The repository: packages by model and version.",
    "Features": "What is stored of an entity. `POST /predict` uses it where it is given an `entityId`.",
    "Personalization": "Products in the order of their similarity to a user's context, by an embedding model.",
    "Health": "For load balancers, operators and Prometheus.",
    "Vertex AI": "The contract of Vertex AI's custom containers.",
    "Open Inference Protocol": "Version 2, as KServe and Triton speak it.",
    "Pages": "What a person looks at.",
}
_HEADERS_BY_STATUS = {
    401: {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    **{
        status: {
            "Retry-After": {
                "description": "Seconds after which it makes sense to ask again, where it does.",
                "schema": {"type": "integer", "minimum": 1},
            }
        }
        for status in (429, 503)
    },
}
_INFERRED = {
    "feedback": {
        "operationId": "post_feedback",
        "description": "Say what was right.",
        "requestBody": {"inferenceId": "$response.body#/inferenceId", "outcome": "positive"},
    }
}
_OF_VERSION = {"model_id": "$response.body#/modelId", "version": "$response.body#/version"}
# What can be done next with what an answer says.
_LINKS: Mapping[Any, dict[str, Any]] = {
    Prediction: _INFERRED,
    Personalization: _INFERRED,
    Features: {
        "features": {"operationId": "get_features_entity", "parameters": {"entity": "$response.body#/entityId"}}
    },
    UploadedModel: {
        "version": {"operationId": "get_model_model_id_version", "parameters": _OF_VERSION},
        "versions": {
            "operationId": "get_model_model_id_versions",
            "parameters": {"model_id": _OF_VERSION["model_id"]},
        },
        "stage": {"operationId": "post_model_model_id_version_stage", "parameters": _OF_VERSION},
    },
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Give the document as JSON-ready dictionaries."""
    structs: list[Any] = sorted({struct for operation in operations for struct in _structs(operation)}, key=repr)
    schemas, components = msgspec.json.schema_components(structs, ref_template=_REF)
    schema_of = dict(zip(structs, schemas, strict=True))
    bodies = _classes(operation.body for operation in operations if operation.body is not None)
    for name, struct in _classes(structs).items():
        _polish(components[name], struct, is_answer=name not in bodies)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schema_of)
    used = {operation.tag for operation in operations}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tunelane",
            "version": version("tunelane"),
            "description": _INTRODUCTION.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": about} for tag, about in _TAGS.items() if tag in used],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def operation_id(operation: Operation) -> str:
    """Name an operation by its method and path, as one word."""
    words = re.findall(r"[A-Za-z0-9]+", operation.path)
    return "_".join([operation.method.lower(), *words])


def _structs(operation: Operation) -> set[Any]:
    found: set[Any] = {operation.error, *operation.statuses.values(), *operation.path_types.values()}
    return found | {struct for struct in (operation.answer, operation.body) if struct is not None}


def _classes(types: Iterable[Any]) -> dict[str, type[msgspec.Struct]]:
    """Give every struct that stands in one of the types, by its name."""

    def within(part: Any) -> Iterator[type[msgspec.Struct]]:
        if isinstance(part, StructType):
            yield part.cls
        if isinstance(part, Type | Field):
            part = msgspec.structs.astuple(part)
        if isinstance(part, tuple):
            for inner in part:
                yield from within(inner)

    return {struct.__name__: struct for struct in within(msgspec.inspect.multi_type_info(types))}


def _polish(schema: dict[str, Any], struct: type[msgspec.Struct], *, is_answer: bool) -> None:
    """Say in a component's schema what msgspec leaves open.

    An answer has all its fields, those with a default too, unless it leaves those away. The docstring's names become
    those of the fields in JSON.
    """
    properties = schema["properties"]
    for described in properties.values():
        _type_enums(described)
    if is_answer:
        defaults = [name for name, described in properties.items() if "default" in described]
        for name in defaults:
            del properties[name]["default"]
        if not struct.__struct_config__.omit_defaults:
            schema["required"] = [name for name in properties if name in {*schema["required"], *defaults}]
    names = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}
    said = inspect.cleandoc(schema["description"])
    said = re.sub(r"`(\w+)`", lambda match: f"`{names.get(match[1], match[1])}`", said)
    schema["description"] = re.sub(r"\bNone\b", "null", said)


def _type_enums(schema: dict[str, Any]) -> None:
    """Name the type of what is one of several texts, for programs that are written from the document."""
    for inner in (schema, *schema.get("anyOf", ())):
        if all(isinstance(value, str) for value in inner.get("enum", [None])):
            inner["type"] = "string"


def _described(operation: Operation, schema_of: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation, schema_of),
    }
    if operation.description:
        described["description"] = operation.description
    if parameters := [*_path_parameters(operation, schema_of), *_query_parameters(operation)]:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": _with_example(schema_of[operation.body], operation.example)},
        }
    if operation.form is not None:
        schema = {
            "type": "object",
            "properties": dict(operation.form),
            "required": list(operation.required_fields),
            "additionalProperties": False,
        }
        described["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": _with_example(schema, operation.example)},
        }
    if operation.right is not None:
        # An empty requirement: a server without keys asks for none.
        described["security"] = [{"ApiKey": []}, {"Bearer": []}, {}]
        described["x-right"] = operation.right
    return described


def _with_example(schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    return {"schema": schema, **({"example": example} if example is not None else {})}


def _path_parameters(operation: Operation, schema_of: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": schema_of[kind],
            **({"example": operation.path_example[name]} if name in operation.path_example else {}),
        }
        for name, kind in operation.path_types.items()
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    # Flat by their nature: each property is a parameter.
    schema = msgspec.json.schema(operation.query)
    properties = schema["$defs"][operation.query.__name__]["properties"]
    parameters = []
    for name, described in properties.items():
        parameter = {"name": name, "in": "query", "required": False, "schema": _without_null(described)}
        if said := parameter["schema"].pop("description", ""):
            parameter["description"] = said
        parameters.append(parameter)
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: a parameter is left away instead."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    found = {name: value for name, value in options[0].items() if name != "default"}
    if schema.get("default") is not None:
        found["default"] = schema["default"]
    _type_enums(found)
    return found


def problems_of(operation: Operation) -> dict[int, list[type[Problem]]]:
    """Give what an operation may answer besides its answer, by status."""
    always: list[type[Problem]] = []
    if operation.body is not None:
        always += [MalformedJson, BodyTooLarge, InvalidRequest]
    if operation.path_types or operation.query is not None:
        always += [InvalidRequest]
    if operation.right is not None:
        always += [Unauthorized, Forbidden, RateLimited]
    if operation.needs_database:
        always += [NotKept]
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in dict.fromkeys((*always, *operation.problems)):
        by_status.setdefault(problem.status, []).append(problem)
    return dict(sorted(by_status.items()))


def _responses(operation: Operation, schema_of: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": operation.summary,
        "content": {operation.media_type: _with_example(_answer_schema(operation, schema_of), _example(operation))},
    }
    if operation.answer in _LINKS:
        answer["links"] = _LINKS[operation.answer]
    responses = {str(operation.status): answer}
    for status, struct in operation.statuses.items():
        responses[str(status)] = {
            "description": "Not now",
            "content": {"application/json": {"schema": schema_of[struct]}},
        }
    for status, problems in problems_of(operation).items():
        responses[str(status)] = {
            "description": "\n\n".join(
                f"`{problem.code}`: {(problem.__doc__ or '').partition(chr(10))[0]}" for problem in problems
            ),
            "content": {"application/json": {"schema": _error_schema(operation, problems, schema_of)}},
            **({"headers": _HEADERS_BY_STATUS[status]} if status in _HEADERS_BY_STATUS else {}),
        }
    return responses


def _answer_schema(operation: Operation, schema_of: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    if operation.answer is not None:
        return schema_of[operation.answer]
    return {"type": "object" if operation.media_type == "application/json" else "string"}


def _example(operation: Operation) -> Any:
    example = ANSWERS.get(operation_id(operation))
    return msgspec.to_builtins(example) if example is not None else None


def _error_schema(
    operation: Operation, problems: Sequence[type[Problem]], schema_of: Mapping[Any, dict[str, Any]]
) -> dict[str, Any]:
    """Give the schema of an error's body, which has one of these problems' codes."""
    if operation.error is not ErrorBody:
        return schema_of[operation.error]
    codes = {"type": "string", "enum": [problem.code for problem in problems]}
    return schema_of[ErrorBody] | {"properties": {"error": {"properties": {"code": codes}}}}
