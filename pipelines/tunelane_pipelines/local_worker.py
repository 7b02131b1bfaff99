"""The process that runs one pipeline on kfp's local runner: `python -m tunelane_pipelines.local_worker DIRECTORY`.

A process of its own, leader of its own group, because kfp.local changes its host (it patches `print`, resets the root
logger's handlers) and leaves its tasks running when the host dies.
"""

import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Literal

import msgspec

from tunelane_serving.contract import read

REQUEST = "request.json"
ARTIFACTS = "artifacts"
# An ASCII record separator: no task prints a line that starts with it.
EVENT_PREFIX = "\x1e"

_COLOURED_NAME = re.compile(
    r"^(Executing task|Task) (?:\x1b\[\d+m)?'([^']+)'(?:\x1b\[0m)?(?: finished with status (.*))?"
)


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run. Parameters are those of the pipeline, checked."""

    run_id: str
    pipeline: str
    parameters: dict[str, str | int | float | bool]
    version: Literal[1] = 1


class TaskEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task started or ended. `task` is its name in the DAG ("train-lora")."""

    task: str
    state: Literal["running", "succeeded", "failed"]


def task_event(message: str) -> TaskEvent | None:
    """The event that a line of kfp's local runner stands for, or None."""
    match = _COLOURED_NAME.match(message)
    if match is None:
        return None
    verb, task, status = match.groups()
    if verb == "Executing task":
        return TaskEvent(task, "running")
    if status is None:
        return None
    return TaskEvent(task, "succeeded" if "SUCCESS" in status else "failed")


class _EventFilter(logging.Filter):
    """Turns the runner's log records into event lines on stdout; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        event = task_event(record.getMessage())
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


def main(run_directory: Path) -> int:
    """Run the request in `run_directory`; returns 0 if every task that had to run succeeded."""
    end_with_parent(sys.stdin.fileno())
    request = read(run_directory / REQUEST, RunRequest)
    from kfp import local

    from tunelane_pipelines.catalog import load_pipeline

    logging.getLogger().addFilter(_EventFilter())
    local.init(
        runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(run_directory / ARTIFACTS), raise_on_error=True
    )
    try:
        load_pipeline(request.pipeline)(**request.parameters)
    except RuntimeError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
