"""Faults that the fake shows on demand, and the record of what was called."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tests.cloud.kubeflow.errors import ApiError

Fault = Literal["429", "500", "503", "slow", "dropped", "reply-lost", "late", "nameless", "conflict", "denied"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

TRANSIENT: tuple[Fault, ...] = ("429", "500", "503", "slow", "dropped", "reply-lost", "late", "nameless")
"""The same call would do later on."""

# The connection breaks without an answer: before the call is carried out, after that, or long before it.
BROKEN: tuple[Fault, ...] = ("dropped", "reply-lost", "late")

# The answer does not say what was made. What makes nothing is answered as ever.
CREATES = ("create_run", "create_recurring_run")


@dataclass
class Call:
    """A call as it arrived, and what was answered; 0 where nothing was."""

    operation: str
    query: dict[str, str]
    body: Any
    status: int = 0
    fault: str = ""


def raise_fault(fault: Fault | None, operation: str) -> None:
    """Answer with a fault that is an error."""
    errors = {
        "429": ApiError(8, "Too many requests"),
        "500": ApiError(13, "Internal Server Error: the database went away"),
        "503": ApiError(14, "The service is unavailable"),
        "conflict": ApiError(6, f"{operation}: the resource already exists"),
        "denied": ApiError(7, f"User 'ann@example.org' is not authorized to {operation}"),
    }
    if fault in errors:
        raise errors[fault]
