"""Schedules of this machine: what starts their runs, and what they run."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tunelane_pipelines.local.configs import config_path
from tunelane_pipelines.local.parameters import local_parameters
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.record import LOCAL
from tunelane_pipelines.scheduling.crontab import CrontabKeeper
from tunelane_pipelines.scheduling.keeper import Keeper
from tunelane_pipelines.scheduling.machine_zone import is_machine_zone
from tunelane_pipelines.scheduling.record import ScheduleRecord, Starter
from tunelane_pipelines.scheduling.starting import KEPT_VARIABLES
from tunelane_pipelines.scheduling.systemd import SystemdKeeper, has_systemd
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError

STARTERS: tuple[Starter, ...] = ("systemd", "crontab", "daemon")


class DaemonKeeper:
    """A `Keeper` of nothing: the daemon reads the journal."""

    def create(self, record: ScheduleRecord) -> None:
        """The daemon finds it."""

    def made(self, record: ScheduleRecord) -> None:
        """Nothing: the journal has it."""

    def pause(self, record: ScheduleRecord) -> None:
        """The daemon sees it."""

    def resume(self, record: ScheduleRecord, *, catch_up: bool) -> None:
        """The daemon sees it."""

    def update(self, record: ScheduleRecord, recurrence: Recurrence) -> None:
        """The daemon sees it."""

    def delete(self, record: ScheduleRecord) -> None:
        """The daemon sees it."""

    def is_unchanged(self, record: ScheduleRecord) -> bool:  # noqa: ARG002 - as every keeper's
        """It is: nothing is kept here."""
        return True


def local_keeper(starter: Starter, root: Path) -> Keeper:
    """Give what keeps the schedules that `starter` starts."""
    if starter == "systemd":
        return SystemdKeeper(root)
    return CrontabKeeper() if starter == "crontab" else DaemonKeeper()


def choose_starter(wanted: str, recurrence: Recurrence) -> Starter:
    """Give what starts runs: what is wanted, or where that is nothing, what this machine has.

    Raises:
        InputError: there is no such thing. Whether the machine has what is wanted, its keeper finds out.
    """
    if wanted == "":
        if recurrence.max_concurrent_runs == 1 and has_systemd():
            return "systemd"
        fits = not recurrence.catch_up and is_machine_zone(ZoneInfo(recurrence.time_zone), datetime.now(UTC))
        return "crontab" if fits and shutil.which("crontab") else "daemon"
    for starter in STARTERS:
        if wanted == starter:
            return starter
    raise InputError(no_such("--with", wanted, STARTERS))


def local_schedule(
    name: str,
    pipeline: str,
    recurrence: Recurrence,
    starter: Starter,
    *,
    config: str,
    assignments: list[str],
    settings: Settings,
    now: datetime,
) -> ScheduleRecord:
    """Give a schedule of `tunelane run`, with its parameters checked as a run checks them.

    Raises:
        InputError: a parameter or a file cannot be used.
    """
    local_parameters(pipeline, config=config, assignments=assignments, settings=settings)
    command = ["run", pipeline, "--plain", "--root", str(settings.root)]
    if settings.profile is not None:
        command += ["--profile", str(settings.profile.absolute())]
    if config:
        path = config_path(config)
        command += ["--config", str(path.absolute()) if path == Path(config) else config]
    for assignment in assignments:
        command += ["--set", assignment]
    return ScheduleRecord(
        name,
        LOCAL,
        pipeline,
        recurrence,
        now,
        starter=starter,
        command=tuple(command),
        directory=str(Path.cwd()),
        environment={name: os.environ[name] for name in KEPT_VARIABLES if os.environ.get(name)},
        settled_until=now,
    )
