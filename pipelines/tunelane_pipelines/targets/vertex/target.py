"""Vertex AI Pipelines as a target."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tunelane_pipelines.compiling.resources import VERTEX
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.clock import Clock, SystemClock
from tunelane_pipelines.targets.errors import NoSuchResource
from tunelane_pipelines.targets.target import LogLine, Recurrence, RemoteRun, RemoteSchedule, Submission
from tunelane_pipelines.targets.vertex import experiments, jobs, schedules
from tunelane_pipelines.targets.vertex.check import check_data, check_places
from tunelane_pipelines.targets.vertex.clients import Clients
from tunelane_pipelines.targets.vertex.logs import launched_ids, read_logs
from tunelane_pipelines.targets.vertex.reading import job_ids_by_task, read_run, read_time
from tunelane_pipelines.targets.vertex.request import check_settings, location, run_request, scheduled_request
from tunelane_pipelines.targets.vertex.templates import keep_template


class VertexTarget:
    """`RemoteTarget` over Google's generated clients. A run's id is the id of its pipeline job.

    An experiment is one of Vertex AI's, and besides a label, `tunelane-experiment`, by which lists are filtered. The
    runs that a schedule starts have the label alone: the service files none of them.

    Raises:
        InputError: a setting is missing, or not of its form.
    """

    name = VERTEX
    takes_run_id = True

    def __init__(self, settings: GcpSettings, clock: Clock | None = None) -> None:
        check_settings(settings)
        self._settings = settings
        self._parent = location(settings)
        self.service = f"{VERTEX} {settings.project}/{settings.region}"
        self._clients = Clients(settings.project, settings.region)
        self._clock = clock or SystemClock()

    def request(self, submission: Submission) -> dict[str, Any]:
        """Give the exact request that `submit` would send, as JSON. Talks to nobody."""
        return run_request(submission, self._settings)

    def check(self, submission: Submission) -> None:
        """Refuse a bucket or a key in another region than the run: the root's, and those that parameters name."""
        run_request(submission, self._settings)
        check_places(self._clients, self._settings)
        check_data(self._clients, self._settings, submission.parameters)

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run. Where one with its id is there already, that one is given and nothing is started."""
        request = run_request(submission, self._settings)
        self._keep_template(request)
        return jobs.start_job(self._clients, request)

    def file_run(self, resource: str, experiment: str) -> None:
        """File a started run under an experiment, which is made where it is missing."""
        experiments.file_job(self._clients, resource, experiment)

    def find(self, run_id: str) -> RemoteRun | None:
        """Give the run that has this id, or None."""
        return jobs.find_job(self._clients, self._parent, run_id)

    def get(self, resource: str) -> RemoteRun:
        """Give a run with its tasks."""
        return read_run(jobs.get_job(self._clients, resource), self._settings.project)

    def runs(self, *, since: datetime) -> Iterator[RemoteRun]:
        """Give the runs that we or our schedules started since then, without their tasks, the newest first."""
        return jobs.list_jobs(self._clients, self._parent, since)

    def cancel(self, resource: str) -> None:
        """Have a run cancelled; nothing happens where it has ended."""
        jobs.cancel_job(self._clients, resource)

    def logs(self, resource: str, *, task: str = "") -> Iterator[LogLine]:
        """Give what the tasks wrote, oldest first; of one task where it is named."""
        job = jobs.get_job(self._clients, resource)
        job_ids = job_ids_by_task(job)
        for name, launched in launched_ids(self._clients, job).items():
            job_ids[name] = list(dict.fromkeys([*job_ids.get(name, []), *launched]))
        if task:
            known = [known.name for known in read_run(job, self._settings.project).tasks]
            if task not in known:
                raise NoSuchResource(no_such("task", task, known))
            job_ids = {task: job_ids.get(task, [])}
        yield from read_logs(self._clients, job_ids, read_time(job.create_time) or self._clock.now())

    def create_schedule(self, name: str, submission: Submission, recurrence: Recurrence) -> RemoteSchedule:
        """Make a schedule. Where one of the same name and run id is there already, that one is given."""
        request = scheduled_request(submission, self._settings)
        self._keep_template(request)
        return schedules.create_schedule(self._clients, self._parent, name, request, recurrence)

    def schedules(self) -> Iterator[RemoteSchedule]:
        """Give all schedules of ours."""
        return schedules.list_schedules(self._clients, self._parent)

    def schedule(self, name: str) -> RemoteSchedule:
        """Give a schedule by its name or resource."""
        return schedules.find_schedule(self._clients, self._parent, name)

    def pause_schedule(self, resource: str) -> None:
        """Start no more runs."""
        schedules.pause_schedule(self._clients, resource)

    def resume_schedule(self, resource: str, *, catch_up: bool) -> None:
        """Start runs again."""
        schedules.resume_schedule(self._clients, resource, catch_up)

    def update_schedule(self, resource: str, recurrence: Recurrence) -> RemoteSchedule:
        """Change when runs start. What the recurrence leaves open stays as it is."""
        return schedules.update_schedule(self._clients, resource, recurrence)

    def delete_schedule(self, resource: str) -> None:
        """Remove a schedule; its runs stay."""
        schedules.delete_schedule(self._clients, resource, self._clock)

    def _keep_template(self, request: dict[str, Any]) -> None:
        if self._settings.template_repository:
            keep_template(self._clients, request["pipelineJob"]["pipelineSpec"], self._settings.template_repository)
