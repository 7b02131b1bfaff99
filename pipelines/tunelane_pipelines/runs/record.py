"""The record of a run: `run.json`, written while it goes on, read by `tunelane runs`, the report and the live tree."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from tunelane_serving.contract import read, write

RECORD = "run.json"
LOG = "run.log"
PARAMETERS = "parameters.yaml"
REPORT = "report.html"
ARTIFACTS = "artifacts"
LOCK = "run.lock"

SCHEDULE_VARIABLE = "TUNELANE_SCHEDULE"
"""What tells `tunelane run` which schedule of this machine it is started by."""

LOCAL = "local"
"""The target of runs on this machine."""

RunState = Literal[
    "submitting", "needs-resume", "pending", "running", "succeeded", "failed", "interrupted", "cancelled"
]
"""Where a run is. `submitting`: on its way to a service; `needs-resume`: whether it got there is not known; `pending`:
it got there and has not begun. A local run begins as `running`."""

ENDED: frozenset[RunState] = frozenset({"succeeded", "failed", "interrupted", "cancelled"})
"""The states that nothing comes after."""

TaskState = Literal["pending", "running", "succeeded", "failed", "skipped", "interrupted"]


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a task wrote.

    `path` is relative to the run's directory. `digest` is the one that the stage itself gave it (a dataset's, a
    package's), else the SHA-256 of the file, or of the names and digests of a directory's files; empty where nothing
    was written. `metadata` is what the stage logged to it.
    """

    name: str
    kind: str
    path: str
    digest: str
    metadata: dict[str, Any] = {}


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training is.

    `loss` is None where it is no number any more (JSON has no NaN). `valid_macro_f1` is the last epoch's; None before
    the first has ended.
    """

    step: int
    steps: int
    loss: float | None
    left_s: float
    valid_macro_f1: float | None = None


class TaskRecord(msgspec.Struct, forbid_unknown_fields=True):
    """One task of the DAG.

    `wall_s` is the time from start to end, `stage_s` the part of it in which the stage did its own work, and `exit_s`
    the part in which its process, done with that, handed back its memory; what is left is the runner's. `outputs` are
    output parameters. `last_line` is the last thing that it said, `log_url` where a service shows the log.
    """

    name: str
    display_name: str
    component: str
    needs: tuple[str, ...] = ()
    branch: str = ""
    state: TaskState = "pending"
    started_at: datetime | None = None
    wall_s: float = 0.0
    stage_s: float = 0.0
    exit_s: float = 0.0
    parameters: dict[str, Any] = {}
    artifacts: tuple[Artifact, ...] = ()
    metrics: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    error: str = ""
    last_line: str = ""
    progress: Progress | None = None
    log_url: str = ""

    def artifact(self, name: str) -> Artifact | None:
        """The artifact of that name, or None."""
        return next((artifact for artifact in self.artifacts if artifact.name == name), None)


class Overhead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a run was no stage's own work, in seconds of wall time. The parts sum to `total_s`.

    `start_s`: from the start of the command to the first task (imports, checks, compiling). `tasks_s`: what the runner
    adds to every task; `longest_task_s` is the largest share of it. `exits_s`: processes of tasks that hand back their
    memory. `between_s`: from one task to the next. `end_s`: ending the worker, records, journal and report.
    """

    start_s: float
    tasks_s: float
    longest_task_s: float
    exits_s: float
    between_s: float
    end_s: float
    total_s: float


class Remote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run at a service: the service's own name of it, where people look at it, and the schedule that started it."""

    resource: str
    console_url: str = ""
    schedule: str = ""


class RunRecord(msgspec.Struct, forbid_unknown_fields=True):
    """A run and its tasks, in the order of the DAG.

    `parameters` are all of the pipeline's, passwords masked. `command` is what was typed. `versions` and `machine` say
    what it ran with and on; of a remote run, what it was submitted with and from. `remote` is None for a local run, and
    for one that no service is known to have. `schedule` names the schedule of this machine that started a local run.
    `service` is the one that a remote run belongs to (`RemoteTarget.service`), empty for a local run; `sent_at` is when
    its request was last sent, None where it never was from here.
    """

    run_id: str
    pipeline: str
    display_name: str
    target: str
    started_at: datetime
    command: str
    parameters: dict[str, str | int | float | bool]
    versions: dict[str, str]
    machine: dict[str, str | int]
    tasks: tuple[TaskRecord, ...]
    state: RunState = "running"
    wall_s: float = 0.0
    error: str = ""
    overhead: Overhead | None = None
    remote: Remote | None = None
    schedule: str = ""
    service: str = ""
    sent_at: datetime | None = None
    version: Literal[1, 2] = 2

    def task(self, name: str) -> TaskRecord | None:
        """The task of that name, or None."""
        return next((task for task in self.tasks if task.name == name), None)

    def running(self) -> Iterator[TaskRecord]:
        """The tasks that run now."""
        return (task for task in self.tasks if task.state == "running")

    def artifact(self, task: str, name: str) -> Artifact | None:
        """An artifact of a task, or None where the task did not get so far."""
        found = self.task(task)
        return found.artifact(name) if found else None

    def finish(self, state: RunState, error: str = "") -> None:
        """End the run, `wall_s` after its start: what still ran ended with it, what never started is skipped."""
        self.state, self.error = state, error
        ended_at = self.started_at + timedelta(seconds=self.wall_s)
        for task in self.tasks:
            if task.state == "running":
                task.state = "interrupted" if state in ("interrupted", "cancelled") else "failed"
                task.wall_s = max(round((ended_at - (task.started_at or ended_at)).total_seconds(), 3), 0.0)
                task.stage_s = task.wall_s
            elif task.state == "pending":
                task.state = "skipped"

    @property
    def decision(self) -> str:
        """The gate's decision (promote, reject, insufficient), or empty where there was no gate."""
        verdict = self.artifact("gate-model", "verdict")
        return str(verdict.metadata.get("decision", "")) if verdict else ""

    @property
    def promoted(self) -> bool:
        """Whether a new champion came of it."""
        confirmed = self.task("confirm-champion")
        return confirmed is not None and confirmed.state == "succeeded"


def read_record(directory: Path) -> RunRecord:
    """Read the record in a run's directory; raises ContractError where there is none or it is broken."""
    return read(directory / RECORD, RunRecord)


def write_record(directory: Path, record: RunRecord) -> None:
    """Write the record into a run's directory, atomically."""
    write(directory / RECORD, record)
