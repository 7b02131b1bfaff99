"""One run, as its record and its service have it."""

from pathlib import Path

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.lost import end_lost, is_lost
from tunelane_pipelines.runs.new import tasks_of
from tunelane_pipelines.runs.record import ENDED, RECORD, RunRecord, TaskRecord, read_record, write_record
from tunelane_pipelines.runs.remote import overlaid, record_of, record_of_row, update
from tunelane_pipelines.runs.services import Opener, ask, opened
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import NoSuchResource
from tunelane_pipelines.targets.target import RemoteTarget


def look(root: Path, entry: Entry, target: RemoteTarget, clock: Clock, *, attempts: int = 5) -> RunRecord:
    """Ask the service for a run and its tasks, and put what it says into record and journal.

    A run that the service does not have keeps its state where its submission is unclear; it ends as interrupted where
    the service once had it.

    Args:
        root: where the run's directory is.
        entry: its row.
        target: the service that it belongs to.
        clock: what pauses go by.
        attempts: of each call.

    Raises:
        TunelaneError: the service does not answer, or its answer is no.
    """
    directory = Path(entry.place)
    try:
        run = ask(entry, target, clock, attempts=attempts)
    except NoSuchResource:
        if not is_lost(entry, target):
            raise
        record = recorded(entry)
        end_lost(record)
    else:
        if run is None:
            return recorded(entry)
        is_known = (directory / RECORD).exists()
        record = read_record(directory) if is_known else record_of(run, target, _tasks(run.pipeline))
        # By the journal's name, whatever the service calls it.
        record.run_id, record.service = entry.run_id, target.service
        update(record, run, clock.now())
    write_record(directory, record)
    Journal(root).enter(record, entry.place)
    return record


def seen(root: Path, entry: Entry, opener: Opener, clock: Clock, *, attempts: int = 5) -> RunRecord:
    """The record of a run; of a remote one that may have moved on since it was last looked at, after another look.

    Raises:
        Elsewhere: it belongs to another service than the settings in force name.
        TunelaneError: the service does not answer, or its answer is no.
        ContractError: the record is broken.
    """
    if not entry.is_remote or entry.state == "submitting" or _is_settled(entry):
        return recorded(entry)
    return look(root, entry, opened(entry, entry.run_id, opener), clock, attempts=attempts)


def recorded(entry: Entry) -> RunRecord:
    """The record of a run as far as it was looked at; one of the row alone where it never was.

    Raises:
        ContractError: the record of a local run is gone, or a record is broken.
    """
    directory = Path(entry.place)
    if not entry.is_remote:
        return read_record(directory)
    if (directory / RECORD).exists():
        return overlaid(read_record(directory), entry)
    return record_of_row(entry)


def _is_settled(entry: Entry) -> bool:
    """Whether row and record say the same end: where one was brought up to date alone, the service is asked."""
    if entry.state not in ENDED:
        return False
    directory = Path(entry.place)
    return (directory / RECORD).exists() and read_record(directory).state == entry.state


def _tasks(pipeline: str) -> tuple[TaskRecord, ...]:
    if pipeline not in MODULE_BY_PIPELINE:
        return ()
    return tasks_of(read_dag(load_pipeline(pipeline)).tasks)
