"""Answers that are errors, in the one shape that all of them have."""

from collections.abc import Mapping

from starlette.responses import Response

from tunelane_serving.problems import Overloaded, Problem
from tunelane_serving.server.operation import json_response
from tunelane_serving.server.retrying import problem_headers
from tunelane_serving.server.wire import ErrorBody, ErrorDetail

STOPPING = Overloaded("The server is stopping; ask another instance", retry_after_s=1.0)


def refusal(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an error that no class stands for."""
    return json_response(ErrorBody(ErrorDetail(code, message)), status=status, headers=headers)


def problem_refusal(problem: Problem) -> Response:
    """Answer with a problem, which owns its status and code."""
    body = ErrorBody(ErrorDetail(problem.code, str(problem), problem.details))
    return json_response(body, status=problem.status, headers=problem_headers(problem))


def crash_refusal() -> Response:
    """Keep what went wrong inside from the client; it goes to the log."""
    return refusal(500, Problem.code, "The server failed on this request; its log says why")


def disconnect_refusal() -> Response:
    """Nobody is left to read this; it is what the metrics count."""
    return refusal(400, "client_disconnected", "The client went away before it had its answer")
