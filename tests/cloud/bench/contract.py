"""What Google's services understand: methods, messages and REST routes, read out of the generated clients."""

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

AIPLATFORM = "google.cloud.aiplatform_v1"
SERVICES = (
    (AIPLATFORM, "pipeline_service"),
    (AIPLATFORM, "schedule_service"),
    (AIPLATFORM, "job_service"),
    (AIPLATFORM, "model_service"),
    (AIPLATFORM, "endpoint_service"),
    (AIPLATFORM, "metadata_service"),
    ("google.cloud.resourcemanager_v3", "projects"),
    ("google.cloud.run_v2", "services"),
    ("google.cloud.logging_v2", "logging_service_v2"),
)

# The clients' stubs of these hide the request's type behind a plain function.
_SHARED_REQUESTS = {
    "GetOperation": operations_pb2.GetOperationRequest,
    "ListOperations": operations_pb2.ListOperationsRequest,
    "CancelOperation": operations_pb2.CancelOperationRequest,
    "DeleteOperation": operations_pb2.DeleteOperationRequest,
    "WaitOperation": operations_pb2.WaitOperationRequest,
    "GetLocation": locations_pb2.GetLocationRequest,
    "ListLocations": locations_pb2.ListLocationsRequest,
    "GetIamPolicy": iam_policy_pb2.GetIamPolicyRequest,
    "TestIamPermissions": iam_policy_pb2.TestIamPermissionsRequest,
}
_NOT_METHODS = ("operations_client", "host", "kind", "grpc_channel")
# REST asks for operations below a prefix of each service's own.
_OPERATION_ROUTES = {
    "GetOperation": ("GET", ""),
    "CancelOperation": ("POST", ":cancel"),
    "WaitOperation": ("POST", ":wait"),
    "DeleteOperation": ("DELETE", ""),
}


@dataclass(frozen=True)
class Method:
    """A method of a service. `path` is gRPC's; `request` and `response` are protobuf classes."""

    path: str
    request: Any
    response: Any

    @property
    def service(self) -> str:
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        return self.path.split("/")[2]


@dataclass(frozen=True)
class Route:
    """A REST form of a method: the HTTP verb, the path's pattern and the field that the body is."""

    verb: str
    pattern: re.Pattern[str]
    body: str
    method: Method


@dataclass(frozen=True)
class Contract:
    """Every method by its gRPC path, and every route, the more special ones first."""

    methods: dict[str, Method]
    routes: tuple[Route, ...]

    def route(self, host: str, verb: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Give the route of an HTTP request to a service's host, with the fields that its path holds."""
        for route in self.routes:
            match = route.pattern.match(path)
            if match is not None and verb == route.verb and _speaks_for(host, route.method.service):
                return route, {name.replace("__", "."): value for name, value in match.groupdict().items()}
        return None


def read_contract(services: Iterable[tuple[str, str]] = SERVICES) -> Contract:
    """Read the contract of the services out of their clients: (package, folder of the service)."""
    methods: dict[str, Method] = {}
    routes: list[Route] = []
    for package, folder in services:
        for method, bindings in _methods(package, folder):
            methods[method.path] = method
            routes += [
                Route(binding["method"].upper(), path_pattern(binding["uri"]), binding.get("body", ""), method)
                for binding in bindings
            ]
            if method.name in _OPERATION_ROUTES:
                verb, suffix = _OPERATION_ROUTES[method.name]
                pattern = path_pattern("/{version=*}/{name=projects/**/operations/*}" + suffix)
                routes.append(Route(verb, pattern, "*" if verb == "POST" else "", method))
    # `jobs/*` would take `jobs/1:cancel` for a job's name.
    routes.sort(key=lambda route: ":" not in route.pattern.pattern.rsplit("/", 1)[-1].replace("(?:", ""))
    return Contract(methods, tuple(routes))


def path_pattern(uri: str) -> re.Pattern[str]:
    """Give the pattern of a route: `/v1/{name=projects/*/locations/*}:cancel`. Dots in fields' names become `__`."""
    pattern, position = "", 0
    for field in re.finditer(r"\{([a-z_.0-9]+)(?:=([^}]*))?\}", uri):
        value = re.escape(field[2] or "*").replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
        pattern += re.escape(uri[position : field.start()]) + f"(?P<{field[1].replace('.', '__')}>{value})"
        position = field.end()
    return re.compile(f"^{pattern}{re.escape(uri[position:])}$")


class _Recorder(grpc.Channel):  # type: ignore[misc]
    """A channel that calls nobody: a transport asks it for a stub of each of its methods, and so names them."""

    def __init__(self) -> None:
        self.stubs: dict[str, tuple[Any, Any]] = {}

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> Callable[..., None]:
        self.stubs[method] = (request_serializer, response_deserializer)
        return lambda *_, **__: None

    # The fakes serve no streams.
    def unary_stream(self, *_: Any, **__: Any) -> Callable[..., None]:
        return lambda *_, **__: None

    stream_unary = stream_stream = unary_stream

    def subscribe(self, *_: Any, **__: Any) -> None: ...

    def unsubscribe(self, *_: Any, **__: Any) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None: ...


def _methods(package: str, folder: str) -> Iterable[tuple[Method, list[dict[str, str]]]]:
    transports = importlib.import_module(f"{package}.services.{folder}.transports")
    transport_class = next(value for name, value in vars(transports).items() if name.endswith("GrpcTransport"))
    recorder = _Recorder()
    transport = transport_class(channel=recorder)
    # Interceptors would make their stubs later; those made while starting are made again.
    transport._logged_channel = recorder
    transport._stubs.clear()
    for kind in transport_class.__mro__:
        for name, value in vars(kind).items():
            if isinstance(value, property) and name not in _NOT_METHODS:
                getattr(transport, name)
    bindings = _rest_bindings(package, folder)
    for path, (serializer, deserializer) in recorder.stubs.items():
        name = path.rsplit("/", 1)[1]
        request = _message_class(serializer) or _SHARED_REQUESTS.get(name)
        if request is not None:
            yield Method(path, request, _message_class(deserializer) or empty_pb2.Empty), bindings(name)


def _rest_bindings(package: str, folder: str) -> Callable[[str], list[dict[str, str]]]:
    try:
        module = importlib.import_module(f"{package}.services.{folder}.transports.rest_base")
    except ModuleNotFoundError:  # Cloud Logging's client speaks gRPC alone
        return lambda _: []
    base = next(value for name, value in vars(module).items() if re.fullmatch(r"_Base\w+RestTransport", name))

    def bindings(name: str) -> list[dict[str, str]]:
        binding = getattr(base, f"_Base{name}", None)
        if binding is None or name in _OPERATION_ROUTES:
            return []
        try:
            return list(binding._get_http_options())
        except (AttributeError, NotImplementedError):
            return []

    return bindings


def _message_class(bound: Any) -> Any:
    """The protobuf class of a bound (de)serializer; proto-plus wraps its classes."""
    kind = getattr(bound, "__self__", None)
    if not isinstance(kind, type):
        return None
    return kind.pb() if hasattr(kind, "pb") else kind


def _speaks_for(host: str, service: str) -> bool:
    """Whether a host serves a service: `europe-west4-aiplatform.googleapis.com` for `google.cloud.aiplatform.v1.…`."""
    parts = service.split(".")
    api = {"resourcemanager": "cloudresourcemanager"}.get(parts[2], parts[2])
    return not host or host.endswith(f"{api}.googleapis.com") or service.startswith("google.longrunning")
