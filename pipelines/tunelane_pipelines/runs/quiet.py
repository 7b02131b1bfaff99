"""How long a request whose reply was lost may still be on its way."""

import math
from datetime import datetime, timedelta

from tunelane_pipelines.runs.record import RunRecord

QUIET_TIME = timedelta(minutes=10)
"""What a service does not have this long after it was sent never comes: whoever passes it on gives up in minutes."""


def quiet_left_min(record: RunRecord, now: datetime) -> int:
    """Minutes, rounded up, until it is certain that what was last sent of a run never comes; 0: it is certain."""
    if record.sent_at is None:
        return 0
    left = QUIET_TIME - (now - record.sent_at)
    return max(math.ceil(left.total_seconds() / 60), 0)
