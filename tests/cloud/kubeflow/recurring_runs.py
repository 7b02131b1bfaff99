"""Recurring runs, and the controller that starts what they ask for."""
# ruff: noqa: ARG002 - every operation is called with the query and the body

import re
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

from tests.cloud.bench.clock import FakeClock
from tests.cloud.kubeflow.errors import ApiError
from tests.cloud.kubeflow.experiments import Experiments
from tests.cloud.kubeflow.listing import Kept, one_of, page
from tests.cloud.kubeflow.runs import Runs, check_what_runs
from tests.cloud.kubeflow.times import next_time, read, written

_KIND = "Recurring run"


class RecurringRuns:
    """apiserver/server/recurring_run_server.go and crd/controller/scheduledworkflow/.

    Args:
        experiments: which every one belongs to one of.
        runs: where started ones go.
        new_id: gives an id.
        clock: the cluster's.
    """

    def __init__(self, experiments: Experiments, runs: Runs, new_id: Callable[[], str], clock: FakeClock) -> None:
        self.kept: Kept = {}
        self._last_fired: dict[str, datetime] = {}
        self._experiments, self._runs, self._new_id, self._clock = experiments, runs, new_id, clock

    def create_recurring_run(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        """apiserver/server/api_converter.go (toModelJob): names need not be unique either, and no id is taken."""
        if not body.get("display_name"):
            raise ApiError(3, "Recurring run's name cannot be empty")
        most = int(body.get("max_concurrency", 0))
        if not 1 <= most <= 10:
            raise ApiError(3, f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {most}")
        next_time(body.get("trigger", {}).get("cron_schedule", {}).get("cron", ""), self._clock.now())
        check_what_runs(body)
        now = written(self._clock.now())
        made = {
            **body, "recurring_run_id": self._new_id(), "created_at": now, "updated_at": now,
            "status": "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED", "max_concurrency": str(most),
            "experiment_id": self._experiments.of(body), "no_catchup": body.get("no_catchup", False),
        }  # fmt: skip
        made["namespace"] = self._experiments.namespace({"experiment_id": made["experiment_id"]})
        self.kept[made["recurring_run_id"]] = made
        self.fire()
        return made

    def get_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        return one_of(self.kept, recurring_run_id, _KIND)

    def list_recurring_runs(self, query: dict[str, str], body: None) -> Any:
        return page("recurringRuns", self._experiments.listed(self.kept, query), query)

    def enable_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        one_of(self.kept, recurring_run_id, _KIND).update(status="ENABLED", mode="ENABLE")
        self.fire()
        return {}

    def disable_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        one_of(self.kept, recurring_run_id, _KIND).update(status="DISABLED", mode="DISABLE")
        return {}

    def delete_recurring_run(self, query: dict[str, str], body: None, recurring_run_id: str) -> Any:
        """What it started and has not ended goes, too, unless that is orphaned.

        https://github.com/kubeflow/pipelines/issues/12573 and https://github.com/kubeflow/pipelines/pull/12574
        """
        one_of(self.kept, recurring_run_id, _KIND)
        del self.kept[recurring_run_id]
        for run in self._runs.of_schedule(recurring_run_id):
            if query.get("propagation_policy") != "ORPHAN":
                self._runs.fail(run)
        return {}

    def fire(self) -> None:
        """Start what is due: crd/controller/scheduledworkflow/controller.go and util/scheduled_workflow.go."""
        for resource, recurring in self.kept.items():
            for number in count(1):
                due = self._due(resource, recurring)
                if due is None or due > self._clock.now():
                    break
                self._last_fired[resource] = due
                name = f"{re.sub('[^a-z0-9]+', '-', recurring['display_name'].lower())}-{number}-{due:%Y%m%d%H%M%S}"
                fields = ("pipeline_spec", "runtime_config", "experiment_id", "service_account")
                body = {field: recurring[field] for field in fields if field in recurring}
                scheduled = {"recurring_run_id": resource, "scheduled_at": written(due)}
                self._runs.add({**body, **scheduled, "display_name": name})

    def next_due(self) -> datetime | None:
        """Give when the next run is to be started."""
        found = [due for one in self.kept.items() if (due := self._due(*one)) is not None]
        return min(found, default=None)

    def _due(self, resource: str, recurring: dict[str, Any]) -> datetime | None:
        """The next time to start a run; None where it is disabled, has ended, or enough runs go on.

        One that never started any counts from its start time, even from one in the past, and only without one from when
        it was made: util/cron_schedule.go (`getEffectiveLastJobTime`). So all that a start in the past has missed is
        due at once, or without catching up, the last of it.
        """
        if recurring["status"] != "ENABLED":
            return None
        if len(self._runs.of_schedule(resource)) >= int(recurring["max_concurrency"]):
            return None
        schedule = recurring["trigger"]["cron_schedule"]
        start, end = (read(schedule[name]) if schedule.get(name) else None for name in ("start_time", "end_time"))
        last = self._last_fired.get(resource) or start or read(recurring["created_at"])
        due = next_time(schedule["cron"], max(last, start or last))
        # Without catching up, the last of those that were missed.
        while recurring["no_catchup"] and (later := next_time(schedule["cron"], due)) <= self._clock.now():
            if end is not None and later > end:
                break
            due = later
        return due if end is None or due <= end else None
