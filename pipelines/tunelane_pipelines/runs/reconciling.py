"""The journal held against the services' own lists: where remote runs are, and runs that we did not know of."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tunelane_pipelines.compiling.resources import KUBEFLOW, VERTEX
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.lost import is_lost, lost_row
from tunelane_pipelines.runs.record import ENDED
from tunelane_pipelines.runs.remote import row_of, run_id_of
from tunelane_pipelines.runs.services import Opener, ask, belongs
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import NoSuchResource, ServiceAway
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteTarget
from tunelane_serving.errors import TunelaneError

_ATTEMPTS = 5
# How far back a service's list is read: where it is read for the first time, and at most.
_FIRST_LOOK = timedelta(days=30)
# Clocks differ, and a list may be late.
_OVERLAP = timedelta(hours=1)


def refresh(
    journal: Journal, entries: Sequence[Entry], target: RemoteTarget, clock: Clock, *, attempts: int
) -> dict[str, TunelaneError]:
    """Bring the rows of a service up to date by one reading of its list, and take in what it has and we have not.

    Rows of other services stay as they are.

    Args:
        journal: where the rows are.
        entries: what is in it.
        target: the service to ask.
        clock: what pauses go by.
        attempts: of each call.

    Returns:
        What went wrong with single runs, by their ids; their rows stay as they are.

    Raises:
        TunelaneError: the service does not answer, or its answer is no.
    """
    ours = [entry for entry in entries if belongs(entry, target)]
    open_ones = {entry.run_id: entry for entry in ours if entry.state not in ENDED}
    since = _since(journal.looked_at(target.service), open_ones.values(), clock.now())
    asked_at = clock.now()
    runs = retried(lambda: list(target.runs(since=since)), clock, attempts=attempts)
    by_id = {entry.run_id: entry for entry in ours}
    id_by_resource = {entry.resource: entry.run_id for entry in ours if entry.resource}
    foreign = {entry.run_id for entry in entries} - by_id.keys()
    rows: list[Entry] = []
    for run in runs:
        run_id = id_by_resource.get(run.resource) or run_id_of(run)
        known = by_id.get(run_id)
        open_ones.pop(run_id, None)
        # A submission that goes on writes its own row.
        if run_id not in foreign and (known is None or known.state != "submitting"):
            rows.append(row_of(journal, run, target, known, clock.now()))
    # What is known by now is kept, whatever the rest comes to.
    journal.put(row for row in rows if row != by_id.get(row.run_id))
    missing = [entry for entry in open_ones.values() if entry.state != "submitting"]
    errors = _ask_each(journal, missing, target, clock, attempts)
    journal.looked(target.service, asked_at)
    return errors


def refresh_all(settings: Settings, opener: Opener, clock: Clock) -> tuple[dict[str, TunelaneError], set[str]]:
    """Refresh every target that is set up or that a run went to.

    Returns:
        What went wrong, by target or by run; and the services whose lists were read.
    """
    journal, entries = Journal(settings.root), list_runs(settings.root)
    names = {entry.target for entry in entries if entry.is_remote}
    names |= {VERTEX} if settings.gcp.project else set()
    names |= {KUBEFLOW} if settings.kubeflow.host else set()
    errors: dict[str, TunelaneError] = {}
    services: set[str] = set()
    for name in sorted(names):
        try:
            target = opener(name)
            errors |= refresh(journal, entries, target, clock, attempts=_ATTEMPTS)
            services.add(target.service)
        except TunelaneError as error:
            errors[name] = error
    return errors, services


def _ask_each(
    journal: Journal, entries: Sequence[Entry], target: RemoteTarget, clock: Clock, attempts: int
) -> dict[str, TunelaneError]:
    """Ask for runs that a list ought to have and has not: they may be older than the list, or gone."""
    errors: dict[str, TunelaneError] = {}
    for entry in entries:
        try:
            run = ask(entry, target, clock, attempts=attempts)
        except ServiceAway:
            # It would be away for the others, too.
            raise
        except NoSuchResource as error:
            if is_lost(entry, target):
                journal.put([lost_row(entry)])
            else:
                errors[entry.run_id] = error
        except TunelaneError as error:
            errors[entry.run_id] = error
        else:
            if run is not None:
                journal.put([row_of(journal, run, target, entry, clock.now())])
    return errors


def _since(looked_at: datetime | None, open_ones: Iterable[Entry], now: datetime) -> datetime:
    """From when on a list is wanted: the last reading, or the oldest run that goes on."""
    first = now - _FIRST_LOOK
    if looked_at is None:
        return first
    return max(first, min([looked_at, *(entry.started_at for entry in open_ones)]) - _OVERLAP)
