"""Cloud Logging: what the tasks wrote.

https://cloud.google.com/logging/docs/reference/v2/rpc/google.logging.v2#loggingservicev2; lines of custom jobs are of
the monitored resource ml_job: https://cloud.google.com/logging/docs/api/v2/resource-list#resource-types
"""

import re
from typing import Any

from google.cloud.logging_v2.types import ListLogEntriesResponse, LogEntry
from google.protobuf import json_format

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.filters import parsed
from tests.cloud.bench.pipeline_jobs import PipelineJobs
from tests.cloud.bench.state import PROJECT, PROJECT_NUMBER, State

_FIELDS = frozenset(
    {
        "resource.type", "resource.labels", "labels", "logName", "log_name", "timestamp", "severity", "textPayload",
        "jsonPayload", "insertId",
    }
)  # fmt: skip
_DEFAULT_PAGE = 50
_MAX_PAGE = 1000


class Entries:
    """The entries of one project."""

    service = "google.logging.v2.LoggingServiceV2"

    def __init__(self, state: State, jobs: PipelineJobs) -> None:
        self._state = state
        self._jobs = jobs
        self.reset()

    def reset(self) -> None:
        self._entries: list[Any] = []

    def write(self, job: str, task: str, text: str, severity: str = "INFO", as_json: bool = False) -> None:
        """Have a task of a pipeline job (id or name) write a line, now. `as_json`: as the payload's field `message`."""
        detail = next(found for found in self._jobs.job(job).job_detail.task_details if found.task_name == task)
        # What a launched job writes is not the launcher's.
        main_job = detail.executor_detail.container_detail.main_job
        custom_job = self._state.launched.get(main_job, main_job)
        entry: dict[str, Any] = {
            "log_name": f"projects/{PROJECT}/logs/workerpool0-0",
            "insert_id": f"{len(self._entries):08d}",
            "severity": severity,
            "resource": {
                "type": "ml_job",
                "labels": {
                    "project_id": PROJECT, "job_id": custom_job.rsplit("/", 1)[1], "task_name": "workerpool0-0",
                },
            },
            "labels": {"ml.googleapis.com/trial_id": "", "compute.googleapis.com/resource_name": "cmle-training"},
        }  # fmt: skip
        entry |= {"json_payload": {"message": text}} if as_json else {"text_payload": text}
        message = LogEntry.pb(LogEntry(entry))
        message.timestamp.CopyFrom(self._state.stamp())
        self._entries.append(message)

    def list_log_entries(self, request: Any) -> Any:
        for name in request.resource_names:
            if name not in (f"projects/{PROJECT}", f"projects/{PROJECT_NUMBER}"):
                raise ApiError("PERMISSION_DENIED", f"Permission 'logging.logEntries.list' denied on {name}.")
        if not request.resource_names:
            raise invalid("resource_names is required.")
        if not 0 <= request.page_size <= _MAX_PAGE:
            raise invalid(f"page_size must be at most {_MAX_PAGE}.")
        if request.order_by not in ("", "timestamp asc", "timestamp desc"):
            raise invalid(f"Invalid order_by: {request.order_by}")
        test = parsed(request.filter, _FIELDS, _values)
        found = [entry for entry in self._entries if test(json_format.MessageToDict(entry))]
        found.sort(
            key=lambda entry: (entry.timestamp.ToDatetime(), entry.insert_id),
            reverse=request.order_by.endswith("desc"),
        )
        start = int(request.page_token or 0)
        size = request.page_size or _DEFAULT_PAGE
        response = ListLogEntriesResponse.pb()()
        response.entries.extend(found[start : start + size])
        if start + size < len(found):
            response.next_page_token = str(start + size)
        return response


def _values(entry: dict[str, Any], path: list[str]) -> list[str]:
    value: Any = entry
    for position, name in enumerate(path):
        name = re.sub(r"_([a-z])", lambda match: match[1].upper(), name) if position == 0 else name
        if not isinstance(value, dict):
            return []
        rest = ".".join(path[position:])
        if rest in value:  # a label's key may have dots
            return [str(value[rest])]
        if name not in value:
            return []
        value = value[name]
    return [str(value)]
