"""The journal held against the services' own lists: where remote runs are, and runs that we did not know of."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.compiling.resources import KUBEFLOW, VERTEX
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.record import ENDED, RECORD, RunRecord, TaskRecord, read_record, write_record
from tunelane_pipelines.runs.remote import overlaid, record_of, record_of_row, row_of, run_id_of, tasks_of, update
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import NoSuchResource, reason
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, RemoteTarget
from tunelane_serving.errors import TunelaneError

Opener = Callable[[str], RemoteTarget]
"""Gives the target of a name, ready to be talked to."""

LOST = "The service has this run no more."

_FRESH = timedelta(seconds=30)
_WAIT_S = 2.0
_ATTEMPTS = 5
# How far back a service's list is read: where it is read for the first time, and at most.
_FIRST_LOOK = timedelta(days=30)
# Clocks differ, and a list may be late.
_OVERLAP = timedelta(hours=1)


def refresh(journal: Journal, entries: Sequence[Entry], target: RemoteTarget, clock: Clock, *, attempts: int) -> None:
    """Bring the rows of a target up to date by one reading of its list, and take in what it has and we have not.

    Args:
        journal: where the rows are.
        entries: what is in it.
        target: the service to ask.
        clock: what pauses go by.
        attempts: of each call.

    Raises:
        TunelaneError: the service does not answer, or its answer is no.
    """
    ours = [entry for entry in entries if entry.target == target.name]
    open_ones = {entry.run_id: entry for entry in ours if entry.state not in ENDED}
    since = _since(journal.look(target.name).looked_at, open_ones.values(), clock.now())
    asked_at = clock.now()
    runs = retried(lambda: list(target.runs(since=since)), clock, attempts=attempts)
    by_id = {entry.run_id: entry for entry in ours}
    id_by_resource = {entry.resource: entry.run_id for entry in ours if entry.resource}
    foreign = {entry.run_id for entry in entries if entry.target != target.name}
    rows: list[Entry] = []
    for run in runs:
        run_id = id_by_resource.get(run.resource) or run_id_of(run)
        known = by_id.get(run_id)
        open_ones.pop(run_id, None)
        # A submission that goes on writes its own row.
        if run_id not in foreign and (known is None or known.state != "submitting"):
            rows.append(row_of(journal, run, target.name, known, clock.now()))
    for entry in open_ones.values():
        if entry.state != "submitting":
            rows += _missing(journal, entry, target, clock, attempts)
    journal.put(row for row in rows if row != by_id.get(row.run_id))
    journal.looked(target.name, asked_at)


def refresh_all(settings: Settings, opener: Opener, clock: Clock) -> dict[str, TunelaneError]:
    """Refresh every target that is set up or that a run went to; gives what went wrong, by target."""
    journal, entries = Journal(settings.root), list_runs(settings.root)
    names = {entry.target for entry in entries if entry.is_remote}
    names |= {VERTEX} if settings.gcp.project else set()
    names |= {KUBEFLOW} if settings.kubeflow.host else set()
    errors: dict[str, TunelaneError] = {}
    for name in sorted(names):
        try:
            refresh(journal, entries, opener(name), clock, attempts=_ATTEMPTS)
        except TunelaneError as error:
            errors[name] = error
    return errors


def refresh_quickly(root: Path, opener: Opener, clock: Clock, *, wait_s: float = _WAIT_S) -> list[str]:
    """Refresh the targets that have runs which go on, or schedules, if they were last read more than half a minute ago.

    Nobody waits longer than `wait_s`, and for a target without an answer not again in the next half minute.

    Returns:
        A line for each target that could not be read: how old its rows are.
    """
    journal, now = Journal(root), clock.now()
    entries = list_runs(root)
    wanted = {entry.target for entry in entries if entry.is_remote and (entry.state not in ENDED or entry.schedule)}
    looks = {name: journal.look(name) for name in sorted(wanted)}
    stale = [name for name, one in looks.items() if _is_over(one.looked_at, now)]
    errors = dict.fromkeys(stale, "no answer when it was last asked.")
    asked = [name for name in stale if _is_over(looks[name].tried_at, now)]
    done: set[str] = set()

    def ask(name: str) -> None:
        try:
            refresh(journal, entries, opener(name), clock, attempts=1)
            done.add(name)
        except TunelaneError as error:
            errors[name] = reason(error)

    # A client cannot be told to give up in time: importing it may take longer than the call.
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in asked]
    for name, thread in zip(asked, threads, strict=True):
        journal.tried(name, now)
        errors[name] = f"no answer within {wait_s:.0f} s."
        thread.start()
    until_s = time.monotonic() + wait_s
    for thread in threads:
        thread.join(max(until_s - time.monotonic(), 0.0))
    return [_as_of(name, errors[name], looks[name].looked_at, now) for name in stale if name not in done]


def look(root: Path, entry: Entry, target: RemoteTarget, clock: Clock, *, attempts: int = 5) -> RunRecord:
    """Ask the service for a run and its tasks, and put what it says into record and journal.

    A run that the service does not have keeps its state where its submission is unclear; it ends as interrupted where
    the service once had it.

    Raises:
        TunelaneError: the service does not answer, or its answer is no.
    """
    journal, directory = Journal(root), Path(entry.place)
    try:
        run = _found(entry, target, clock, attempts)
    except NoSuchResource:
        record = recorded(entry)
        record.finish("interrupted", LOST)
    else:
        if run is None:
            return recorded(entry)
        known = (directory / RECORD).exists()
        record = read_record(directory) if known else record_of(run, target.name, _tasks(run.pipeline))
        # By the journal's name, whatever the service calls it.
        record.run_id = entry.run_id
        update(record, run, clock.now())
    write_record(directory, record)
    journal.enter(record, entry.place)
    return record


def seen(root: Path, entry: Entry, opener: Opener, clock: Clock, *, attempts: int = 5) -> RunRecord:
    """The record of a run; of a remote one that may have moved on since it was last looked at, after another look.

    Raises:
        TunelaneError: the service does not answer, or its answer is no.
        ContractError: the record is broken.
    """
    if not entry.is_remote or entry.state == "submitting":
        return recorded(entry)
    directory = Path(entry.place)
    if (directory / RECORD).exists() and read_record(directory).state in ENDED:
        return recorded(entry)
    return look(root, entry, opener(entry.target), clock, attempts=attempts)


def recorded(entry: Entry) -> RunRecord:
    """The record of a run as far as it was looked at; one of the row alone where it never was."""
    directory = Path(entry.place)
    if not entry.is_remote:
        return read_record(directory)
    if (directory / RECORD).exists():
        return overlaid(read_record(directory), entry)
    return record_of_row(entry)


def _found(entry: Entry, target: RemoteTarget, clock: Clock, attempts: int) -> RemoteRun | None:
    resource = entry.resource
    if not resource:
        found = retried(lambda: target.find(entry.run_id), clock, attempts=attempts)
        if found is None:
            return None
        resource = found.resource
    return retried(lambda: target.get(resource), clock, attempts=attempts)


def _missing(journal: Journal, entry: Entry, target: RemoteTarget, clock: Clock, attempts: int) -> list[Entry]:
    """The row of a run that a list ought to have and has not: it may be older than the list, or gone."""
    try:
        run = _found(entry, target, clock, attempts)
    except NoSuchResource:
        return [entry._replace(state="interrupted", error=LOST)]
    return [] if run is None else [row_of(journal, run, target.name, entry, clock.now())]


def _tasks(pipeline: str) -> tuple[TaskRecord, ...]:
    if pipeline not in MODULE_BY_PIPELINE:
        return ()
    return tasks_of(read_dag(load_pipeline(pipeline)).tasks)


def _since(looked_at: datetime | None, open_ones: Iterable[Entry], now: datetime) -> datetime:
    """From when on a list is wanted: the last reading, or the oldest run that goes on."""
    first = now - _FIRST_LOOK
    if looked_at is None:
        return first
    return max(first, min([looked_at, *(entry.started_at for entry in open_ones)]) - _OVERLAP)


def _is_over(at: datetime | None, now: datetime) -> bool:
    return at is None or now - at > _FRESH


def _as_of(name: str, why: str, looked_at: datetime | None, now: datetime) -> str:
    age = "this machine last saw them" if looked_at is None else f"they were {_ago(now - looked_at)} ago"
    return f"{name}: {why} Its runs are as {age}. Ask again: tunelane runs list --refresh"


def _ago(age: timedelta) -> str:
    minutes = round(age.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
