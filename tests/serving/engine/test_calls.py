import pytest

from tunelane_serving.engine.calls import attempt
from tunelane_serving.errors import TunelaneError


def _raise(error: BaseException) -> None:
    raise error


def test_a_result_comes_back_as_it_is() -> None:
    assert attempt(divmod, 7, 2) == (3, 1)


def test_an_exception_comes_back_itself() -> None:
    error = ValueError("no")
    assert attempt(_raise, error) is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1), GeneratorExit()])
def test_what_would_end_a_loop_comes_back_named(error: BaseException) -> None:
    found = attempt(_raise, error)
    assert isinstance(found, TunelaneError)
    assert f"failed: {type(error).__name__}" in str(found)
    assert found.__cause__ is None
    assert "\n" not in str(found)
