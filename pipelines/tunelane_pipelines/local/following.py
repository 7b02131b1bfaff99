"""The worker's lines turned into the record of the run: which task runs, what it says, how it ended."""

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tunelane_components.train.progress import parse_epoch, parse_step
from tunelane_pipelines.display.interface import Display
from tunelane_pipelines.local.worker import EVENT_PREFIX, TaskEvent
from tunelane_pipelines.runs.masking import mask, mask_values
from tunelane_pipelines.runs.outputs import take_outputs
from tunelane_pipelines.runs.record import Progress, RunRecord, TaskRecord
from tunelane_serving.errors import InputError, TunelaneError

_EXCEPTION = re.compile(r"^\s*(tunelane_[\w.]+)\.(\w+): (.*)$")
_ANY_EXCEPTION = re.compile(r"^\s*([\w.]*(?:Error|Exception|Exit|Interrupt)(?:: .*)?)$")
_EXECUTOR_LINE = re.compile(r"^\s*\[KFP Executor (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) [A-Z]+\]: (.*)$")
# Colours, and whatever else would move a terminal's cursor.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]")
_GOT_INPUT = "Got executor_input"
_WROTE_OUTPUT = "Wrote executor output"
# What kfp says of itself, and a kernel that only 4-bit models need.
_CHATTER = ("Looking for component", "Loading KFP component", _GOT_INPUT, _WROTE_OUTPUT, "Failed to load CPU gemm")


