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
        # A thread begins with the policy of the one that starts it, which may be any.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
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
    before = os.sched_getscheduler(0)
    turns = Turns(many=4)
    turns.look(9)
    turns.end()
    assert os.sched_getscheduler(0) == before


def test_it_leaves_the_loops_thread_as_it_was_whoever_ends_it() -> None:
    turns, looked, ended, found = Turns(many=4), threading.Event(), threading.Event(), []

    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        turns.look(9)
        found.append(os.sched_getscheduler(0))
        looked.set()
        ended.wait(10)
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    looked.wait(10)
    turns.end()
    ended.set()
    thread.join()
    assert found == [os.SCHED_BATCH, os.SCHED_OTHER]
