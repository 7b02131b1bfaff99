"""`tunelane schedule list` and `show`: the journal of schedules, held against the services' own lists."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import typer

from tunelane_pipelines.compiling.resources import TARGETS
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.reconciling import Opener, refresh
from tunelane_pipelines.runs.record import LOCAL
from tunelane_pipelines.scheduling.crontab import adding_command, crontab_line, removing_command
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.recurrence import next_runs, read_zone
from tunelane_pipelines.scheduling.service import reconcile
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.scheduling.systemd import SystemdKeeper
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteSchedule
from tunelane_serving.errors import InputError, TunelaneError

_NEXT_RUNS = 3
_LAST_RUNS = 3
_ATTEMPTS = 5
_HEAD = ("SCHEDULE", "STATE", "TARGET", "PIPELINE", "CRON", "ZONE", "NEXT")
_TIME = "%a %Y-%m-%d %H:%M %Z"


def print_schedules(root: Path, opener: Opener, clock: Clock, *, target: str, as_json: bool) -> None:
    """Print the schedules, of one target where it is named: a table, or one JSON object a line.

    Services that do not answer are named on stderr, and their schedules are as they were last seen.

    Raises:
        InputError: there is no such target.
    """
    if target and target not in (*TARGETS, LOCAL):
        raise InputError(no_such("target", target, (*TARGETS, LOCAL)))
    store = ScheduleStore(root)
    asked = {target} if target else {record.target for record in store.records()}
    seen = _refreshed(store, asked - {LOCAL}, opener, clock)
    records = [record for record in store.records() if target in ("", record.target)]
    if as_json:
        for record in records:
            typer.echo(msgspec.json.encode(_as_json(record, seen.get(record.name), clock.now())).decode())
        return
    if not records:
        typer.echo("No schedules yet. Make one: tunelane schedule create train-classifier --cron '0 3 * * MON'")
        return
    rows = [_HEAD, *(_cells(record, clock.now()) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_schedule(root: Path, name: str, opener: Opener, clock: Clock, *, as_json: bool) -> None:
    """Print a schedule: when it starts runs, what came of that, and how to go on where that is not known.

    Raises:
        InputError: there is no such schedule.
    """
    store = ScheduleStore(root)
    record = store.record(name)
    seen = _refreshed(store, {record.target} - {LOCAL}, opener, clock, with_runs=True).get(name)
    record = store.record(name)
    if as_json:
        typer.echo(msgspec.json.encode(_as_json(record, seen, clock.now())).decode())
        return
    rows = [*when_rows(record, clock.now()), *_past(record, seen), *_runs(root, record), *_places(record, root)]
    print_rows(rows, is_plain=not sys.stdout.isatty())


def print_changed(record: ScheduleRecord, root: Path, now: datetime, *, verb: str) -> None:
    """Print what a schedule is after a change, and what is left for the user to do."""
    if verb == "deleted":
        typer.echo(f"{record.name}: deleted. Its runs stay: tunelane runs list")
        if record.starter == "crontab":
            typer.echo(f"Take its line out of your crontab: {removing_command(record, root)}")
        return
    print_rows([*when_rows(record, now), *_places(record, root)], is_plain=not sys.stdout.isatty())
    if record.starter == "crontab" and verb in ("created", "updated"):
        typer.echo(f"\nPut its line into your crontab yourself: {adding_command(record, root)}")
    if record.starter == "systemd" and verb == "created":
        typer.echo("\nFor runs while you are logged out: loginctl enable-linger")
    if record.starter == "daemon" and verb in ("created", "resumed"):
        typer.echo("\nIts runs start while the daemon runs: tunelane schedule daemon")


def when_rows(record: ScheduleRecord, now: datetime) -> list[tuple[str, str]]:
    """Give a schedule's name, state and times, the next three runs among them, as names and values."""
    recurrence = record.recurrence
    zone = read_zone(recurrence.time_zone)
    rows = [("Schedule", record.name), ("State", record.shown_state)]
    if record.pending:
        rows.append(("", f"{record.error or f'Its {record.pending} was cut short.'}"))
        rows.append(("Go on", f"tunelane schedule continue {record.name}"))
    rows += [("Pipeline", f"{record.pipeline} on {record.target}"), ("Cron", f"{recurrence.cron} ({zone.key})")]
    times = _next(record, now, _NEXT_RUNS)
    rows += [("Next" if number == 0 else "", f"{time:{_TIME}}") for number, time in enumerate(times)]
    if recurrence.starts_at is not None:
        rows.append(("Starts", f"{recurrence.starts_at.astimezone(zone):{_TIME}}"))
    if recurrence.ends_at is not None:
        rows.append(("Ends", f"{recurrence.ends_at.astimezone(zone):{_TIME}}"))
    if recurrence.max_runs is not None:
        rows.append(("Runs", f"{recurrence.max_runs} in all"))
    rows.append(("At once", str(recurrence.max_concurrent_runs)))
    rows.append(("Catch up", "yes" if recurrence.catch_up else "no"))
    return rows


