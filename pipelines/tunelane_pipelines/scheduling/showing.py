"""`tunelane schedule list` and `show`: the journal of schedules, held against the services' own lists."""

import sys
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import msgspec
import typer

from tunelane_pipelines.compiling.resources import KUBEFLOW, TARGETS, VERTEX
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.reconciling import refresh
from tunelane_pipelines.runs.record import LOCAL
from tunelane_pipelines.runs.services import Opener, opened
from tunelane_pipelines.scheduling.crontab import adding_command, crontab_line, removing_command
from tunelane_pipelines.scheduling.reconciling import reconcile
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import is_readable, next_runs, read_zone
from tunelane_pipelines.scheduling.store import FIRST, ScheduleStore
from tunelane_pipelines.scheduling.systemd import SystemdKeeper
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence, RemoteSchedule
from tunelane_serving.errors import InputError, TunelaneError

_NEXT_RUNS = 3
_LAST_RUNS = 3
_ATTEMPTS = 5
_HEAD = ("SCHEDULE", "STATE", "TARGET", "PIPELINE", "CRON", "ZONE", "NEXT")
_TIME = "%a %Y-%m-%d %H:%M %Z"


def print_schedules(settings: Settings, opener: Opener, clock: Clock, *, target: str, as_json: bool) -> None:
    """Print the schedules, of one target where it is named: a table, or one JSON object a line.

    The services that the settings in force name are asked. Those that do not answer are named on stderr; their
    schedules are as they were last seen, and so are those of other services.

    Raises:
        InputError: there is no such target.
    """
    if target and target not in (*TARGETS, LOCAL):
        raise InputError(no_such("target", target, (*TARGETS, LOCAL)))
    store = ScheduleStore(settings.root)
    asked = {target} if target else {record.target for record in store.records()} | _set_up(settings)
    seen = _refreshed(store, asked - {LOCAL}, opener, clock)
    records = [record for record in store.records() if target in ("", record.target)]
    if as_json:
        for record in records:
            typer.echo(msgspec.json.encode(_as_json(record, seen.get(record.name), clock.now())).decode())
        return
    if not records:
        typer.echo(f"No schedules yet. Make one: {again(FIRST, settings.root, settings.profile)}")
        return
    rows = [_HEAD, *(_cells(record, clock.now()) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_schedule(settings: Settings, name: str, opener: Opener, clock: Clock, *, as_json: bool) -> None:
    """Print a schedule: when it starts runs, what came of that, and how to go on where that is not known.

    One of another service than the settings in force name is as it was last seen, which is said on stderr.

    Raises:
        InputError: there is no such schedule.
    """
    store = ScheduleStore(settings.root)
    record = store.record(name)
    seen = None
    if not record.starter:
        try:
            opened(record, f"Schedule {record.name}", opener)
        except InputError as error:
            typer.echo(f"{error} It is shown as it was last seen.", err=True)
        else:
            seen = _refreshed(store, {record.target}, opener, clock, with_runs=True).get(name)
    record = store.record(name)
    if as_json:
        typer.echo(msgspec.json.encode(_as_json(record, seen, clock.now())).decode())
        return
    rows = [*when_rows(record, settings, clock.now()), *_past(record, seen), *_runs(settings.root, record)]
    print_rows([*rows, *_places(record, settings.root)], is_plain=not sys.stdout.isatty())


def print_changed(record: ScheduleRecord, settings: Settings, now: datetime, *, verb: str) -> None:
    """Print what a schedule is after a change, and what is left for the user to do."""
    root = settings.root
    if verb == "deleted":
        typer.echo(f"{record.name}: deleted. Its runs stay: {again('runs list', root, settings.profile)}")
        if record.starter == "crontab":
            typer.echo(f"Take its line out of your crontab: {removing_command(record, root)}")
        return
    print_rows([*when_rows(record, settings, now), *_places(record, root)], is_plain=not sys.stdout.isatty())
    if record.starter == "crontab" and verb in ("created", "updated"):
        typer.echo(f"\nPut its line into your crontab yourself: {adding_command(record, root)}")
    if record.starter == "systemd" and verb == "created":
        typer.echo("\nFor runs while you are logged out: loginctl enable-linger")
    if record.starter == "daemon" and verb in ("created", "resumed"):
        typer.echo(f"\nIts runs start while the daemon runs: {again('schedule daemon', root)}")


def when_rows(record: ScheduleRecord, settings: Settings, now: datetime) -> list[tuple[str, str]]:
    """Give a schedule's name, state and times, the next three runs among them, as names and values."""
    recurrence = record.recurrence
    rows = [("Schedule", record.name), ("State", record.shown_state)]
    if record.pending:
        rows.append(("", f"{record.error or f'Its {record.pending} was cut short.'}"))
        rows.append(("Go on", again(f"schedule continue {record.name}", settings.root, settings.profile)))
    rows.append(("Pipeline", f"{record.pipeline} on {record.service or record.target}"))
    rows.append(("Cron", f"{recurrence.cron or 'none'} ({recurrence.time_zone})"))
    times = _next(record, now, _NEXT_RUNS)
    rows += [("Next" if number == 0 else "", f"{time:{_TIME}}") for number, time in enumerate(times)]
    if recurrence.starts_at is not None:
        rows.append(("Starts", _shown(recurrence.starts_at, recurrence)))
    if recurrence.ends_at is not None:
        rows.append(("Ends", _shown(recurrence.ends_at, recurrence)))
    if recurrence.max_runs is not None:
        rows.append(("Runs", f"{recurrence.max_runs} in all"))
    rows.append(("At once", str(recurrence.max_concurrent_runs)))
    rows.append(("Catch up", "yes" if recurrence.catch_up else "no"))
    return rows


def _next(record: ScheduleRecord, now: datetime, count: int) -> list[datetime]:
    """The next times; none of a schedule that starts nothing, or whose line others wrote in a way of their own."""
    if record.state != "active" or record.pending in ("create", "delete") or not is_readable(record.recurrence):
        return []
    if record.starter and record.recurrence.max_runs is not None:
        count = min(count, record.recurrence.max_runs - record.started_runs)
    return next_runs(record.recurrence, now, count, by_systemd=record.starter == "systemd")


def _shown(time: datetime, recurrence: Recurrence) -> str:
    """Write a time in the schedule's zone; in UTC where that is none that we know."""
    try:
        zone: tzinfo = read_zone(recurrence.time_zone)
    except InputError:
        zone = UTC
    return f"{time.astimezone(zone):{_TIME}}"


def _set_up(settings: Settings) -> set[str]:
    """The targets that the settings name a service of."""
    return {name for name, at in ((VERTEX, settings.gcp.project), (KUBEFLOW, settings.kubeflow.host)) if at}


def _started_runs(record: ScheduleRecord, seen: RemoteSchedule | None) -> int | None:
    """How many runs were started; None where only a service could tell, and was not asked or does not count."""
    if seen is not None:
        return seen.started_runs
    return record.started_runs if record.starter else None


def _past(record: ScheduleRecord, seen: RemoteSchedule | None) -> list[tuple[str, str]]:
    started_runs = _started_runs(record, seen)
    last_run_at = seen.last_run_at if seen else record.last_run_at
    last_error = seen.last_error if seen else record.last_error
    rows = []
    if started_runs is not None:
        rows.append(("Started", f"{started_runs} {'run' if started_runs == 1 else 'runs'}"))
    if last_run_at is not None:
        rows.append(("Last", _shown(last_run_at, record.recurrence)))
    if last_error:
        rows.append(("", last_error))
    return rows


def _runs(root: Path, record: ScheduleRecord) -> list[tuple[str, str]]:
    """The last runs that the journal has of a schedule."""
    found = runs_of(root, record)[:_LAST_RUNS]
    return [("Runs" if number == 0 else "", f"{run.run_id}: {run.state}") for number, run in enumerate(found)]


def runs_of(root: Path, record: ScheduleRecord) -> list[Entry]:
    """Give the runs that a schedule started, the newest first, as far as the journal has them."""
    names = {record.name} if record.starter else {record.resource, *record.earlier_resources}
    return [entry for entry in Journal(root).entries() if entry.target == record.target and entry.schedule in names]


def _places(record: ScheduleRecord, root: Path) -> list[tuple[str, str]]:
    if record.console_url:
        return [("Console", record.console_url)]
    if record.starter == "systemd":
        return [("Units", str(path)) for path in SystemdKeeper(root).paths(record)]
    if record.starter == "crontab":
        return [("Line", crontab_line(record, root))]
    if record.starter == "daemon":
        return [("By", again("schedule daemon", root))]
    return []


def _refreshed(
    store: ScheduleStore, targets: set[str], opener: Opener, clock: Clock, *, with_runs: bool = False
) -> dict[str, RemoteSchedule]:
    """Ask the services for their schedules, and for the runs that these started; what they say by schedules' names."""
    journal = Journal(store.root)
    seen: dict[str, RemoteSchedule] = {}
    for name in sorted(targets):
        try:
            target = opener(name)
            seen |= retried(lambda target=target: reconcile(store, target, clock.now()), clock)  # type: ignore[misc]
            if with_runs:
                refresh(journal, journal.entries(), target, clock, attempts=_ATTEMPTS)
        except TunelaneError as error:
            typer.echo(f"{name}: {error} Its schedules are shown as they were last seen.", err=True)
    return seen


def _as_json(record: ScheduleRecord, seen: RemoteSchedule | None, now: datetime) -> dict[str, Any]:
    return {
        "name": record.name,
        "state": record.shown_state,
        "pending": record.pending,
        "target": record.target,
        "service": record.service,
        "pipeline": record.pipeline,
        "recurrence": record.recurrence,
        "next": [time.isoformat() for time in _next(record, now, _NEXT_RUNS)],
        "resource": record.resource,
        "console_url": record.console_url,
        "starter": record.starter,
        "started_runs": _started_runs(record, seen),
        "last_run_at": seen.last_run_at if seen else record.last_run_at,
        "last_error": seen.last_error if seen else record.last_error,
    }


def _cells(record: ScheduleRecord, now: datetime) -> tuple[str, ...]:
    following = _next(record, now, 1)
    when = f"{following[0]:{_TIME}}" if following else ""
    zone = record.recurrence.time_zone
    where = record.service or record.target
    return record.name, record.shown_state, where, record.pipeline, record.recurrence.cron, zone, when
