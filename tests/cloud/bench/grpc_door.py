"""gRPC's way to the fakes, over TLS."""

from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
from grpc_status import rpc_status  # type: ignore[import-untyped]

from tests.cloud.bench.api import Api
from tests.cloud.bench.contract import Contract, Method
from tests.cloud.bench.errors import ApiError, Dropped


@dataclass
class Line:
    """What the proxy knows of a connection, by the port it comes from."""

    host: Callable[[int], str]
    cut: Callable[[int], None]


class GrpcDoor:
    """A gRPC server that serves every method of a contract."""

    def __init__(self, contract: Contract, api: Api, certificate: tuple[bytes, bytes]) -> None:
        """`certificate`: private key and chain, PEM."""
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        self.line = Line(lambda _: "", lambda _: None)
        self._server.add_generic_rpc_handlers((_Handler(contract, api, self),))
        self.port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, contract: Contract, api: Api, door: GrpcDoor) -> None:
        self._methods = dict(contract.methods)
        # Operations are asked for at a service of their own: https://google.aip.dev/151
        for method in contract.methods.values():
            if method.service == "google.longrunning.Operations":
                self._methods[method.path] = method
        self._api = api
        self._door = door

    def service(self, details: Any) -> Any:
        method = self._methods.get(details.method)
        if method is None:
            self._api.unknown.append(details.method)
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(method, request, context),
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )

    def _answer(self, method: Method, request: Any, context: Any) -> Any:
        port = int(context.peer().rsplit(":", 1)[1])
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        try:
            return self._api.call(method, request, "grpc", self._door.line.host(port), metadata)
        except ApiError as error:
            context.abort_with_status(rpc_status.to_status(error.status()))
        except Dropped:
            self._door.line.cut(port)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the line was cut")