def _next(record: ScheduleRecord, now: datetime, count: int) -> list[datetime]:
    """The next times; none of a schedule that starts nothing."""
    if record.state != "active" or record.pending in ("create", "delete"):
        return []
    if record.starter and record.recurrence.max_runs is not None:
        count = min(count, record.recurrence.max_runs - record.started_runs)
    return next_runs(record.recurrence, now, count)


def _past(record: ScheduleRecord, seen: RemoteSchedule | None) -> list[tuple[str, str]]:
    started_runs = seen.started_runs if seen else record.started_runs if record.starter else None
    last_run_at = seen.last_run_at if seen else record.last_run_at
    last_error = seen.last_error if seen else record.last_error
    rows = []
    if started_runs is not None:
        rows.append(("Started", f"{started_runs} {'run' if started_runs == 1 else 'runs'}"))
    if last_run_at is not None:
        rows.append(("Last", f"{last_run_at.astimezone(read_zone(record.recurrence.time_zone)):{_TIME}}"))
    if last_error:
        rows.append(("", last_error))
    return rows


def _runs(root: Path, record: ScheduleRecord) -> list[tuple[str, str]]:
    """The last runs that the journal has of a schedule."""
    found = runs_of(root, record)[:_LAST_RUNS]
    return [("Runs" if number == 0 else "", f"{run.run_id}: {run.state}") for number, run in enumerate(found)]


def runs_of(root: Path, record: ScheduleRecord) -> list[Entry]:
    """Give the runs that a schedule started, the newest first, as far as the journal has them."""
    names = {record.name} if record.starter else {record.resource}
    return [entry for entry in Journal(root).entries() if entry.target == record.target and entry.schedule in names]


def _places(record: ScheduleRecord, root: Path) -> list[tuple[str, str]]:
    if record.console_url:
        return [("Console", record.console_url)]
    if record.starter == "systemd":
        return [("Units", str(path)) for path in SystemdKeeper(root).paths(record)]
    if record.starter == "crontab":
        return [("Line", crontab_line(record, root))]
    if record.starter == "daemon":
        return [("By", "tunelane schedule daemon")]
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
        "pipeline": record.pipeline,
        "recurrence": record.recurrence,
        "next": [time.isoformat() for time in _next(record, now, _NEXT_RUNS)],
        "resource": record.resource,
        "console_url": record.console_url,
        "starter": record.starter,
        "started_runs": seen.started_runs if seen else record.started_runs,
        "last_run_at": seen.last_run_at if seen else record.last_run_at,
        "last_error": seen.last_error if seen else record.last_error,
    }


def _cells(record: ScheduleRecord, now: datetime) -> tuple[str, ...]:
    following = _next(record, now, 1)
    when = f"{following[0]:{_TIME}}" if following else ""
    zone = record.recurrence.time_zone
    return record.name, record.shown_state, record.target, record.pipeline, record.recurrence.cron, zone, when
