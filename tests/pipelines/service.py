"""A service that runs pipelines, in a file: it outlives whoever talks to it. Faults are what a test says."""

import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tunelane_pipelines.targets.errors import NoSuchResource, ServiceAway
from tunelane_pipelines.targets.target import (
    LogLine,
    Recurrence,
    RemoteRun,
    RemoteSchedule,
    RemoteTarget,
    RemoteTask,
    Submission,
)

START = datetime(2026, 1, 2, 12, tzinfo=UTC)
AWAY = "It does not answer."
_RUNS = list[RemoteRun]
T = TypeVar("T")


class FakeClock:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.time = START
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.time += timedelta(seconds=seconds)


class Service:
    """A `RemoteTarget` that keeps its runs in a file.

    `step` is called with the verb and "before" or "after" around each; what it raises is what the client gets. After
    means that the verb was carried out. Each `get` of a run moves it to the next state of `script`.
    """

    def __init__(self, path: Path, clock: FakeClock, name: str = "vertex") -> None:
        self.name = name
        self.service = f"{name} p/europe-west4"
        self.takes_run_id = True
        self.step: Callable[[str, str], None] = lambda _verb, _when: None
        self.calls: list[str] = []
        self.script: list[Callable[[RemoteRun], RemoteRun]] = []
        self.log: list[LogLine] = []
        self._path = path
        self._clock = clock

    def __call__(self, _name: str) -> RemoteTarget:
        """Be what opens a target by its name."""
        return self

    @property
    def all_runs(self) -> _RUNS:
        return msgspec.json.decode(self._path.read_bytes(), type=_RUNS) if self._path.exists() else []

    def add(self, run: RemoteRun) -> RemoteRun:
        """Have a run at the service that nobody here submitted."""
        self._save([*self.all_runs, run])
        return run

    def change(self, resource: str, change: Callable[[RemoteRun], RemoteRun]) -> None:
        self._save([change(run) if run.resource == resource else run for run in self.all_runs])

    def remove(self, resource: str) -> None:
        self._save([run for run in self.all_runs if run.resource != resource])

    def request(self, submission: Submission) -> dict[str, Any]:
        return {"pipelineJobId": submission.run_id, "parameters": submission.parameters}

    def check(self, _submission: Submission) -> None:
        self._around("check", lambda: None)

    def submit(self, submission: Submission) -> RemoteRun:
        def start() -> RemoteRun:
            # Who takes no id starts whatever it is sent.
            found = self._labelled(submission.run_id) if self.takes_run_id else None
            return found or self.add(self.new_run(submission.run_id, submission.pipeline, submission.parameters))

        return self._around("submit", start)

    def file_run(self, _resource: str, _experiment: str) -> None:
        self._around("file_run", lambda: None)

    def find(self, run_id: str) -> RemoteRun | None:
        return self._around("find", lambda: self._labelled(run_id))

    def get(self, resource: str) -> RemoteRun:
        def read() -> RemoteRun:
            if self.script:
                self.change(resource, self.script.pop(0))
            found = next((run for run in self.all_runs if run.resource == resource), None)
            if found is None:
                raise NoSuchResource(f"No run {resource}.")
            return found

        return self._around("get", read)

    def runs(self, *, since: datetime) -> Iterator[RemoteRun]:
        found = self._around("runs", lambda: [run for run in self.all_runs if run.created_at >= since])
        yield from (replace(run, tasks=()) for run in reversed(found))

    def cancel(self, resource: str) -> None:
        def end(run: RemoteRun) -> RemoteRun:
            is_over = run.state in ("succeeded", "failed", "cancelled")
            return run if is_over else replace(run, state="cancelled", ended_at=self._clock.now())

        self._around("cancel", lambda: self.change(resource, end))

    def logs(self, _resource: str, *, task: str = "") -> Iterator[LogLine]:
        yield from self._around("logs", lambda: [line for line in self.log if task in ("", line.task)])

    def create_schedule(self, name: str, submission: Submission, recurrence: Recurrence) -> RemoteSchedule:
        raise NotImplementedError

    def schedules(self) -> Iterator[RemoteSchedule]:
        raise NotImplementedError

    def schedule(self, name: str) -> RemoteSchedule:
        raise NotImplementedError

    def pause_schedule(self, resource: str) -> None:
        raise NotImplementedError

    def resume_schedule(self, resource: str, *, catch_up: bool) -> None:
        raise NotImplementedError

    def update_schedule(self, resource: str, recurrence: Recurrence) -> RemoteSchedule:
        raise NotImplementedError

    def delete_schedule(self, resource: str) -> None:
        raise NotImplementedError

    def new_run(self, run_id: str, pipeline: str = "train-classifier", parameters: Any = None) -> RemoteRun:
        """A run that has just begun."""
        resource = f"projects/1/pipelineJobs/{run_id}"
        console = f"https://console/{run_id}"
        return RemoteRun(
            resource, run_id, "Train", pipeline, "pending", self._clock.now(), console, parameters=parameters or {}
        )

    def _labelled(self, run_id: str) -> RemoteRun | None:
        return next((run for run in self.all_runs if run.run_id == run_id), None)

    def _around(self, verb: str, call: Callable[[], T]) -> T:
        self.calls.append(verb)
        self.step(verb, "before")
        answer = call()
        self.step(verb, "after")
        return answer

    def _save(self, runs: _RUNS) -> None:
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._path.write_text(json.dumps(msgspec.to_builtins(runs)))


def away(verb: str, when: str, *, times: int = 1) -> Callable[[str, str], None]:
    """A step at which the service does not answer the first so many times, before or after doing what it is asked."""
    left = times

    def step(verb_now: str, when_now: str) -> None:
        nonlocal left
        if (verb_now, when_now) == (verb, when) and left:
            left -= 1
            raise ServiceAway(AWAY, is_reply_lost=True)

    return step


def silent_from(verb: str, when: str) -> Callable[[str, str], None]:
    """A step at which the reply is lost, and whatever is looked for later, too."""

    def step(verb_now: str, when_now: str) -> None:
        if verb_now == "find" or (verb_now, when_now) == (verb, when):
            raise ServiceAway("No reply.", is_reply_lost=True)

    return step


def at_work(**states: str) -> Callable[[RemoteRun], RemoteRun]:
    """A state of a script: the run's (`run`), and the tasks' by name, with _ for -."""
    tasks = tuple(
        RemoteTask(
            name.replace("_", "-"),
            state,  # type: ignore[arg-type]
            None if state == "pending" else START,
            START + timedelta(seconds=60) if state in ("succeeded", "failed") else None,
            "The replica exited with code 1." if state == "failed" else "",
            f"https://logs/{name}",
        )
        for name, state in states.items()
        if name != "run"
    )
    ended_at = START + timedelta(minutes=5) if states["run"] in ("succeeded", "failed", "cancelled") else None
    return lambda run: replace(run, state=states["run"], tasks=tasks, ended_at=ended_at)  # type: ignore[arg-type]


def no_target(name: str) -> RemoteTarget:
    """What opens a target where none is to be talked to."""
    raise AssertionError(f"{name} was opened")
