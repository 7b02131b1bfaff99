"""Calling a model's code in a thread whose work must go on whatever that code raises."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tunelane_serving.errors import TunelaneError, first_line

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def attempt(
    call: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result | Exception:
    """What `call` returns, or the exception that it raises.

    The exception can be set on a future and raised in an event loop: what would end the loop (SystemExit), slip past
    its handlers (a panic in a Rust extension is a bare BaseException) or be refused by a future (StopIteration) comes
    back as a TunelaneError. The frame that an exception's traceback begins in is this one, so it keeps no future alive.
    """
    try:
        return call(*args, **kwargs)
    except StopIteration as error:
        return _named(error)
    except Exception as error:
        return error
    except BaseException as error:
        return _named(error)


def _named(error: BaseException) -> TunelaneError:
    return TunelaneError(f"the model's code failed: {type(error).__name__}: {first_line(error)}")
