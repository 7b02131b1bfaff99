"""The event loop stands back while many items wait, and only then."""

import os
import sys
import threading

import pytest

from tunelane_serving.engine.turns import Turns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")


def _policies(*waiting: int) -> list[int]:
    """Look at so many waiting items in turn, in a thread of its own; gives its policy after each."""
    found: list[int] = []

    def work() -> None:
        turns = Turns(many=4)
        for count in waiting:
            turns.look(count)
            found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def test_it_stands_back_from_many_on_until_none_waits() -> None:
    normal, patient = os.SCHED_OTHER, os.SCHED_BATCH
    assert _policies(0, 3, 4, 9, 1, 0, 3, 5) == [normal, normal, patient, patient, patient, normal, normal, patient]


def test_a_sandbox_that_forbids_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert _policies(9, 0) == [os.SCHED_OTHER, os.SCHED_OTHER]
