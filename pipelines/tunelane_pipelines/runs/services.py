"""Which service a run belongs to, and asking that one and no other."""

from collections.abc import Callable

from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, RemoteTarget
from tunelane_serving.errors import InputError

Opener = Callable[[str], RemoteTarget]
"""Gives the target of a name, as the settings in force have it, ready to be talked to."""


class Elsewhere(InputError):
    """A run belongs to another service than the one that the settings in force name."""


def belongs(entry: Entry, target: RemoteTarget) -> bool:
    """Whether a run belongs to this service. One of an older release, which kept none, belongs to the one in force."""
    return entry.target == target.name and entry.service in ("", target.service)


def opened(entry: Entry, opener: Opener) -> RemoteTarget:
    """Give the service that a remote run belongs to.

    Raises:
        Elsewhere: the settings in force name another, or none.
    """
    try:
        target = opener(entry.target)
    except InputError as error:
        if not entry.service:
            raise
        raise Elsewhere(f"{_at(entry)}, and the settings in force name no such service: {error}") from error
    if not belongs(entry, target):
        raise Elsewhere(
            f"{_at(entry)}, and the settings in force name {target.service}. Pass the --profile that it was submitted "
            "with, or set its project and region, or host and namespace."
        )
    return target


def ask(entry: Entry, target: RemoteTarget, clock: Clock, *, attempts: int) -> RemoteRun | None:
    """Ask a service for a run and its tasks; None where its name there is not known, and it cannot be found.

    Raises:
        NoSuchResource: the service does not have the run that it once had.
        TunelaneError: the service does not answer, or its answer is no.
    """
    resource = entry.resource
    if not resource:
        found = retried(lambda: target.find(entry.run_id), clock, attempts=attempts)
        if found is None:
            return None
        resource = found.resource
    return retried(lambda: target.get(resource), clock, attempts=attempts)


def _at(entry: Entry) -> str:
    return f"{entry.run_id} is at {entry.service}"
