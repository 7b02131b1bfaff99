"""What tasks wrote, from Cloud Logging: each container runs as a custom job, whose lines have its id.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tunelane_pipelines.targets.target import LogLine
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors
from tunelane_pipelines.targets.vertex.reading import log_filter, read_time

_PAGE = 1000


def read_logs(clients: Clients, job_ids: Mapping[str, list[str]], since: datetime) -> Iterator[LogLine]:
    """Give the lines of custom jobs, oldest first.

    One query for all of them: a project may ask Cloud Logging 60 times a minute. It names a time, without which the
    service searches everything that it keeps.

    Args:
        clients: the project's.
        job_ids: those of each task.
        since: when the run was made.
    """
    from google.logging.type.log_severity_pb2 import LogSeverity

    tasks = {job_id: task for task, ids in job_ids.items() for job_id in ids}
    if not tasks:
        return
    request = {
        "resource_names": [f"projects/{clients.project}"],
        "filter": f'{log_filter(list(tasks))} AND timestamp>="{since.isoformat()}"',
        "order_by": "timestamp asc",
        "page_size": _PAGE,
    }
    with plain_errors("read the log", clients.project, "logging.logEntries.list"):
        for entry in clients.logs.list_log_entries(request, retry=None, timeout=CALL_TIMEOUT_S):
            task = tasks.get(entry.resource.labels.get("job_id", ""), "")
            yield LogLine(read_time(entry.timestamp) or since, task, _text(entry), LogSeverity.Name(entry.severity))


def _text(entry: Any) -> str:
    """Give an entry's text: lines of a container come as text, or as JSON with a message in it."""
    if entry.text_payload:
        return str(entry.text_payload).rstrip("\n")
    message = entry.json_payload.get("message") if entry.json_payload else None
    return str(message).rstrip("\n") if message is not None else ""
