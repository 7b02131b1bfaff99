"""The headers of an answer that is a problem: when it makes sense to ask again, and by what right."""

import math

from tunelane_serving.problems import Problem, Unauthorized


def problem_headers(problem: Problem) -> dict[str, str]:
    """Give the headers that go with a problem, whatever shape its body has.

    `Retry-After` where asking again makes sense, in whole seconds as HTTP counts them, and 401's `WWW-Authenticate`.
    """
    headers: dict[str, str] = {}
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(math.ceil(problem.retry_after_s), 1))
    if isinstance(problem, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return headers
