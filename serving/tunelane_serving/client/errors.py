"""What a caller of the client can meet. All of them are a `ClassifierError`."""

from tunelane_serving.errors import TunelaneError


class ClassifierError(TunelaneError):
    """There is no answer.

    Attributes:
        status: the HTTP status of the answer; None where there was none.
        code: for programs: the server's own code, or one of the client's: `invalid_input`, `not_configured`,
            `no_connection`, `timeout`, `no_token`, `unexpected_answer`, `no_classifier`.
        message: for people, one line; also what `str()` gives.
        details: single findings of the server, one line each.
        retry_after_s: what the server said about when to ask again, where it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        details: tuple[str, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details = details
        self.retry_after_s = retry_after_s


class InvalidInput(ClassifierError):
    """What was sent cannot be answered, now or later: an empty or too long text, an unknown model."""

    exit_code = 2


class NotAllowed(ClassifierError):
    """The API key or token is missing, unknown, or not good for this."""

    exit_code = 2


class Unavailable(ClassifierError):
    """No answer now, maybe later: overloaded, not ready, not reachable, too slow. Sent again before this is raised."""
