"""Worker threads that run models one item at a time, and the queue before them."""

import asyncio
import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from tunelane_serving.engine.calls import attempt
from tunelane_serving.engine.desk import Desk, Done, Job
from tunelane_serving.engine.turns import Turns
from tunelane_serving.errors import TunelaneError
from tunelane_serving.models.model import Answer, Item, Model, Prepared
from tunelane_serving.problems import Overloaded

_log = logging.getLogger(__name__)

# How many waiting jobs are looked at for texts of equal length; each may have to be tokenised (50 µs).
_MATES_SOUGHT_AMONG = 64
# Weight of the newest run in the average of seconds an item takes.
_NEWEST_WEIGHT = 0.1
# Of an item's time, what it may be expected to wait. The rest is for its run, and for the estimate being wrong: where
# others take the cores meanwhile, an item that was let wait would not be answered in time after all.
_WAITED_SHARE = 0.75
# From so many waiting items on, throughput matters more than the next answer's latency.
_MANY_PER_WORKER = 2
_STOPPING = "the server is stopping; ask another instance or try again"


class Scheduler:
    """As many single-threaded workers as there are cores, and one queue, first in, first out.

    Every item is run alone, so that an answer is the same bits whatever else is in flight: dynamic int8 scales are
    taken over a whole batch. Only for a model that is `batch_independent`, or whose digest is in `batch_anyway`, a
    worker takes waiting items of equal length along, at most `max_batch` in all. Nothing ever waits for a batch to
    fill, and nothing is padded.

    Measured with 64 callers on 2 workers: threads of our own cost 0.11 ms of CPU an item beside a run of 2.6 ms,
    `run_in_executor` 0.16 ms. Waking workers by a condition, by `SimpleQueue` or by a lock each costs the same within
    the noise, and the condition guards the queue as well. Holding answers back to deliver two at once won nothing.

    Args:
        workers: threads; ONNX Runtime lets the GIL go, so each keeps one core busy.
        max_waiting: items that may wait; the next one is refused.
        max_batch: items of equal length in one run, where a model may be batched at all.
        batch_anyway: digests of models that are batched though their answers then depend on their batch mates.
        on_batch: called by the worker after every run with the number of items, the seconds that the first of them
            waited, and the seconds that tokenising and running took. It must be quick.
    """

    def __init__(
        self,
        workers: int,
        *,
        max_waiting: int = 256,
        max_batch: int = 8,
        batch_anyway: Collection[str] = (),
        on_batch: Callable[[int, float, float], None] | None = None,
    ) -> None:
        if min(workers, max_waiting, max_batch) < 1:
            raise ValueError("workers, max_waiting and max_batch: at least 1")
        self.on_batch = on_batch
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._batch_anyway = frozenset(batch_anyway)
        # Ordered, and any job leaves it at once when its client does.
        self._queue: OrderedDict[Job, None] = OrderedDict()
        # Guards what follows. Its lock is reentrant: the garbage collector may close a coroutine inside of it.
        self._changed = threading.Condition()
        self._running = 0
        self._item_s = 0.0
        self._closed = False
        self._desk: Desk | None = None
        self._turns = Turns(_MANY_PER_WORKER * workers)
        # Daemons, so that a run that hangs never holds up the end of the process.
        self._workers = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def workers(self) -> int:
        """How many threads run items."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Items that no worker has taken yet."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Items that workers have taken and not finished."""
        return self._running

    def estimated_wait_s(self, items: int = 0) -> float:
        """How long an item that comes now will wait, by what items took lately; 0 before the first one.

        With `items`, how long until so many that come now are through.
        """
        return (len(self._queue) + items) * self._item_s / len(self._workers)

    def require_room(self) -> None:
        """Raise Overloaded where the queue is full now: a request can be refused before anything is done for it."""
        if len(self._queue) >= self._max_waiting:
            raise Overloaded(
                f"{len(self._queue)} items wait already; ask again later, at a lower rate",
                retry_after_s=self.estimated_wait_s(),
            )

    async def run(self, model: Model, item: Item, *, timeout_s: float) -> Answer:
        """Answer `item` by `model`.

        A caller that is cancelled takes its item out of the queue; one that a worker has taken already is finished and
        thrown away.

        Raises:
            Overloaded: the queue is full, or too long for an answer within `timeout_s`, or the scheduler is closed.
            InferenceTimeout: no answer within `timeout_s`, waiting and running together.
            FeaturesMismatch: `item` is not what the model takes.
            TunelaneError: the model's code failed with something that is no Exception.
            Exception: what else the model raised.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer | Exception) -> None:
            if answered.done():
                return
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)

        job = self.submit(model, item, done, timeout_s=timeout_s)
        try:
            return await answered
        finally:
            self.give_up(job)

    def submit(self, model: Model, item: Item, done: Done, *, timeout_s: float) -> Job:
        """Have `item` answered by `model`, as `run` does, without a task that waits for it.

        For the event loop's thread. `done` is called there later, once, with the answer or what `run` raises; not
        after `give_up`. It costs the loop half of what awaiting `run` does.

        Raises:
            Overloaded: as `run`; `done` is not called then.
        """
        desk = self._desk
        loop = asyncio.get_running_loop()
        if desk is None or desk.loop is not loop:
            self._desk = desk = Desk(loop, self.estimated_wait_s)
        self._turns.look(len(self._queue))
        job = desk.open_job(model, item, done, timeout_s=timeout_s)
        self._admit(job)
        desk.watch(job)
        return job

    def give_up(self, job: Job) -> None:
        """Take `job` out of the queue; one that a worker has taken already is finished and thrown away."""
        job.desk.give_up(job)
        if job.is_waiting:
            self._withdraw(job)

    def close(self, *, timeout_s: float = 5.0) -> bool:
        """Finish what is running and refuse what waits and comes; True when all workers ended within `timeout_s`."""
        with self._changed:
            self._closed = True
            dropped = list(self._queue)
            self._queue.clear()
            for job in dropped:
                job.is_waiting = False
            self._changed.notify_all()
        for job in dropped:
            job.desk.answer(job, Overloaded(_STOPPING, retry_after_s=1.0))
        self._turns.end()
        deadline_s = time.monotonic() + timeout_s
        for worker in self._workers:
            worker.join(max(0.0, deadline_s - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    def _admit(self, job: Job) -> None:
        with self._changed:
            if self._closed:
                raise Overloaded(_STOPPING, retry_after_s=1.0)
            self.require_room()
            wait_s = self.estimated_wait_s()
            if wait_s > _WAITED_SHARE * job.timeout_s:
                raise Overloaded(
                    f"no answer within {job.timeout_s:g} s is to be expected; ask again later, at a lower rate",
                    retry_after_s=wait_s,
                )
            self._queue[job] = None
            self._changed.notify()

    def _withdraw(self, job: Job) -> None:
        with self._changed:
            if job.is_waiting:
                self._take(job)

    def _take(self, job: Job) -> None:
        del self._queue[job]
        job.is_waiting = False

    def _work(self) -> None:
        free_since_s = 0.0
        while (job := self._next_job()) is not None:
            self._serve([job], free_since_s)
            free_since_s = time.monotonic()
            # An idle worker must not keep a model in memory that was evicted.
            del job

    def _next_job(self) -> Job | None:
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            job, _ = self._queue.popitem(last=False)
            job.is_waiting = False
            self._running += 1
            return job

    def _serve(self, batch: list[Job], free_since_s: float) -> None:
        """Answer the one job in `batch`, and those that join it. Whatever happens, each is answered and counted."""
        began_s = time.monotonic()
        failure = attempt(self._run, batch, began_s, free_since_s)
        if isinstance(failure, Exception):
            _log.error("a worker failed", exc_info=failure)
            for job in batch:
                job.desk.answer(job, failure)
        with self._changed:
            self._running -= len(batch)

    def _run(self, batch: list[Job], began_s: float, free_since_s: float) -> None:
        first = batch[0]
        # A job that is out of time is answered by its desk.
        if first.is_over():
            return
        prepared = first.prepare()
        if isinstance(prepared, Exception):
            first.desk.answer(first, prepared)
            return
        model = first.model
        together = [prepared]
        if model.batch_independent or model.digest in self._batch_anyway:
            together += self._let_join(batch, prepared.length)
        for job, answer in zip(batch, _answers(model, together), strict=True):
            job.desk.answer(job, answer)
        ended_s = time.monotonic()
        run_s = ended_s - began_s
        # Not the run alone: a worker also waits for the interpreter, most of all where many requests are refused.
        item_s = (ended_s - max(free_since_s, first.arrived_s)) / len(batch)
        # Two workers that write this at once lose one figure of an average.
        self._item_s = self._item_s + _NEWEST_WEIGHT * (item_s - self._item_s) if self._item_s else item_s
        if self.on_batch is not None:
            self.on_batch(len(batch), began_s - first.arrived_s, run_s)

    def _let_join(self, batch: list[Job], length: int) -> list[Prepared]:
        """Take waiting jobs of `length` and the first one's model out of the queue, into `batch`; gives them prepared.

        Those that cannot be prepared fail here, alone.
        """
        with self._changed:
            near = list(itertools.islice(self._queue, _MATES_SOUGHT_AMONG))
        found: list[tuple[Job, Prepared | Exception]] = []
        fitting = 0
        # Tokenised outside the lock, and once: a job that stays behind keeps what was prepared.
        for job in near:
            if fitting == self._max_batch - 1:
                break
            # What another worker is tokenising right now is left to it.
            if job.model is not batch[0].model or (job.prepared is None and job.is_being_prepared) or job.is_over():
                continue
            prepared = job.prepare()
            if isinstance(prepared, Exception):
                found.append((job, prepared))
            elif prepared.length == length:
                found.append((job, prepared))
                fitting += 1
        joined: list[Prepared] = []
        with self._changed:
            for job, prepared in found:
                # Another worker may have taken it meanwhile.
                if not job.is_waiting:
                    continue
                self._take(job)
                if isinstance(prepared, Exception):
                    job.desk.answer(job, prepared)
                else:
                    self._running += 1
                    batch.append(job)
                    joined.append(prepared)
        return joined


def _answers(model: Model, prepared: list[Prepared]) -> Sequence[Answer | Exception]:
    """One run of the model; where that fails, one for each item, since one of them alone may be at fault."""
    answers = attempt(model.run, prepared)
    if not isinstance(answers, Exception) and len(answers) != len(prepared):
        answers = TunelaneError(f"the model gave {len(answers)} answers to {len(prepared)} items")
    if not isinstance(answers, Exception):
        return answers
    if len(prepared) == 1:
        return [answers]
    return [answer for item in prepared for answer in _answers(model, [item])]
