"""Which service a run or a schedule belongs to, and asking that one and no other."""

from collections.abc import Callable
from typing import Protocol

from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteRun, RemoteTarget
from tunelane_serving.errors import InputError

Opener = Callable[[str], RemoteTarget]
"""Gives the target of a name, as the settings in force have it, ready to be talked to."""


class Elsewhere(InputError):
    """A run or a schedule belongs to another service than the one that the settings in force name."""


class Kept(Protocol):
    """A run or a schedule that a service keeps: the target's name, and the service; empty where none was noted."""

    @property
    def target(self) -> str:
        """One of `TARGETS`."""
        ...

    @property
    def service(self) -> str:
        """As `RemoteTarget.service`."""
        ...


def belongs(kept: Kept, target: RemoteTarget) -> bool:
    """Whether it belongs to this service. What an older release kept, which noted none, belongs to the one in force."""
    return kept.target == target.name and kept.service in ("", target.service)


def opened(kept: Kept, called: str, opener: Opener) -> RemoteTarget:
    """Give the service that a run or a schedule belongs to.

    Args:
        kept: the run or the schedule.
        called: what people call it, at the beginning of a sentence.
        opener: gives a target.

    Raises:
        Elsewhere: the settings in force name another, or none.
    """
    at = f"{called} is at {kept.service}"
    try:
        target = opener(kept.target)
    except InputError as error:
        if not kept.service:
            raise
        raise Elsewhere(f"{at}, and the settings in force name no such service: {error}") from error
    if not belongs(kept, target):
        raise Elsewhere(
            f"{at}, and the settings in force name {target.service}. Pass the --profile that it was made with, or set "
            "its project and region, or host and namespace."
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
