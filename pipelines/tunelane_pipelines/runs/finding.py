"""Runs by what a user types, each in the state that it is really in."""

from pathlib import Path

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.advice import again, short
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.record import LOCK, RECORD, read_record, write_record
from tunelane_pipelines.runs.unclear import unclear
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.files import locked_if_free

LATEST = "latest"


def list_runs(root: Path) -> list[Entry]:
    """Every run below the root, the newest first.

    Those whose command was killed are marked as interrupted, or as in need of a resume where the command was about to
    submit them; local ones whose directory was removed are forgotten. No service is asked.
    """
    journal = Journal(root)
    entries = journal.entries()
    # Each is tried: no generator, which would stop at the first.
    settled = [_settle(journal, entry) for entry in entries if not entry.is_remote or entry.state == "submitting"]
    return journal.entries() if any(settled) else entries


def find_run(root: Path, name: str) -> Entry:
    """The run of that id, of an id that begins or ends so, or the newest one for "latest".

    Raises:
        InputError: there is none, or more than one, or no name.
    """
    if not name:
        # Every id begins so; more likely a script's variable is not set.
        raise InputError("The run's id is empty. Pass one, its beginning or end, or latest.")
    entries = list_runs(root)
    if not entries:
        raise InputError(no_runs(root))
    if name == LATEST:
        return entries[0]
    exact = [entry for entry in entries if entry.run_id == name]
    found = exact or [entry for entry in entries if entry.run_id.startswith(name) or entry.run_id.endswith(name)]
    if len(found) > 1:
        some = ", ".join(entry.run_id for entry in found[:3])
        raise InputError(f"{len(found)} runs are called {name!r}: {some}{', …' if len(found) > 3 else ''}. Type more.")
    if not found:
        ids = [entry.run_id for entry in entries[:20]]
        raise InputError(no_such("run", name, ids))
    return found[0]


def no_runs(root: Path) -> str:
    """Say that there are none yet, and how to start one."""
    return f"No runs below {short(root)} yet. Start one: {again('run train-classifier --config sentiment', root)}"


def _settle(journal: Journal, entry: Entry) -> bool:
    """Put a run's row right; says whether it was wrong. A run that cannot be read must not hide the others."""
    try:
        return _settle_readable(journal, entry)
    except (OSError, ContractError):
        # Rights; or written by a newer release, or by hand.
        return False


def _settle_readable(journal: Journal, entry: Entry) -> bool:
    """Put a row right.

    A run that is marked as running or submitting has lost its command if the kernel freed the lock which that held.
    """
    directory = Path(entry.place)
    if not directory.exists():
        # Of a submission: nothing can have been sent that the service's own list does not bring back.
        journal.forget(entry.run_id)
        return True
    if entry.state not in ("running", "submitting"):
        return False
    with locked_if_free(directory / LOCK) as is_free:
        if not is_free:
            return False
        if not (directory / RECORD).exists():
            journal.forget(entry.run_id)
            return True
        record = read_record(directory)
        if record.state == "submitting":
            record.state, record.error = "needs-resume", unclear("The submission was cut short.")
            write_record(directory, record)
        elif record.state == "running" and not entry.is_remote:
            record.finish("interrupted", "The command was killed; the run's tasks ended with it.")
            write_record(directory, record)
        journal.enter(record, entry.place)
    return True
