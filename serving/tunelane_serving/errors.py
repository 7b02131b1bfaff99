"""The errors every Tunelane package raises. A message is one line and says what to do."""


class TunelaneError(Exception):
    """Something Tunelane can name. `exit_code` is what a command ends with when it reaches the edge."""

    exit_code = 1


class InputError(TunelaneError):
    """The user's input cannot be used: a missing file, an unknown label, too few rows."""

    exit_code = 2


class ContractError(TunelaneError):
    """A file breaks its contract. The message names the file, and the line and field where there are any."""


class DigestMismatch(ContractError):
    """Content is not what its digest says it is. The message names both digests."""


def first_line(error: BaseException) -> str:
    """What a library's error says first, for a message of one line; the error's class where it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip() or type(error).__name__
