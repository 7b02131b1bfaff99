"""The verbs that every cluster has, and what goes in and comes out of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

RemoteState = Literal["pending", "running", "succeeded", "failed", "cancelled"]
TaskState = Literal["pending", "running", "succeeded", "failed", "skipped", "cancelled"]
ScheduleState = Literal["active", "paused", "completed"]

ENDED_STATES: tuple[RemoteState, ...] = ("succeeded", "failed", "cancelled")
"""The states of a run that does not go on."""

RUN_LABEL = "tunelane-run"
"""Label of every run that we submit; its value is our run id. A run is found again by it, and never sent twice."""


@dataclass(frozen=True)
class Submission:
    """One run as it is to be submitted.

    Attributes:
        run_id: ours; the service keeps it as a label, and where it can, as its own id.
        spec: the compiled pipeline (a PipelineSpec as JSON), for this target.
        manifests: further documents beside the spec, which only Kubeflow takes.
        parameters: every one of the pipeline's.
        labels: besides `RUN_LABEL`.
        caching: whether results may be reused, where the spec allows it; False turns it off for every task.
        fail_fast: end the run with its first failed task, instead of when nothing more can run.
    """

    run_id: str
    pipeline: str
    display_name: str
    spec: dict[str, Any]
    parameters: dict[str, str | int | float | bool]
    manifests: tuple[dict[str, Any], ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    caching: bool = True
    fail_fast: bool = True
    experiment: str = ""


@dataclass(frozen=True)
class RemoteTask:
    """A task as the service sees it. `name` is that of the DAG; `log_url` is where its log can be read."""

    name: str
    state: TaskState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str = ""
    log_url: str = ""


@dataclass(frozen=True)
class RemoteRun:
    """A run as the service sees it.

    Attributes:
        resource: the service's own full name of it.
        run_id: the value of `RUN_LABEL`; empty for a run that was not submitted by us, or that a schedule started.
        schedule: the resource of the schedule that started it; empty for none.
    """

    resource: str
    run_id: str
    display_name: str
    pipeline: str
    state: RemoteState
    created_at: datetime
    console_url: str
    ended_at: datetime | None = None
    error: str = ""
    tasks: tuple[RemoteTask, ...] = ()
    schedule: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recurrence:
    """When a schedule starts runs.

    Attributes:
        cron: five fields: minute, hour, day of the month, month, day of the week.
        time_zone: IANA name.
        max_concurrent_runs: runs at once.
        catch_up: start what fell due while paused.
        max_runs: starts in all; None: without end.
    """

    cron: str
    time_zone: str = "UTC"
    max_concurrent_runs: int = 1
    catch_up: bool = False
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    max_runs: int | None = None


@dataclass(frozen=True)
class RemoteSchedule:
    """A schedule as the service sees it.

    Attributes:
        run_id: the `RUN_LABEL` of the request that made it, by which it is told from another's of the same name.
        started_runs: None where the service does not count them.
    """

    resource: str
    name: str
    run_id: str
    pipeline: str
    state: ScheduleState
    recurrence: Recurrence
    console_url: str
    last_run_at: datetime | None = None
    last_error: str = ""
    started_runs: int | None = None


@dataclass(frozen=True)
class LogLine:
    """A line of a task's log."""

    time: datetime
    task: str
    text: str


class RemoteTarget(Protocol):
    """A service that runs pipelines.

    Every method but `request` talks to it, and raises ServiceAway where it does not answer, and another error of
    `targets.errors` where the answer is no. None repeats by itself: `retried` does, around what may be done twice.
    That is everything but `submit` and `create_schedule` on a service that takes no id of ours: whoever repeats one
    whose reply was lost looks for what it made first.

    Attributes:
        name: one of `TARGETS`.
        service: which service it is, for people and to compare: "vertex PROJECT/REGION", "kubeflow HOST NAMESPACE". A
            run and a schedule belong to one, and are asked for nowhere else.
        takes_run_id: whether the service refuses a second run of one id, so that it can be sent again at once.
    """

    name: str
    service: str
    takes_run_id: bool

    def request(self, submission: Submission) -> dict[str, Any]:
        """Give the exact request that `submit` would send, as JSON. Talks to nobody."""
        ...

    def check(self, submission: Submission) -> None:
        """Refuse what the service would fail on later: a bucket in another region, an account without rights."""
        ...

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run. Where one with its id is there already, that one is given and nothing is started."""
        ...

    def file_run(self, resource: str, experiment: str) -> None:
        """File a started run under an experiment, where the service does not do so by itself. May be done again."""
        ...

    def find(self, run_id: str) -> RemoteRun | None:
        """Give the run that has this id as its label, or None."""
        ...

    def get(self, resource: str) -> RemoteRun:
        """Give a run with its tasks."""
        ...

    def runs(self, *, since: datetime) -> Iterator[RemoteRun]:
        """Give the runs that we or our schedules started since then, without their tasks, the newest first."""
        ...

    def cancel(self, resource: str) -> None:
        """Have a run cancelled; nothing happens where it has ended."""
        ...

    def logs(self, resource: str, *, task: str = "") -> Iterator[LogLine]:
        """Give what the tasks wrote, oldest first; of one task where it is named."""
        ...

    def create_schedule(self, name: str, submission: Submission, recurrence: Recurrence) -> RemoteSchedule:
        """Make a schedule. Where one of the same name and run id is there already, that one is given."""
        ...

    def schedules(self) -> Iterator[RemoteSchedule]:
        """Give all schedules of ours."""
        ...

    def schedule(self, name: str) -> RemoteSchedule:
        """Give a schedule by its name or resource."""
        ...

    def pause_schedule(self, resource: str) -> None:
        """Start no more runs."""
        ...

    def resume_schedule(self, resource: str, *, catch_up: bool) -> None:
        """Start runs again."""
        ...

    def update_schedule(self, resource: str, recurrence: Recurrence) -> RemoteSchedule:
        """Change when runs start."""
        ...

    def delete_schedule(self, resource: str) -> None:
        """Remove a schedule; its runs stay."""
        ...
