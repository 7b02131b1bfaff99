"""Times as the API writes them, and cron expressions as the back end reads them."""

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from tests.cloud.kubeflow.errors import ApiError

NEVER = "1970-01-01T00:00:00Z"
"""A time that has not come."""


def read(given: str) -> datetime:
    return datetime.fromisoformat(given)


def written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def next_time(cron: str, after: datetime) -> datetime:
    """When an expression is next due, in UTC.

    As github.com/robfig/cron reads it: second, minute, hour, day, month, and a day of the week (0 to 6) that may be
    left out; of five fields, too, the first is the second. Here the second is a number.
    """
    fields = cron.split()
    if len(fields) == 5:
        fields.append("*")
    if len(fields) != 6 or not fields[0].isdecimal() or "7" in fields[5]:
        raise ApiError(
            3, f"Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron): {cron!r}"
        )
    second = timedelta(seconds=int(fields[0]))
    try:
        return next(CronSim(" ".join(fields[1:]), after - second)) + second
    except (CronSimError, StopIteration) as error:
        raise ApiError(3, f"Schedule cron is not a supported format: {cron!r}") from error
