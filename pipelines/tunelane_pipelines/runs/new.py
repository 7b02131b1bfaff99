"""A run at its beginning: its id, its directory, its first record. Local runs and submissions begin alike."""

import secrets
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tunelane_pipelines.dag import DagTask
from tunelane_pipelines.runs.masking import mask, mask_values
from tunelane_pipelines.runs.record import RunRecord, TaskRecord
from tunelane_pipelines.runs.surroundings import machine, versions
from tunelane_serving.errors import InputError


def new_run_id(pipeline: str, now: datetime) -> str:
    """A run's id: its pipeline, when it began by this machine's clock, and four digits against two at once.

    It is a legal label and resource name on every target.
    """
    return f"{pipeline}-{now.astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def new_record(
    run_id: str,
    pipeline: str,
    display_name: str,
    target: str,
    started_at: datetime,
    *,
    command: str,
    parameters: Mapping[str, Any],
    tasks: tuple[DagTask, ...],
) -> RunRecord:
    """The record of a run that begins here, with nothing secret in it.

    Args:
        run_id: the run's.
        pipeline: its pipeline's name in the catalog.
        display_name: what people call it.
        target: where it runs.
        started_at: when its command started.
        command: what was typed.
        parameters: all of the pipeline's.
        tasks: those of the pipeline.
    """
    return RunRecord(
        run_id,
        pipeline,
        display_name,
        target,
        started_at,
        # A file name can hold bytes that are no text.
        command=mask(command).encode(errors="backslashreplace").decode(),
        parameters=mask_values(parameters),
        versions=versions(),
        machine=machine(),
        tasks=tasks_of(tasks),
    )


def tasks_of(dag: tuple[DagTask, ...]) -> tuple[TaskRecord, ...]:
    """The tasks of a run that has not begun."""
    return tuple(TaskRecord(task.name, task.display_name, task.component, task.needs, task.branch) for task in dag)


def make_run_directory(root: Path, run_id: str) -> Path:
    """Make the directory of a run, which files can be written into.

    Raises:
        InputError: the root cannot be used.
    """
    directory = root.absolute() / "runs" / run_id
    try:
        directory.mkdir(parents=True)
        # A directory can exist and still refuse files (read-only mounts, quotas).
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(f"Cannot write to the root {root}: {error.strerror}. Choose another with --root.") from error
    return directory
