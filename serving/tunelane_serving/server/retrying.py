"""`Retry-After`: when it makes sense to ask again."""

import math


def retry_headers(retry_after_s: float | None) -> dict[str, str]:
    """Give the header for an answer; none where asking again makes no sense. HTTP counts whole seconds."""
    return {} if retry_after_s is None else {"retry-after": str(max(math.ceil(retry_after_s), 1))}
