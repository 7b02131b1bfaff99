"""What goes wrong with a service, in words that say what to do. Each target turns its client's errors into these."""

from tunelane_serving.errors import InputError, TunelaneError


class ServiceAway(TunelaneError):
    """The service did not answer, or said to try again (429, 500, 502, 503, 504, a broken connection).

    `is_reply_lost`: the request may have been carried out all the same.
    """

    def __init__(self, message: str, *, is_reply_lost: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.is_reply_lost = is_reply_lost
        self.retry_after_s = retry_after_s


def reason(error: TunelaneError) -> str:
    """Give what went wrong without the advice to try again, for where something else is to be done."""
    return str(error).removesuffix(" Try again.")


class NotAllowed(InputError):
    """The account lacks a permission; the message names the role that has it."""


class ServiceDisabled(InputError):
    """The project has the API turned off; the message has the command that turns it on."""


class QuotaExceeded(TunelaneError):
    """A quota is used up; the message names it and where to ask for more."""


class RegionMismatch(InputError):
    """A bucket lies in another region than the job."""


class NoSuchResource(InputError):
    """What is named is not there."""


class Refused(InputError):
    """The service finds the request wrong; the message has its words."""
