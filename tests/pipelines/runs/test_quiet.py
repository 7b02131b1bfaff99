"""How long a lost request may still be on its way."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.service import START
from tunelane_pipelines.runs.quiet import QUIET_TIME, quiet_left_min
from tunelane_pipelines.runs.record import RunRecord


def _sent(at: object) -> RunRecord:
    return RunRecord("r", "p", "P", "kubeflow", START, "", {}, {}, {}, (), sent_at=at)  # type: ignore[arg-type]


def test_what_was_never_sent_never_comes() -> None:
    assert quiet_left_min(_sent(None), START) == 0


@given(st.floats(0, 3600))
def test_whoever_waits_as_long_as_is_said_has_waited_long_enough(passed_s: float) -> None:
    record, now = _sent(START), START + timedelta(seconds=passed_s)
    left_min = quiet_left_min(record, now)
    assert (left_min == 0) == (now - START >= QUIET_TIME)
    assert quiet_left_min(record, now + timedelta(minutes=left_min)) == 0
