"""A schedule as the journal keeps it."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule

Verb = Literal["", "create", "pause", "resume", "update", "delete"]
Starter = Literal["", "systemd", "crontab", "daemon"]

NEEDS_RESUME = "needs-resume"
"""What is shown of a schedule of which it is not known how its last change ended."""


class ScheduleRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A schedule, on a service or on this machine.

    Attributes:
        name: ours, unique below the root.
        target: vertex, kubeflow or local.
        service: which service of that target keeps it, as `RemoteTarget.service`; empty on this machine, and of a
            schedule that an earlier release journalled until it is seen at one.
        key: the run id of the request that made it; the service keeps it, and it is told from others by it.
        sent_at: when that request was last sent; it may arrive for some time yet. None once it cannot.
        state: "gone": somebody deleted it on the service.
        pending: what has been begun and not yet been seen to end; written before anything is done.
        pending_recurrence: what a pending update changes to.
        pending_catch_up: of a pending resume.
        error: why it is not known how the pending change ended; empty while it goes on.
        resource: the service's full name of it; empty until it is known, and on this machine.
        earlier_resources: those that it had before an update, where the service makes a new schedule of each.
        starter: what starts its runs, on this machine.
        command: `run …`, as it stands behind `tunelane`.
        directory: where that was typed: paths in it may be relative.
        environment: variables that were set then and that decide what a run does.
        settled_until: what was due until then has been started or left out.
        last_error: how its last run failed, if it did.
    """

    name: str
    target: str
    pipeline: str
    recurrence: Recurrence
    created_at: datetime
    service: str = ""
    key: str = ""
    sent_at: datetime | None = None
    state: Literal["active", "paused", "completed", "gone"] = "active"
    pending: Verb = ""
    pending_recurrence: Recurrence | None = None
    pending_catch_up: bool = False
    error: str = ""
    resource: str = ""
    earlier_resources: tuple[str, ...] = ()
    console_url: str = ""
    starter: Starter = ""
    command: tuple[str, ...] = ()
    directory: str = ""
    environment: dict[str, str] = {}
    settled_until: datetime | None = None
    started_runs: int = 0
    last_run_at: datetime | None = None
    last_error: str = ""
    version: Literal[1] = 1

    @property
    def shown_state(self) -> str:
        """The state in words, for people and scripts."""
        return NEEDS_RESUME if self.pending else self.state


def as_seen(record: ScheduleRecord, seen: RemoteSchedule) -> ScheduleRecord:
    """Give a record with where a service says that its schedule is, and in what state."""
    is_new = record.resource not in ("", seen.resource)
    return replace(
        record,
        resource=seen.resource,
        earlier_resources=(*record.earlier_resources, record.resource) if is_new else record.earlier_resources,
        console_url=seen.console_url,
        state=seen.state,
    )
