"""The local target: a pipeline here, on kfp's local runner, in a process group that never outlives the run."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.display.interface import Display
from tunelane_pipelines.local.following import Follower, TaskFailed
from tunelane_pipelines.local.worker import EVENT_PREFIX, write_parameters
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.runs.new import make_run_directory, new_record, new_run_id
from tunelane_pipelines.runs.overhead import overhead
from tunelane_pipelines.runs.record import (
    LOCAL,
    LOCK,
    LOG,
    SCHEDULE_VARIABLE,
    RunRecord,
    RunState,
    write_record,
)
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_S = 5.0
# A line of a task is worth a new run.json at most this often; a task's start or end always is.
_SAVE_EVERY_S = 1.0


class Interrupted(TunelaneError):
    """The run was ended by a signal; its tasks are gone."""

    exit_code = 130


@dataclass(frozen=True)
class LocalRun:
    """A finished run: its directory and its record."""

    directory: Path
    record: RunRecord

    def artifact(self, task: str, name: str) -> Path | None:
        """Where a task's output artifact lies, or None where the task did not run."""
        found = self.record.artifact(task, name)
        return self.directory / found.path if found else None


def run_locally(
    pipeline: str,
    parameters: Mapping[str, Any],
    root: Path,
    *,
    display: Display,
    command: str = "",
    started_s: float | None = None,
) -> LocalRun:
    """Run a pipeline on this machine and wait for it. Its record, log and report are in the run's directory.

    Args:
        pipeline: its name in the catalog.
        parameters: its parameters, checked.
        root: where runs lie; made if missing.
        display: where the run is shown while it goes on.
        command: what was typed, for the record.
        started_s: when the command started, in seconds since the epoch; now, unless given.

    Raises:
        InputError: the root or its journal cannot be used, or a task found the user's input wanting (as TaskFailed,
            exit code 2); nothing of the run is left then.
        TaskFailed: a task failed.
        Interrupted: SIGINT or SIGTERM came.
    """
    check_paths(root, parameters)
    record = _new_record(pipeline, parameters, command, started_s or time.time())
    directory = make_run_directory(root, record.run_id)
    journal = Journal(root)
    with locked(directory / LOCK), _interruptible() as ignore_signals:
        _begin(record, parameters, directory, journal)
        try:
            display.run_started(record)
            _supervise(record, directory, display)
        except Exception as error:
            ignore_signals()
            if isinstance(error, TaskFailed) and error.exit_code == InputError.exit_code:
                shutil.rmtree(directory, ignore_errors=True)
                journal.forget(record.run_id)
                raise
            state: RunState = "interrupted" if isinstance(error, Interrupted) else "failed"
            # Also what nobody foresaw ends the run: a full disk, a terminal that is gone.
            _close(record, directory, journal, state, mask(str(error) or repr(error)))
            raise
        ignore_signals()
        _close(record, directory, journal, "succeeded")
    return LocalRun(directory, record)


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


def _new_record(pipeline: str, parameters: Mapping[str, Any], command: str, started_s: float) -> RunRecord:
    dag, started_at = read_dag(load_pipeline(pipeline)), datetime.fromtimestamp(started_s, UTC)
    record = new_record(
        new_run_id(pipeline, started_at),
        pipeline,
        dag.display_name,
        LOCAL,
        started_at,
        command=command,
        parameters=parameters,
        tasks=dag.tasks,
    )
    record.schedule = os.environ.get(SCHEDULE_VARIABLE, "")
    return record


def _begin(record: RunRecord, parameters: Mapping[str, Any], directory: Path, journal: Journal) -> None:
    """Write what a run starts with: its parameters, its first record, its row in the journal; or leave nothing."""
    try:
        write_parameters(directory, parameters)
        write_record(directory, record)
        journal.enter(record, str(directory))
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _supervise(record: RunRecord, directory: Path, display: Display) -> None:
    """Start the worker, keep the record true to its lines, and leave nothing of it behind."""
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
        [sys.executable, "-m", "tunelane_pipelines.local.worker", record.pipeline, str(directory)],
        # The worker ends its group when this pipe closes, however this process ends.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    saved_s = time.monotonic()

    def save(task_changed: bool) -> None:
        nonlocal saved_s
        if task_changed or time.monotonic() - saved_s >= _SAVE_EVERY_S:
            record.wall_s = _age_s(record)
            write_record(directory, record)
            saved_s = time.monotonic()

    try:
        follower = Follower(record, directory, display, save)
        with (directory / LOG).open("w", encoding="utf-8") as log:
            for line in worker.stdout or ():
                if not line.startswith(EVENT_PREFIX):
                    log.write(mask(line))
                    log.flush()
                follower.take(line)
        if worker.wait() != 0:
            raise follower.failure(directory / LOG)
    finally:
        # A signal must not stop the clean-up.
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        _end_group(worker)
        shutil.rmtree(scratch, ignore_errors=True)


def _close(record: RunRecord, directory: Path, journal: Journal, state: RunState, error: str = "") -> None:
    """Write what a run leaves behind: its record with the overhead, its row in the journal, its report."""
    from tunelane_pipelines.report.run_report import write_report

    record.wall_s = _age_s(record)
    record.finish(state, error)
    record.overhead = overhead(record)
    # Before the report, which could fail, and after it, since its own time counts as well.
    write_record(directory, record)
    journal.enter(record, str(directory))
    write_report(directory, record)
    record.wall_s = _age_s(record)
    record.overhead = overhead(record)
    write_record(directory, record)
    journal.enter(record, str(directory))


def _age_s(record: RunRecord) -> float:
    return round((datetime.now(UTC) - record.started_at).total_seconds(), 3)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Turn SIGINT and SIGTERM into Interrupted; gives what makes them ignored from then on, for the clean-up."""
    previous = {number: signal.signal(number, _interrupt) for number in _STOP_SIGNALS}

    def ignore() -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield ignore
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
