"""The process that runs one pipeline on kfp's local runner: `python -m tunelane_pipelines.local.worker NAME DIRECTORY`.

A process of its own, leader of its own group, because kfp.local changes its host (it patches `print`, resets the root
logger's handlers) and leaves its tasks running when the host dies.
"""

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from tunelane_pipelines.runs.record import ARTIFACTS, PARAMETERS

# An ASCII record separator: no task prints a line that starts with it.
EVENT_PREFIX = "\x1e"

_COLOURED_NAME = re.compile(
    r"^(Executing task|Task) (?:\x1b\[\d+m)?'([^']+)'(?:\x1b\[0m)?(?: finished with status (.*))?"
)


class TaskEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task started or ended. `task` is its name in the DAG ("train-lora"); `at_s` is in seconds since the epoch."""

    task: str
    state: Literal["running", "succeeded", "failed"]
    at_s: float


def task_event(message: str, at_s: float) -> TaskEvent | None:
    """The event that a line of kfp's local runner, logged at `at_s`, stands for, or None."""
    match = _COLOURED_NAME.match(message)
    if match is None:
        return None
    verb, task, status = match.groups()
    if verb == "Executing task":
        return TaskEvent(task, "running", at_s)
    if status is None:
        return None
    return TaskEvent(task, "succeeded" if "SUCCESS" in status else "failed", at_s)


class _EventFilter(logging.Filter):
    """Turns the runner's log records into event lines on stdout; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        event = task_event(record.getMessage(), record.created)
        if event is not None:
            sys.stdout.write(f"{EVENT_PREFIX}{msgspec.json.encode(event).decode()}\n")
            sys.stdout.flush()
        return True


def end_with_parent(pipe: int) -> None:
    """Kill this process group when the pipe, whose other end only the parent holds, closes: also after a SIGKILL.

    Args:
        pipe: a file descriptor; a buffered reader would be locked by the waiting thread when the interpreter ends.
    """

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def write_parameters(directory: Path, parameters: Mapping[str, Any]) -> None:
    """Write a run's parameters for the worker, as they are, passwords too: only the user may read them."""
    content = yaml.safe_dump(dict(parameters), sort_keys=False)
    handle = os.open(directory / PARAMETERS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(content)


def read_parameters(directory: Path) -> dict[str, Any]:
    """Read what `write_parameters` wrote; each value has its type still."""
    parameters: dict[str, Any] = yaml.safe_load((directory / PARAMETERS).read_text(encoding="utf-8"))
    return parameters


def main(pipeline: str, directory: Path) -> int:
    """Run a pipeline with the parameters in its run's directory; 0 if every task that had to run succeeded."""
    end_with_parent(sys.stdin.fileno())
    parameters = read_parameters(directory)
    from kfp import local

    from tunelane_pipelines.catalog import load_pipeline

    logging.getLogger().addFilter(_EventFilter())
    local.init(
        runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(directory / ARTIFACTS), raise_on_error=True
    )
    try:
        load_pipeline(pipeline)(**parameters)
    except RuntimeError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
