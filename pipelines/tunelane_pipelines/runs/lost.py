"""Runs that a service once had and does not have any more."""

from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.runs.record import RunRecord
from tunelane_pipelines.targets.target import RemoteTarget

LOST = "The service does not have this run any more; how it ended is not known."


def is_lost(entry: Entry, target: RemoteTarget) -> bool:
    """Whether a run that this service says it does not have is gone.

    Only where it is certain to have been there: its name at the service is known, and which service that was.
    """
    return bool(entry.resource) and entry.service == target.service


def lost_row(entry: Entry) -> Entry:
    """The row of a run that is gone."""
    return entry._replace(state="interrupted", error=LOST)


def end_lost(record: RunRecord) -> None:
    """End the record of a run that is gone."""
    record.finish("interrupted", LOST)
