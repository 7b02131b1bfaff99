"""Kubeflow Pipelines as a target."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from tunelane_pipelines.compiling.resources import KUBEFLOW
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.clock import Clock, SystemClock
from tunelane_pipelines.targets.errors import NoSuchResource, Refused
from tunelane_pipelines.targets.kubeflow import runs as run_calls
from tunelane_pipelines.targets.kubeflow import schedules as schedule_calls
from tunelane_pipelines.targets.kubeflow.client import Api
from tunelane_pipelines.targets.kubeflow.logs import read_logs
from tunelane_pipelines.targets.kubeflow.reading import pipeline_spec_of, run_of, schedule_of
from tunelane_pipelines.targets.target import ENDED_STATES, LogLine, Recurrence, RemoteRun, RemoteSchedule, Submission


class KubeflowTarget:
    """`RemoteTarget` over kfp.Client. A run's name is our run id: runs have no labels here.

    Raises:
        InputError: the host is missing, no URL or has a password in it, or a file of the settings cannot be read.
    """

    name = KUBEFLOW
    takes_run_id = False

    def __init__(self, settings: KubeflowSettings, clock: Clock | None = None, api: Api | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._api = api or Api(settings)
        self.service = f"{self.name} {self._api.host.partition('://')[2]} {settings.namespace}".rstrip()

    def request(self, submission: Submission) -> dict[str, Any]:
        """Give the exact request that `submit` would send, as JSON. Talks to nobody.

        `run` is what is posted, but for `experiment_id`; `experiment` is looked for, and made where it is missing.
        """
        return {
            "method": "POST",
            "url": f"{self._api.host}/apis/v2beta1/runs",
            "experiment": run_calls.experiment_body(self._experiment(submission), self._settings),
            "run": run_calls.run_body(submission, self._settings),
        }

    def check(self, submission: Submission) -> None:
        """Refuse a namespace that does not fit the installation, and an account that may not read it."""
        self.request(submission)
        has_users = bool(self._api.call("healthz", "get_healthz").multi_user)
        if has_users and not self._settings.namespace:
            raise Refused(f"{self._api.host} has users: set kubeflow.namespace to yours.")
        if not has_users and self._settings.namespace:
            raise Refused(f"{self._api.host} has no users: leave kubeflow.namespace empty.")
        run_calls.find_experiment(self._api, self._experiment(submission), self._settings.namespace)

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run. Where one with its id is there already, that one is given and nothing is started.

        At most one is sent by each call; the service takes no id of ours, and would make another of each.
        """
        body = run_calls.run_body(submission, self._settings)
        run = run_calls.find_run(self._api, submission.run_id, self._settings.namespace)
        if run is None:
            experiment = run_calls.experiment_id(self._api, self._experiment(submission), self._settings)
            run = self._api.call("run", "create_run", run={**body, "experiment_id": experiment})
        return self._read(run)

    def file_run(self, resource: str, experiment: str) -> None:
        """Do nothing: the request that starts a run names its experiment."""

    def find(self, run_id: str) -> RemoteRun | None:
        """Give the run that has this id, or None."""
        run = run_calls.find_run(self._api, run_id, self._settings.namespace)
        return None if run is None else self._read(run)

    def get(self, resource: str) -> RemoteRun:
        """Give a run with its tasks."""
        return self._read(self._api.call("run", "get_run", run_id=resource))

    def runs(self, *, since: datetime) -> Iterator[RemoteRun]:
        """Give the runs that we or our schedules started since then, without their tasks, the newest first.

        A run of a schedule that was deleted since is known by our experiment.
        """
        ours = {one.recurring_run_id for schedule in self._schedules() for one in (schedule.kept, *schedule.others)}
        experiment = run_calls.find_experiment(self._api, self._settings.experiment, self._settings.namespace)
        for run in run_calls.runs_since(self._api, since, self._settings.namespace):
            read = replace(self._read(run), tasks=())
            by_us = read.schedule and (read.schedule in ours or run.experiment_id == experiment)
            if read.run_id or by_us:
                yield read

    def cancel(self, resource: str) -> None:
        """Have a run cancelled; nothing happens where it has ended."""
        if self.get(resource).state in ENDED_STATES:
            return
        try:
            self._api.call("run", "terminate_run", run_id=resource)
        except Refused:
            # It ended meanwhile, or is being cancelled already: the service refuses both.
            if self._api.call("run", "get_run", run_id=resource).state in ("PENDING", "RUNNING", "PAUSED"):
                raise

    def logs(self, resource: str, *, task: str = "") -> Iterator[LogLine]:
        """Give what the tasks wrote, one task after the other; of one task where it is named."""
        run = self._api.call("run", "get_run", run_id=resource)
        tasks = self._read(run).tasks
        names = [known.name for known in tasks]
        if task and task not in names:
            raise NoSuchResource(no_such("task", task, names))
        wanted = tuple(known for known in tasks if task in ("", known.name))
        return iter(read_logs(self._api, run, pipeline_spec_of(run), wanted, self._settings.namespace))

    def create_schedule(self, name: str, submission: Submission, recurrence: Recurrence) -> RemoteSchedule:
        """Make a schedule. Where one of the same name and run id is there already, that one is given."""
        return self._read_schedule(schedule_calls.create(self._api, self._settings, name, submission, recurrence))

    def schedules(self) -> Iterator[RemoteSchedule]:
        """Give all schedules of ours."""
        for schedule in self._schedules():
            yield self._read_schedule(*schedule)

    def schedule(self, name: str) -> RemoteSchedule:
        """Give a schedule by its name or resource, with how many runs it started."""
        read = self._read_schedule(*schedule_calls.named(self._api, self._settings, name))
        started, last = run_calls.runs_of_schedule(self._api, read.resource, self._settings.namespace)
        return replace(read, started_runs=started, last_run_at=last)

    def pause_schedule(self, resource: str) -> None:
        """Start no more runs."""
        schedule_calls.pause(self._api, self._settings, resource)

    def resume_schedule(self, resource: str, *, catch_up: bool) -> None:
        """Start runs again."""
        schedule_calls.resume(self._api, self._settings, resource, catch_up=catch_up)

    def update_schedule(self, resource: str, recurrence: Recurrence) -> RemoteSchedule:
        """Change when runs start; the schedule that is given has another resource."""
        return self._read_schedule(
            schedule_calls.update(self._api, self._settings, resource, recurrence, self._clock.now())
        )

    def delete_schedule(self, resource: str) -> None:
        """Remove a schedule; its runs stay."""
        schedule_calls.delete(self._api, self._settings, resource)

    def _experiment(self, submission: Submission) -> str:
        return submission.experiment or self._settings.experiment

    def _schedules(self) -> list[schedule_calls.Schedule]:
        return list(schedule_calls.all_schedules(self._api, self._settings))

    def _read(self, run: Any) -> RemoteRun:
        return run_of(run, self._api.host, self._settings.namespace)

    def _read_schedule(self, recurring: Any, others: tuple[Any, ...] = ()) -> RemoteSchedule:
        read = schedule_of(recurring, self._api.host, self._settings.time_zone, self._clock.now())
        return replace(read, last_error=schedule_calls.UNFINISHED) if others else read
