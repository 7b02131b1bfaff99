"""What can be wrong with a request. Each class owns its HTTP status and its code; the client reads the message."""

from collections.abc import Sequence
from typing import ClassVar

from tunelane_serving.errors import InputError, TunelaneError


class Problem(TunelaneError):
    """A request that gets no answer, and why.

    `code` is stable, for programs; the message is for people. `details` are single findings, one line each.
    `retry_after_s` is when it makes sense to ask again, where it does: the answer's `Retry-After`.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, details: Sequence[str] = (), retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.details = tuple(details)
        self.retry_after_s = retry_after_s


class MalformedJson(Problem):
    """The body is not JSON."""

    status = 400
    code = "malformed_json"


class MalformedUpload(Problem):
    """The body is not the multipart form that an upload is."""

    status = 400
    code = "malformed_upload"


class FeaturesMismatch(Problem):
    """The features do not fit the model's input schema; `details` says where."""

    status = 400
    code = "features_mismatch"


class Unauthorized(Problem):
    """No API key, or one that nobody has."""

    status = 401
    code = "unauthorized"


class Forbidden(Problem):
    """The key has no right to this, or this server does not do it at all."""

    status = 403
    code = "forbidden"


class NotFound(Problem):
    """There is no such path, model, version or entity."""

    status = 404
    code = "not_found"


class MethodNotAllowed(Problem):
    """The path takes other methods."""

    status = 405
    code = "method_not_allowed"


class NotKept(Problem):
    """A server without a database keeps no feedback, events or features."""

    status = 409
    code = "not_kept"


class VersionExists(Problem):
    """Another package stands under this model and version; a version is never changed."""

    status = 409
    code = "version_exists"


class BodyTooLarge(Problem):
    """The body has more bytes than the server takes."""

    status = 413
    code = "body_too_large"


class InvalidRequest(Problem):
    """JSON, but not a request: wrong fields, an empty or too long text, too many texts."""

    status = 422
    code = "invalid_request"


class BadPackage(Problem):
    """What was uploaded is not a model package that may be served here."""

    status = 422
    code = "bad_package"


class RateLimited(Problem):
    """The key has used up its requests for now."""

    status = 429
    code = "rate_limited"


class NotReady(Problem):
    """The model cannot answer now: it is not loaded yet, cannot be loaded, or the server is stopping."""

    status = 503
    code = "not_ready"


class Overloaded(Problem):
    """As many requests wait as the server lets wait, or more than could be answered in time."""

    status = 503
    code = "overloaded"


class InferenceTimeout(Problem):
    """The answer did not come within the inference timeout."""

    status = 503
    code = "inference_timeout"


class DatabaseAway(Problem):
    """The database does not answer; what was to be written may be lost, and may be sent again."""

    status = 503
    code = "database_away"


class DatabaseUnusable(DatabaseAway, InputError):
    """The URL, or what it leads to, is no database that can be used; asking again helps only once that is mended."""
