"""Where every call arrives, whichever door it came through: it is recorded, shown its fault, and answered."""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from tests.cloud.bench.contract import Method
from tests.cloud.bench.errors import ApiError, Dropped, invalid
from tests.cloud.bench.faults import AFTERWARDS, ON_CREATES, ON_OPERATIONS, Call, Faults, fault_error, is_create
from tests.cloud.bench.state import PROJECT, PROJECT_NUMBER, State, numbered

_STUCK_POLLS = 3
_LATE_CALLS = 2


@dataclass
class _Late:
    """A call that is still under way when its caller has given up."""

    call: Call
    answer: Callable[[], Any]
    calls_to_wait: int = _LATE_CALLS


class Api:
    """The services behind the doors: objects with a `service` name, and a method in snake case for each RPC."""

    def __init__(self, state: State, check_bearer: Callable[[str], None]) -> None:
        self._state = state
        self._check_bearer = check_bearer
        self._services: dict[str, Any] = {}
        self.lock = threading.RLock()
        self.calls: list[Call] = []
        self.unknown: list[str] = []
        self.faults = Faults()
        self._late: list[_Late] = []

    def serve(self, *services: Any) -> None:
        """Put services behind the doors."""
        self._services |= {service.service: service for service in services}

    def reset(self) -> None:
        self.calls = []
        self.unknown = []
        self._late = []
        self.faults.clear()

    def call(self, method: Method, request: Any, door: str, host: str, metadata: Mapping[str, str]) -> Any:
        """Answer a call. Raises ApiError, or Dropped where the door is to cut the connection."""
        copy = method.request()
        copy.CopyFrom(request)
        call = Call(method.name, copy, door, host, gives_operation=method.response is operations_pb2.Operation)
        service = _api_name(method.service)
        if method.name == "GetOperation":
            service, call.gives_operation = host.split(".")[0].split("-")[-1] or service, False
        return self.answered(call, service, lambda: self._answer(method, request, host, metadata))

    def answered(self, call: Call, service: str, answer: Any) -> Any:
        """Answer a call by `answer()`, with its fault, and record it. The fakes of HTTP services come in here."""
        with self.lock:
            self._carry_out_late()
            self.calls.append(call)
            kind = self.faults.take(call.method)
            call.fault = kind or ""
        if kind == "slow":
            time.sleep(self.faults.slow_s)
        try:
            error = fault_error(kind or "", service, call.method, PROJECT_NUMBER, f"projects/{PROJECT}")
            if error is not None and kind not in AFTERWARDS:
                raise error
            if kind == "dropped":
                raise Dropped
            if kind in ON_CREATES and not is_create(call):
                raise ValueError(f"{call.method} makes nothing that could be {kind}")
            if kind == "late":
                self._late.append(_Late(call, answer))
                raise Dropped
            with self.lock:
                if kind in ON_OPERATIONS and not call.gives_operation:
                    raise ValueError(f"{call.method} gives no operation that could be {kind}")
                response = answer()
                call.is_carried_out = True
                if kind == "partial":
                    self._state.break_operation(response.name)
                if kind == "stuck":
                    self._state.delay_operation(response.name, _STUCK_POLLS)
            if kind == "reply-lost":
                raise Dropped
            if kind == "nameless":
                call.outcome = "OK"
                return type(response)()
            if error is not None:
                raise error
        except ApiError as refusal:
            call.outcome = refusal.code
            raise
        except Dropped:
            call.outcome = "DROPPED"
            raise
        except Exception as mistake:
            # Of a test or of a fake: the client is told what a broken service would tell, and the test fails.
            call.outcome = "BROKEN"
            self.unknown.append(f"{call.method}: {mistake!r}")
            raise ApiError("UNKNOWN", "Unknown error.") from mistake
        call.outcome = "OK"
        return response

    def arrive(self) -> None:
        """Carry out at once what is still under way."""
        with self.lock:
            for late in self._late:
                late.calls_to_wait = 0
            self._carry_out_late()

    def _carry_out_late(self) -> None:
        due = [late for late in self._late if late.calls_to_wait == 0]
        self._late = [late for late in self._late if late not in due]
        for late in self._late:
            late.calls_to_wait -= 1
        for late in due:
            try:
                late.answer()
            except ApiError as refusal:
                late.call.outcome = refusal.code
            else:
                late.call.is_carried_out = True

    def _answer(self, method: Method, request: Any, host: str, metadata: Mapping[str, str]) -> Any:
        self._check_bearer(metadata.get("authorization", ""))
        _check_place(request, host)
        if method.name in ("GetOperation", "WaitOperation"):
            return self._state.operation(request.name)
        if method.name == "CancelOperation":
            return empty_pb2.Empty()
        # `ListLogEntries` is list_log_entries
        handler = getattr(
            self._services.get(method.service), re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower(), None
        )
        if handler is None:
            self.unknown.append(method.path)
            raise ApiError("UNIMPLEMENTED", f"{method.path} is not faked.")
        response = handler(request)
        copy = type(response)()
        copy.CopyFrom(response)
        return copy


def _check_place(request: Any, host: str) -> None:
    """Refuse other projects, and a regional resource at another region's host.

    Regional hosts: https://cloud.google.com/vertex-ai/docs/reference/rest#service-endpoint
    """
    for field in ("parent", "name", "endpoint"):
        name = getattr(request, field, "")
        if not isinstance(name, str) or not name:
            continue
        _check_name(name, host)
        if "aiplatform" in host:
            setattr(request, field, numbered(name))


def _check_name(name: str, host: str) -> None:
    parts = name[max(name.find("projects/"), 0) :].split("/")
    if parts[0] == "projects" and parts[1] not in (PROJECT, PROJECT_NUMBER):
        raise ApiError(
            "PERMISSION_DENIED",
            f"Permission denied on resource project {parts[1]} (or it may not exist).",
            "CONSUMER_INVALID",
            {"consumer": f"projects/{parts[1]}"},
        )
    if "aiplatform" in host and parts[2:3] == ["locations"] and host != f"{parts[3]}-aiplatform.googleapis.com":
        raise invalid(f"{host} does not serve the location {parts[3]}. Call {parts[3]}-aiplatform.googleapis.com.")


def _api_name(service: str) -> str:
    """`aiplatform` of `google.cloud.aiplatform.v1.PipelineService`."""
    name = service.split(".")[2] if service.startswith("google.cloud.") else service.split(".")[1]
    return {"resourcemanager": "cloudresourcemanager"}.get(name, name)
