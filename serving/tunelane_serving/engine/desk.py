"""One event loop's side of the scheduler: the jobs in flight there, their deadlines, and the way back of answers."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tunelane_serving.engine.calls import attempt
from tunelane_serving.models.model import Answer, Item, Model, Prepared
from tunelane_serving.problems import InferenceTimeout

# Takes what became of an item; called in the loop's thread.
Done = Callable[[Answer | Exception], None]


@dataclass(slots=True, eq=False)
class Job:
    """One item on its way through a model. Times are `time.monotonic()`.

    `is_waiting` is true while it stands in the scheduler's queue; who takes it out of there, answers it. `is_done`
    becomes true in the loop's thread: when `done` is called, or when nobody waits for that any more.
    """

    model: Model
    item: Item
    done: Done
    desk: "Desk"
    arrived_s: float
    timeout_s: float
    deadline_s: float
    is_done: bool = False
    is_waiting: bool = True
    is_being_prepared: bool = False
    prepared: Prepared | None = None

    def is_over(self) -> bool:
        """Nobody waits for the answer any more: given up, or out of time. Asked in any thread."""
        return self.is_done or time.monotonic() >= self.deadline_s

    def prepare(self) -> Prepared | Exception:
        """The item as the graph gets it, remembered; or what went wrong."""
        if self.prepared is not None:
            return self.prepared
        self.is_being_prepared = True
        prepared = attempt(self.model.prepare, self.item)
        if not isinstance(prepared, Exception):
            self.prepared = prepared
        return prepared


class Desk:
    """The jobs of one event loop. All but `answer` is called in that loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, estimated_wait_s: Callable[[], float]) -> None:
        self.loop = loop
        self._estimated_wait_s = estimated_wait_s
        self._in_flight: set[Job] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = math.inf
        self._answered: deque[tuple[Job, Answer | Exception]] = deque()
        self._is_called = False

    def open_job(self, model: Model, item: Item, done: Done, *, timeout_s: float) -> Job:
        """Make a job whose time runs from now."""
        now_s = time.monotonic()
        return Job(model, item, done, self, now_s, timeout_s, now_s + timeout_s)

    def watch(self, job: Job) -> None:
        """See to it that `job` is answered by its deadline, even when all workers are stuck."""
        self._in_flight.add(job)
        # One timer for the earliest deadline there may be. Timeouts are mostly the same, so the next job's is later:
        # the timer is set about once a timeout. A job costs 0.1 µs so; a timer of its own would cost 1.5 µs.
        if job.deadline_s < self._timer_at_s:
            self._set_timer(job.deadline_s)

    def give_up(self, job: Job) -> None:
        """See to it that nobody is told of `job` any more."""
        job.is_done = True
        self._in_flight.discard(job)

    def answer(self, job: Job, answer: Answer | Exception) -> None:
        """Hand an answer, or a failure, to the loop. Called in any thread; one that comes too late is thrown away."""
        self._answered.append((job, answer))
        # Waking the loop costs a system call here and two there. One call delivers all that came until it runs: what
        # is appended while `_is_called` is true is seen, since `_deliver` makes it false before it looks.
        if not self._is_called:
            self._is_called = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits there
                self._answered.clear()

    def _deliver(self) -> None:
        self._is_called = False
        while self._answered:
            job, answer = self._answered.popleft()
            self._tell(job, answer)

    def _tell(self, job: Job, answer: Answer | Exception) -> None:
        if job.is_done:
            return
        self.give_up(job)
        try:
            job.done(answer)
        except Exception as error:  # the jobs after this one are told all the same
            self.loop.call_exception_handler({"message": "what waited for an answer failed", "exception": error})

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = at_s
        # The loop's clock need not be ours.
        self._timer = self.loop.call_later(max(0.0, at_s - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._timer_at_s = math.inf
        now_s = time.monotonic()
        earliest_s = math.inf
        for job in list(self._in_flight):
            if job.deadline_s > now_s:
                earliest_s = min(earliest_s, job.deadline_s)
                continue
            late = f"no answer within {job.timeout_s:g} s; ask again later"
            self._tell(job, InferenceTimeout(late, retry_after_s=self._estimated_wait_s()))
        if earliest_s < math.inf:
            self._set_timer(earliest_s)
