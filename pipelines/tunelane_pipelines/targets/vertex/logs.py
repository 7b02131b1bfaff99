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
_JOBS_PAGE = 100
# The service's own label of a run, which no two of them share.
_BILLING_LABEL = "vertex-ai-pipelines-run-billing-id"


def read_logs(clients: Clients, job_ids: Mapping[str, list[str]], since: datetime) -> Iterator[LogLine]:
    """Give the lines of custom jobs, oldest first.

    One query for all of them: a project may ask Cloud Logging 60 times a minute. It names a time, without which the
    service searches everything that it keeps.

    Args:
        clients: the project's.
        job_ids: those of each task.
        since: when the run was made.
    """
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
            yield LogLine(read_time(entry.timestamp) or since, task, _text(entry))


def launched_ids(clients: Clients, job: Any) -> dict[str, list[str]]:
    """Give the ids of the custom jobs that tasks of a run launched, by their display names, which are the tasks'.

    A task itself says what it launched once it has ended; a running one's job is found by the run's labels, which the
    service hands on: https://cloud.google.com/vertex-ai/docs/pipelines/gcpc-label-propagation
    """
    billing_id = job.labels.get(_BILLING_LABEL)
    if not billing_id:
        return {}
    request = {
        "parent": job.name.partition("/pipelineJobs/")[0],
        "filter": f'labels.{_BILLING_LABEL}="{billing_id}"',
        "page_size": _JOBS_PAGE,
    }
    found: dict[str, list[str]] = {}
    with plain_errors("list the custom jobs", clients.project, "aiplatform.customJobs.list"):
        for custom_job in clients.custom_jobs.list_custom_jobs(request, retry=None, timeout=CALL_TIMEOUT_S):
            found.setdefault(custom_job.display_name, []).append(custom_job.name.rpartition("/")[2])
    return found


def _text(entry: Any) -> str:
    """Give an entry's text: lines of a container come as text, or as JSON with a message in it."""
    if entry.text_payload:
        return str(entry.text_payload).rstrip("\n")
    message = entry.json_payload.get("message") if entry.json_payload else None
    return str(message).rstrip("\n") if message is not None else ""
