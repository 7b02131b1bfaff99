"""Which service a schedule belongs to: that one is asked for it, and no other."""

from tunelane_pipelines.runs.services import Opener
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.targets.target import RemoteTarget
from tunelane_serving.errors import InputError


def is_at(record: ScheduleRecord, target: RemoteTarget) -> bool:
    """Whether a schedule belongs to this service; one of an older release, which kept none, to the one in force."""
    return record.target == target.name and record.service in ("", target.service)


def opened(record: ScheduleRecord, opener: Opener) -> RemoteTarget:
    """Give the service that a schedule belongs to.

    Raises:
        InputError: the settings in force name another, or none.
    """
    at = f"Schedule {record.name} is at {record.service}"
    try:
        target = opener(record.target)
    except InputError as error:
        if not record.service:
            raise
        raise InputError(f"{at}, and the settings in force name no such service: {error}") from error
    if not is_at(record, target):
        raise InputError(
            f"{at}, and the settings in force name {target.service}. Pass the --profile that it was created with, or "
            "set its project and region, or host and namespace."
        )
    return target
