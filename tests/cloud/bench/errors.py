"""The errors that a fake answers with, in the form that Google's services give them."""

from dataclasses import dataclass, field

import grpc  # type: ignore[import-untyped]
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
"""HTTP status of each code: https://cloud.google.com/apis/design/errors#handling_errors"""


@dataclass(eq=False)
class ApiError(Exception):
    """A call is answered with no.

    Attributes:
        code: name of a google.rpc.Code.
        reason: ErrorInfo's, upper case; empty for none. https://google.aip.dev/193#errorinfo
        metadata: ErrorInfo's.
        retry_after_s: RetryInfo's; None for none.
    """

    code: str
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None

    @property
    def number(self) -> int:
        return int(getattr(grpc.StatusCode, self.code).value[0])

    def status(self) -> status_pb2.Status:
        """Give it as a google.rpc.Status."""
        details = []
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain="googleapis.com", metadata=self.metadata)
            details.append(info)
        if self.retry_after_s is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(self.retry_after_s * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        return status_pb2.Status(code=self.number, message=self.message, details=packed)


class Dropped(Exception):
    """The connection ends without an answer."""


def invalid(message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", message)


def not_found(name: str) -> ApiError:
    return ApiError("NOT_FOUND", f"Resource {name} is not found.")
