"""Faults that the fakes show on demand, the record of what was called, and the matrix of one by the other."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tests.cloud.bench.errors import ApiError

Kind = Literal[
    "429", "500", "503", "deadline", "deadline-after", "conflict", "denied", "disabled", "quota",
    "slow", "dropped", "reply-lost", "partial", "stuck", "late", "nameless",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

ON_OPERATIONS = ("partial", "stuck")
"""Only methods that answer with a long-running operation can show these."""

ON_CREATES = ("late", "nameless")
"""Only methods that make something can show these: the line is cut and the call carried out after further ones, as if
it had been under way so long; or the answer says yes, and not what was made."""

AFTERWARDS = ("deadline-after", "reply-lost", "nameless")
"""The call is carried out, but its caller does not learn of it."""

TRANSIENT = (
    "429", "500", "503", "deadline", "deadline-after", "slow", "dropped", "reply-lost", "stuck", "late", "nameless",
)  # fmt: skip
"""The same call would do later on."""

_SLOW_S = 0.3


@dataclass
class Fault:
    """One fault of a kind at a method: it leaves `skip` calls alone and then hits `times` of them."""

    method: str
    kind: Kind
    times: int = 1
    skip: int = 0


@dataclass
class Call:
    """A call as it arrived, and what became of it.

    Attributes:
        method: `CreatePipelineJob`, `storage.objects.insert`, `registry.upload`.
        request: a copy of the message; of REST services without one, a dict of verb, path, query and body's size.
        door: grpc or rest.
        outcome: OK, the code's name, or DROPPED; empty while it is under way.
        gives_operation: whether its answer is a long-running operation.
    """

    method: str
    request: Any
    door: str
    host: str = ""
    outcome: str = ""
    is_carried_out: bool = False
    fault: str = ""
    gives_operation: bool = False


class Faults:
    """The faults to come. A slow call takes `slow_s`."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.slow_s = _SLOW_S

    def add(self, method: str, kind: Kind, times: int = 1, skip: int = 0) -> Fault:
        """Have a method fail, `times` in a row after `skip` calls. An unknown kind is a ValueError."""
        if kind not in KINDS:
            raise ValueError(f"{kind}: no such fault")
        fault = Fault(method, kind, times, skip)
        self._faults.append(fault)
        return fault

    def add_all(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.add(fault.method, fault.kind, fault.times, fault.skip)

    def clear(self) -> None:
        self._faults.clear()
        self.slow_s = _SLOW_S

    def unused(self) -> list[Fault]:
        """Give what has not been shown yet."""
        return [fault for fault in self._faults if fault.times > 0]

    def take(self, method: str) -> Kind | None:
        """Give the fault that a call of the method shows, if any."""
        for fault in self._faults:
            if fault.method != method or fault.times <= 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            return fault.kind
        return None


def matrix(calls: Iterable[Call], kinds: Iterable[Kind] = KINDS) -> list[Fault]:
    """Give one fault of each fitting kind at every single call of a recorded flow."""
    seen: Counter[str] = Counter()
    faults = []
    for call in calls:
        fitting = [kind for kind in kinds if _fits(kind, call)]
        faults += [Fault(call.method, kind, skip=seen[call.method]) for kind in fitting]
        seen[call.method] += 1
    return faults


def _fits(kind: Kind, call: Call) -> bool:
    if kind in ON_OPERATIONS:
        return call.gives_operation
    return kind not in ON_CREATES or is_create(call)


def is_create(call: Call) -> bool:
    """Whether a call makes something and answers with it."""
    return call.method.startswith("Create") and not call.gives_operation


def fault_error(kind: str, service: str, method: str, project: str, resource: str = "") -> ApiError | None:
    """Give the error that a fault is answered with, in the words of the service (`aiplatform`); None where it has none.

    The errors' details: https://google.aip.dev/193, the reasons of googleapis.com:
    https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
    """
    api = f"{service}.googleapis.com"
    consumer = {"service": api, "consumer": f"projects/{project}"}
    errors = {
        "429": ApiError(
            "RESOURCE_EXHAUSTED",
            f"Quota exceeded for quota metric '{method} requests' and limit '{method} requests per minute' of service "
            f"'{api}' for consumer 'project_number:{project}'.",
            "RATE_LIMIT_EXCEEDED",
            {**consumer, "quota_metric": f"{api}/requests", "quota_limit": "RequestsPerMinutePerProject"},
            retry_after_s=5.0,
        ),
        "500": ApiError("INTERNAL", "Internal error encountered."),
        "503": ApiError("UNAVAILABLE", "The service is currently unavailable."),
        "deadline": ApiError("DEADLINE_EXCEEDED", "Deadline exceeded."),
        "deadline-after": ApiError("DEADLINE_EXCEEDED", "Deadline exceeded."),
        "conflict": ApiError("ABORTED", "There was a conflict with another operation. Please try again."),
        "denied": ApiError(
            "PERMISSION_DENIED",
            f"Permission '{permission(service, method)}' denied on resource '//{api}/{resource}' "
            "(or it may not exist).",
            "IAM_PERMISSION_DENIED",
            {"permission": permission(service, method), "resource": resource},
        ),
        "disabled": ApiError(
            "PERMISSION_DENIED",
            f"API [{api}] has not been used in project {project} before or it is disabled. Enable it by visiting "
            f"https://console.developers.google.com/apis/api/{api}/overview?project={project} then retry.",
            "SERVICE_DISABLED",
            consumer,
        ),
        "quota": ApiError(
            "RESOURCE_EXHAUSTED",
            f"The following quota metrics exceed quota limits: {api}/custom_model_training_nvidia_l4_gpus",
        ),
    }
    return errors.get(kind)


def permission(service: str, method: str) -> str:
    """Give the permission a method wants: `aiplatform.pipelineJobs.create` of CreatePipelineJob.

    https://cloud.google.com/vertex-ai/docs/general/iam-permissions
    """
    if "." in method:  # storage.objects.insert
        return method.replace(".insert", ".create").replace(".patch", ".update")
    if method == "AddContextChildren":
        return f"{service}.contexts.addContextChildren"
    verb = next((verb for verb in _VERBS if method.startswith(verb)), "")
    noun = method.removeprefix(verb) or "operations"
    plural = noun if noun.endswith("s") else f"{noun}s"
    api = {"cloudresourcemanager": "resourcemanager"}.get(service, service)
    return f"{api}.{plural[:1].lower()}{plural[1:]}.{(verb or 'use').lower()}"


_VERBS = ("Create", "Get", "List", "Update", "Delete", "Cancel", "Pause", "Resume", "Upload", "Deploy", "Undeploy")
