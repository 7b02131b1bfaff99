"""Kubeflow Pipelines' REST API as its generated client, kfp-server-api, knows it: operations, fields, types."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import kfp_server_api
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_server_api import models

# 64-bit numbers, which the models hold as text; JSON may have either: https://protobuf.dev/programming-guides/json/
_LONG = {"max_concurrency", "interval_second", "execution_id", "long_value"}
_PLAIN: dict[str, type | tuple[type, ...]] = {"str": str, "bool": bool, "int": int, "float": (int, float)}
_PARAMETERS: dict[str, type | tuple[type, ...]] = {
    "STRING": str, "BOOLEAN": bool, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "LIST": list, "STRUCT": dict,
}  # fmt: skip


class Wrong(Exception):
    """A value is not of its type; the message names the field."""


@dataclass(frozen=True)
class Operation:
    """One method of the API.

    Attributes:
        name: as in `create_run`.
        path: pattern of the whole path.
        query: names of the parameters behind the question mark.
        body: name of the body's model; empty: none.
        answer: name of the answer's model.
    """

    name: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    body: str
    answer: str


class _Recorder:
    """Stands in for the generated client's connection, and notes what would be sent."""

    client_side_validation = False

    def select_header_accept(self, accepts: list[str]) -> str:
        return accepts[0]

    def select_header_content_type(self, types: list[str]) -> str:
        return types[0]

    def call_api(self, path: str, method: str, _path: Any, query: Any, _headers: Any, **rest: Any) -> Any:
        return path, method, {name for name, _ in query}, rest.get("body"), rest.get("response_type") or ""


def operations() -> Iterator[Operation]:
    """Give every method of every service, from the generated client itself."""
    for name in dir(kfp_server_api):
        if not name.endswith("ServiceApi"):
            continue
        api = getattr(kfp_server_api, name)(_Recorder())
        for method in dir(api):
            if method.endswith("_with_http_info"):
                yield _operation(getattr(api, method), method)


def _operation(call: Any, name: str) -> Operation:
    types = {
        name: kind
        for name, kind in re.findall(r":type (\w+): (.+)", call.__doc__)
        if name[0] != "_" and name != "async_req"
    }
    path, method, query, body, answer = call(**{name: f"<{name}>" for name in types})
    pattern = re.sub(r"\\\{[^}]+\\\}", "([^/:]+)", re.escape(path))
    return Operation(
        name=name.partition("_service_")[2].removesuffix("_with_http_info"),
        method=method,
        path=re.compile(pattern),
        query=frozenset(query),
        body=types[body.strip("<>")] if body else "",
        answer=answer,
    )


def check(value: Any, kind: str, where: str) -> None:
    """Check a JSON value against a type of the generated client; a field that a model does not have is wrong."""
    if value is None or kind == "object":
        return
    if item := re.fullmatch(r"list\[(.+)\]|dict\(str, (.+)\)", kind):
        _check_items(value, item[1] or item[2], where, list if item[1] else dict)
    elif kind == "datetime":
        _check_time(value, where)
    elif kind in _PLAIN:
        is_long = where.rpartition(".")[2] in _LONG
        right = str(value).isdecimal() if is_long else isinstance(value, _PLAIN[kind])
        if not right or (isinstance(value, bool) and kind != "bool"):
            raise Wrong(f"invalid value for {kind} field {where}: {value!r}")
    else:
        _check_model(value, getattr(models, kind), where)


def _check_items(value: Any, kind: str, where: str, container: Any) -> None:
    if not isinstance(value, container):
        raise Wrong(f"{where}: not a {container.__name__}: {value!r}")
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        check(item, kind, f"{where}[{key}]")


def _check_time(value: Any, where: str) -> None:
    try:
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError("no offset")
    except (TypeError, ValueError) as error:
        raise Wrong(f"invalid google.protobuf.Timestamp value {where}: {value!r}: {error}") from error


def _check_model(value: Any, model: Any, where: str) -> None:
    if not model.openapi_types and hasattr(model, "allowable_values"):
        if value not in model.allowable_values:
            raise Wrong(f"invalid value for enum field {where}: {value!r}")
        return
    if not isinstance(value, dict):
        raise Wrong(f"{where}: not a message: {value!r}")
    kinds = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    for key, item in value.items():
        if kinds and key not in kinds:
            raise Wrong(f'unknown field "{where}.{key}"')
        check(item, kinds.get(key, "object"), f"{where}.{key}")


def check_pipeline(given: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Check a pipeline as it is sent, alone or with a platform's part, by its protocol buffers, and its parameters.

    https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/template/v2_template.go
    """
    spec = given.get("pipeline_spec", given)
    try:
        parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
        json_format.ParseDict(spec.get("deploymentSpec", {}), deployment)
        _check_platform(given.get("platform_spec", {}), set(deployment.executors))
    except json_format.ParseError as error:
        raise Wrong(f"pipeline_spec: {error}") from error
    if not parsed.pipeline_info.name or not parsed.root.dag.tasks:
        raise Wrong("pipeline_spec: no name, or no tasks")
    _check_parameters(spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}), parameters)


def _check_platform(platform: dict[str, Any], labels: set[str]) -> None:
    parsed = json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    if unknown := set(parsed.platforms) - {"kubernetes"}:
        raise Wrong(f"platform_spec: no platform {unknown}")
    for label, executor in parsed.platforms["kubernetes"].deployment_spec.executors.items():
        if label not in labels:
            raise Wrong(f"platform_spec: the pipeline has no executor {label}")
        config = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        json_format.ParseDict(json_format.MessageToDict(executor), config)


def _check_parameters(definitions: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in definitions:
            raise Wrong(f"parameter {name} is not one of the pipeline's")
        kind = definitions[name]["parameterType"]
        if not isinstance(value, _PARAMETERS[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
            raise Wrong(f"parameter {name} is no {kind}: {value!r}")
    for name, definition in definitions.items():
        if name not in given and not definition.get("isOptional"):
            raise Wrong(f"parameter {name} is missing")
