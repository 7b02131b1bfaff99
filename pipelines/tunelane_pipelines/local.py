"""The local target: a pipeline here, on kfp's local runner, in a process group that never outlives the run."""

import importlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from tunelane_pipelines.local_worker import ARTIFACTS, EVENT_PREFIX, REQUEST, RunRequest, TaskEvent
from tunelane_serving.contract import write
from tunelane_serving.errors import InputError, TunelaneError

LOG = "run.log"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_S = 5.0
_EXCEPTION = re.compile(r"^\s*(tunelane_[\w.]+)\.(\w+): (.*)$")


class TaskFailed(TunelaneError):
    """A task of the run failed. `exit_code` is that of the error which the task raised."""

    def __init__(self, task: str, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.task = task
        self.exit_code = exit_code


class Interrupted(TunelaneError):
    """The run was ended by a signal; its tasks are gone."""

    exit_code = 130


@dataclass(frozen=True)
class LocalRun:
    """A finished run: its directory, and the seconds each task took, in order of start."""

    run_id: str
    directory: Path
    seconds_by_task: dict[str, float]

    def artifact(self, task: str, name: str) -> Path | None:
        """Where a task's output artifact lies, or None where the task did not run."""
        found = list((self.directory / ARTIFACTS).glob(f"*/{task}/{name}"))
        return found[0] if found else None

    def outputs(self, task: str) -> dict[str, Any]:
        """kfp's record of a task's outputs (artifacts with their metadata, parameters); empty where it did not run."""
        found = list((self.directory / ARTIFACTS).glob(f"*/{task}/executor_output.json"))
        return msgspec.json.decode(found[0].read_bytes(), type=dict[str, Any]) if found else {}

    def metrics(self, task: str) -> dict[str, Any]:
        """What a task logged to its `metrics` artifact, by name."""
        artifact = self.outputs(task).get("artifacts", {}).get("metrics", {}).get("artifacts", [{}])[0]
        return dict(artifact.get("metadata", {}))


def run_locally(
    pipeline: str,
    parameters: Mapping[str, Any],
    root: Path,
    *,
    on_event: Callable[[TaskEvent, float], None],
    on_line: Callable[[str, str], None],
) -> LocalRun:
    """Run a pipeline on this machine and wait for it.

    Args:
        pipeline: its name in the catalog.
        parameters: its parameters, checked.
        root: where runs lie; made if missing.
        on_event: called with each task event and the seconds since the task's start.
        on_line: called with the running task ("" between tasks) and each line that it prints.

    Raises:
        InputError: the root cannot be used, or a task found the user's input wanting (as TaskFailed, exit code 2);
            nothing of the run is left then.
        TaskFailed: a task failed.
        Interrupted: SIGINT or SIGTERM came.
    """
    check_paths(root, parameters)
    run_id = f"{pipeline}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    directory = _make_run_directory(root, run_id)
    write(directory / REQUEST, RunRequest(run_id, pipeline, dict(parameters)))
    try:
        seconds = _supervise(directory, on_event, on_line)
    except TaskFailed as failure:
        if failure.exit_code == InputError.exit_code:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    return LocalRun(run_id, directory, seconds)


def check_paths(root: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse what kfp's local runner would mangle: it replaces "python3" in every path and argument of a task.

    Raises:
        InputError: names the root or the parameter.
    """
    if "python3" in str(root.absolute()):
        raise InputError(
            f'The root {root.absolute()} has "python3" in its path, which the local runner replaces. '
            "Choose another with --root."
        )
    for name, value in parameters.items():
        if isinstance(value, str) and "python3" in value:
            raise InputError(
                f'Parameter {name} has "python3" in it ({value}), which the local runner replaces. '
                "Rename it, or move the file."
            )


def _make_run_directory(root: Path, run_id: str) -> Path:
    directory = root.absolute() / "runs" / run_id
    try:
        directory.mkdir(parents=True)
        # A directory can exist and still refuse files (read-only mounts, quotas).
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(f"Cannot write to the root {root}: {error.strerror}. Choose another with --root.") from error
    return directory


def _supervise(
    directory: Path, on_event: Callable[[TaskEvent, float], None], on_line: Callable[[str, str], None]
) -> dict[str, float]:
    """Start the worker, pass its lines on, and leave nothing of it behind."""
    # kfp and whatever is killed leave files where temporary ones go: a place that ends with the run.
    scratch = tempfile.mkdtemp(prefix="tunelane-")
    environment = {
        **os.environ,
        "TMPDIR": scratch,
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
    worker = subprocess.Popen(  # noqa: S603 (our own module)
        [sys.executable, "-m", "tunelane_pipelines.local_worker", str(directory)],
        # The worker ends its group when this pipe closes, however this process ends.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    previous = {number: signal.signal(number, _interrupt) for number in _STOP_SIGNALS}
    try:
        follower = _Follower(on_event, on_line)
        with (directory / LOG).open("w", encoding="utf-8") as log:
            for line in worker.stdout or ():
                if not line.startswith(EVENT_PREFIX):
                    log.write(line)
                    log.flush()
                follower.take(line)
        if worker.wait() != 0:
            raise follower.failure(directory / LOG)
        return follower.seconds_by_task
    finally:
        # A second signal must not stop the clean-up.
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        _end_group(worker)
        shutil.rmtree(scratch, ignore_errors=True)
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Follower:
    """Reads the worker's lines: which task runs, how long it took, and which error ended it."""

    def __init__(self, on_event: Callable[[TaskEvent, float], None], on_line: Callable[[str, str], None]) -> None:
        self.seconds_by_task: dict[str, float] = {}
        self._on_event = on_event
        self._on_line = on_line
        self._task = ""
        self._started_s = 0.0
        self._error: TaskFailed | None = None
        self._failed_task = ""

    def take(self, line: str) -> None:
        if not line.startswith(EVENT_PREFIX):
            self._note_error(line)
            self._on_line(self._task, line.rstrip("\n"))
            return
        event = msgspec.json.decode(line.removeprefix(EVENT_PREFIX), type=TaskEvent)
        if event.state == "running":
            self._task, self._started_s = event.task, time.monotonic()
            if not self._failed_task:
                # What an earlier task said it got over: it succeeded.
                self._error = None
            self._on_event(event, 0.0)
            return
        seconds = time.monotonic() - self._started_s
        self.seconds_by_task[event.task] = round(seconds, 3)
        if event.state == "failed":
            self._failed_task = self._failed_task or event.task
        self._task = ""
        self._on_event(event, seconds)

    def failure(self, log: Path) -> TaskFailed:
        """The error that ended the run; the first task's, where several failed."""
        if self._error is not None:
            if self._error.exit_code == InputError.exit_code:
                return self._error
            said = str(self._error).rstrip(".")
            return TaskFailed(self._error.task, f"{self._error.task}: {said}; its output is in {log}", 1)
        task = self._failed_task or self._task or "the run"
        return TaskFailed(task, f"{task} failed without a word that Tunelane knows; its output is in {log}", 1)

    def _note_error(self, line: str) -> None:
        """Note a traceback's last line, which names module and class; the first failed task's counts."""
        match = _EXCEPTION.match(line)
        if match is None or self._failed_task:
            return
        module, name, message = match.groups()
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ImportError:
            return
        if isinstance(kind, type) and issubclass(kind, TunelaneError):
            self._error = TaskFailed(self._task, message, kind.exit_code)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # Two signals can be pending at once: the second must not cut short the clean-up that the first one starts.
    for other in _STOP_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(f"Interrupted by {signal.Signals(number).name}; the run's tasks were ended.")


def _end_group(worker: "subprocess.Popen[str]") -> None:
    """End the worker and every task: SIGTERM, some seconds, SIGKILL to the whole group."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=_GRACE_S)
    # Also where the worker is gone: a task may be left in its group.
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            stream.close()
