"""Tasks on this machine: in this process, or in as many worker processes as there are cores."""

import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Protocol

import msgspec

from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.shuffle.tasks import Outcome, Task, perform
from tunelane_components.etl.shuffle.worker import Answer, Failure, outcome_of, read_message, write_message


class Runner(Protocol):
    """Performs tasks somewhere."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Perform the tasks, in whatever order, and yield their outcomes as they come."""


class InProcess:
    """Performs tasks one by one, right here: for data that are read before a worker has started."""

    def __init__(self, plan: Plan) -> None:
        """Prepare for the tasks of one plan."""
        self._plan = plan

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Perform the tasks in order."""
        for task in tasks:
            yield perform(task, self._plan)


class WorkerProcesses:
    """Performs tasks in worker processes, which end with this object's `with` block or with this process.

    Plain child processes rather than multiprocessing: a notebook or a script without a main guard can use them, and no
    thread of this process is forked in the middle of something.
    """

    def __init__(self, plan: Plan, count: int) -> None:
        """Start `count` workers."""
        command = [sys.executable, "-m", "tunelane_components.etl.shuffle.worker"]
        self._workers = [
            # In a group of their own: an interrupt from the keyboard is for this process, which ends them.
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)  # noqa: S603
            for _ in range(count)
        ]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Answer)
        for worker in self._workers:
            self._send(worker, self._encoder.encode(plan))

    def __enter__(self) -> "WorkerProcesses":
        """Give this object."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, also in the middle of a task: what it would leave is thrown away."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                # What could not be sent to a worker that has ended cannot be flushed either.
                if stream is not None:
                    with suppress(OSError):
                        stream.close()

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Perform the tasks, each by the next free worker; at most two a worker are held at a time."""
        waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        for worker in self._workers:
            threading.Thread(target=self._serve, args=(worker, waiting, answers), daemon=True).start()
        pending = 0
        try:
            for task in tasks:
                if pending == 2 * len(self._workers):
                    yield outcome_of(answers.get())
                    pending -= 1
                waiting.put(self._encoder.encode(task))
                pending += 1
            for _ in range(pending):
                yield outcome_of(answers.get())
        finally:
            for _ in self._workers:
                waiting.put(b"")

    def _serve(
        self,
        worker: "subprocess.Popen[bytes]",
        waiting: "queue.SimpleQueue[bytes]",
        answers: "queue.SimpleQueue[Answer]",
    ) -> None:
        """Pass tasks to one worker, and its answers back, until there is an empty one."""
        while content := waiting.get():
            try:
                self._send(worker, content)
                answer = read_message(worker.stdout) if worker.stdout else b""
            except (OSError, ValueError):  # the worker has ended, or its pipe was closed
                answer = b""
            if answer:
                answers.put(self._decoder.decode(answer))
            else:
                code = worker.wait()
                why = " (out of memory?)" if code == -9 else ""
                answers.put(Failure(f"A worker process ended with exit code {code}{why}. Run it again.", False))

    @staticmethod
    def _send(worker: "subprocess.Popen[bytes]", content: bytes) -> None:
        if worker.stdin is not None:
            write_message(worker.stdin, content)
