"""What can be wrong with a request. Each class owns its HTTP status and its code; the client reads the message."""

from tunelane_serving.errors import TunelaneError


class Problem(TunelaneError):
    """A request that gets no answer, and why. `code` is stable, for programs; the message is for people."""

    status = 500
    code = "internal_error"


class MalformedJson(Problem):
    """The body is not JSON."""

    status = 400
    code = "malformed_json"


class BodyTooLarge(Problem):
    """The body has more bytes than the server takes."""

    status = 413
    code = "body_too_large"


class InvalidRequest(Problem):
    """JSON, but not a request: wrong fields, an empty or too long text, too many texts."""

    status = 422
    code = "invalid_request"


class NotReady(Problem):
    """No model is loaded yet."""

    status = 503
    code = "not_ready"
