"""Whose turn it is where all cores are busy: the event loop's, or the models'."""

import os
import sys
import threading
from contextlib import suppress


class Turns:
    """Lets the event loop's thread interrupt models while few items wait, and no more while many do.

    A loop that takes its turn after a model's run finds several answers to send, and the model keeps its caches: with
    64 clients on 2 cores the loop costs a fifth less so. While few items wait, an answer would only come later.
    """

    def __init__(self, many: int) -> None:
        """Name how many waiting items are many."""
        self._many = many
        self._is_patient = False
        self._thread = 0

    def look(self, waiting: int) -> None:
        """Decide by how many items wait before the next one joins them. For the event loop's thread."""
        if self._is_patient:
            if not waiting:
                self._be_patient(False)
        elif waiting >= self._many:
            self._thread = threading.get_native_id()
            self._be_patient(True)

    def end(self) -> None:
        """Leave the loop's thread as it was found: it may go on with other work. For any thread."""
        if self._is_patient:
            self._be_patient(False)

    def _be_patient(self, is_patient: bool) -> None:
        self._is_patient = is_patient
        if sys.platform == "linux":
            policy = os.SCHED_BATCH if is_patient else os.SCHED_OTHER
            # Threads that the loop starts meanwhile stay patient: they store and load, which nobody's answer waits for.
            # A sandbox may forbid it; then things are as they were. Linux takes a thread's id for a process's.
            with suppress(OSError):
                os.sched_setscheduler(self._thread, policy, os.sched_param(0))