class TaskFailed(TunelaneError):
    """A task of the run failed. `exit_code` is that of the error which the task raised."""

    def __init__(self, task: str, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.task = task
        self.exit_code = exit_code


@dataclass
class _Stage:
    """What is known of the running task's process. Times are those that its own log lines carry."""

    input_lines: list[str] | None = None
    executor_input: dict[str, Any] | None = None
    began: datetime | None = None
    ended: datetime | None = None


class Follower:
    """Takes the worker's lines one by one and keeps `record` true to them.

    Args:
        record: the run's; changed in place.
        directory: the run's directory.
        display: told of tasks and of what they say.
        save: called when the record has changed; told whether a task started or ended.
    """

    def __init__(
        self, record: RunRecord, directory: Path, display: Display, save: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._record = record
        self._directory = directory
        self._display = display
        self._save = save
        self._task: TaskRecord | None = None
        self._stage = _Stage()
        # What the running task said last: an error of Tunelane's own, and any other exception.
        self._error: TaskFailed | None = None
        self._foreign_error = ""
        # The first failed task, and what it had said.
        self._failed_task = ""
        self._failure: tuple[TaskFailed | None, str] = None, ""

    def take(self, line: str) -> None:
        """Take one line."""
        if line.startswith(EVENT_PREFIX):
            event = msgspec.json.decode(line.removeprefix(EVENT_PREFIX), type=TaskEvent)
            if event.state == "running":
                self._start(event)
            else:
                self._end(event)
            self._save(True)
            return
        self._note_error(line)
        if self._task is not None:
            self._read(self._task, line.rstrip("\n"))

    def failure(self, log: Path) -> TaskFailed:
        """The error that ended the run; the first task's, where several failed."""
        error, foreign = self._failure if self._failed_task else (self._error, self._foreign_error)
        if error is not None:
            if error.exit_code == InputError.exit_code:
                return error
            said = str(error).rstrip(".")
            return TaskFailed(error.task, f"{error.task}: {said}; its output is in {log}", 1)
        task = self._failed_task or (self._task.name if self._task else "the run")
        said = f": {foreign}" if foreign else " without a word that Tunelane knows"
        return TaskFailed(task, f"{task} failed{said}; its output is in {log}", 1)

    def _start(self, event: TaskEvent) -> None:
        self._task, self._stage = self._task_named(event.task), _Stage()
        self._task.state, self._task.started_at = "running", datetime.fromtimestamp(event.at_s, UTC)
        self._error, self._foreign_error = None, ""
        self._display.task_changed(self._task)

    def _end(self, event: TaskEvent) -> None:
        task, stage = self._task_named(event.task), self._stage
        ended_at = datetime.fromtimestamp(event.at_s, UTC)
        task.wall_s = _seconds(task.started_at or ended_at, ended_at)
        if stage.began is not None:
            task.stage_s = _seconds(stage.began, stage.ended) if stage.ended else task.wall_s
        if stage.ended is not None:
            task.exit_s = min(_seconds(stage.ended, ended_at), max(round(task.wall_s - task.stage_s, 3), 0.0))
        if stage.executor_input is not None:
            take_outputs(task, stage.executor_input, self._directory)
        if event.state == "failed":
            task.error = str(self._error or self._foreign_error or "It ended without a word.")
            if not self._failed_task:
                self._failed_task, self._failure = task.name, (self._error, self._foreign_error)
        # Last: a display that redraws meanwhile must not meet an ended task without its figures.
        self._task, task.state = None, event.state
        self._display.task_changed(task)

    def _read(self, task: TaskRecord, line: str) -> None:
        """Read a line of the running task: kfp's own give times and inputs, the stage's own are shown."""
        stage = self._stage
        if stage.input_lines is not None:
            stage.input_lines.append(line)
            # The executor indents what it prints; the closing brace of the whole stands where its opening one does.
            if line == stage.input_lines[0].replace("{", "}"):
                stage.executor_input = msgspec.json.decode("\n".join(stage.input_lines), type=dict[str, Any])
                stage.input_lines = None
                task.parameters = mask_values(stage.executor_input.get("inputs", {}).get("parameterValues", {}))
            return
        match = _EXECUTOR_LINE.match(line)
        if match is None:
            return
        stamp, said = match.groups()
        if said.startswith(_GOT_INPUT):
            stage.began, stage.input_lines = _local_time(stamp), []
        elif said.startswith(_WROTE_OUTPUT):
            stage.ended = _local_time(stamp)
        elif not said.startswith(_CHATTER):
            task.last_line = mask(_CONTROL.sub("", said))
            _note_progress(task, said)
            self._display.task_said(task, task.last_line)
            self._save(False)

    def _task_named(self, name: str) -> TaskRecord:
        """A task of the record; added at its end where the DAG did not name it (a loop's)."""
        found = self._record.task(name)
        if found is None:
            found = TaskRecord(name, name, name.replace("-", "_"))
            self._record.tasks = (*self._record.tasks, found)
        return found

    def _note_error(self, line: str) -> None:
        """Note a traceback's last line, which names module and class; of several the last counts."""
        match = _EXCEPTION.match(line)
        if match is None:
            foreign = _ANY_EXCEPTION.match(line)
            self._foreign_error = mask(foreign[1]) if foreign else self._foreign_error
            return
        module, name, message = match.groups()
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ImportError:
            return
        if isinstance(kind, type) and issubclass(kind, TunelaneError):
            self._error = TaskFailed(self._task.name if self._task else "", mask(message), kind.exit_code)


def _note_progress(task: TaskRecord, said: str) -> None:
    valid_macro_f1 = parse_epoch(said)
    if valid_macro_f1 is not None and task.progress is not None:
        task.progress = msgspec.structs.replace(task.progress, valid_macro_f1=valid_macro_f1)
    step = parse_step(said)
    if step is not None:
        last = task.progress.valid_macro_f1 if task.progress else None
        loss = step.loss if math.isfinite(step.loss) else None
        task.progress = Progress(step.step, step.steps, loss, step.left_s, last)


def _local_time(stamp: str) -> datetime:
    """The executor's log stamp, which is in local time."""
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").astimezone()


def _seconds(start: datetime, end: datetime) -> float:
    # A clock that is set back must not make a task end before it started.
    return round(max((end - start).total_seconds(), 0.0), 3)
