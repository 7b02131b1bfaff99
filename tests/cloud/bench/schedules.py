"""Vertex AI schedules, fired by the bench's clock.

Rules: https://cloud.google.com/vertex-ai/docs/pipelines/schedule-pipeline-run and the comments of
https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/schedule.proto, schedule_service.proto
"""

import copy
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from google.cloud import aiplatform_v1
from google.protobuf import empty_pb2

from tests.cloud.bench.errors import ApiError, invalid
from tests.cloud.bench.pipeline_jobs import PipelineJobs
from tests.cloud.bench.state import PROJECT_NUMBER, State, listed, merged, moment, numbered, timestamp

_CRON = re.compile(r"(?:(?:CRON_)?TZ=(?P<zone>\S+)\s+)?(?P<fields>\S+(?:\s+\S+){4})")
_FILTERABLE = frozenset(
    {
        "display_name", "state", "create_pipeline_job_request", "create_notebook_execution_job_request", "create_time",
        "start_time", "end_time", "next_run_time",
    }
)  # fmt: skip
_ORDER = frozenset({"create_time", "start_time", "end_time", "next_run_time"})
_OUTPUT_ONLY = (
    "name", "started_run_count", "state", "create_time", "update_time", "next_run_time", "last_pause_time",
    "last_resume_time", "catch_up", "last_scheduled_run_response",
)  # fmt: skip
_State = aiplatform_v1.Schedule.State
_ENDED = (
    aiplatform_v1.PipelineState.PIPELINE_STATE_SUCCEEDED,
    aiplatform_v1.PipelineState.PIPELINE_STATE_FAILED,
    aiplatform_v1.PipelineState.PIPELINE_STATE_CANCELLED,
)


class Schedules:
    """The schedules of pipeline jobs.

    `max_concurrent_run_count` limits the starting of runs and not the runs, which start in no time here; what limits
    runs that go on is `max_concurrent_active_run_count`. A run that falls due while its limit is reached is skipped, or
    waits where `allow_queueing` says so.
    """

    service = "google.cloud.aiplatform.v1.ScheduleService"

    def __init__(self, state: State, jobs: PipelineJobs) -> None:
        self._state = state
        self._jobs = jobs
        self.reset()

    def reset(self) -> None:
        self.skipped: list[tuple[str, datetime]] = []
        """Runs that were not started because others still ran: schedule's name, and when."""
        self._queued: dict[str, list[datetime]] = {}

    # What a test does.

    def schedules(self) -> list[Any]:
        """Give all schedules, the newest first, as the client's messages."""
        return [aiplatform_v1.Schedule.wrap(copy.deepcopy(schedule)) for schedule in self._all()]

    def runs(self, schedule: str) -> list[Any]:
        """Give the jobs that a schedule started, the first one first."""
        return [job for job in reversed(self._jobs.jobs()) if job.schedule_name == schedule]

    # What a client does.

    def create_schedule(self, request: Any) -> Any:
        schedule = request.schedule
        for name in _OUTPUT_ONLY:
            schedule.ClearField(name)
        _check(schedule, request.parent)
        self._jobs.check(copy.deepcopy(schedule.create_pipeline_job_request))
        name = f"projects/{PROJECT_NUMBER}/{request.parent.split('/', 2)[2]}/schedules/{self._state.new_id()}"
        schedule.state = _State.ACTIVE
        self._state.add(name, schedule)
        if not schedule.HasField("start_time"):
            schedule.start_time.CopyFrom(schedule.create_time)
        self._plan(schedule, max(self._state.clock.now(), moment(schedule.start_time)))
        return schedule

    def get_schedule(self, request: Any) -> Any:
        return self._state.get(request.name)

    def list_schedules(self, request: Any) -> Any:
        response = aiplatform_v1.ListSchedulesResponse.pb()()
        return listed(request, response, self._state.children(request.parent, "schedules"), _FILTERABLE, _ORDER)

    def pause_schedule(self, request: Any) -> Any:
        schedule = self._changeable(request.name)
        schedule.state = _State.PAUSED
        schedule.last_pause_time.CopyFrom(self._state.stamp())
        return empty_pb2.Empty()

    def resume_schedule(self, request: Any) -> Any:
        """Go on. With `catch_up`, what fell due meanwhile is started; without, the next run is a future one."""
        schedule = self._changeable(request.name)
        if schedule.state != _State.PAUSED:
            raise ApiError("FAILED_PRECONDITION", f"The Schedule {request.name} is not paused.")
        schedule.state = _State.ACTIVE
        schedule.last_resume_time.CopyFrom(self._state.stamp())
        schedule.catch_up = request.catch_up
        if not request.catch_up:
            self._plan(schedule, self._state.clock.now())
        # What is overdue is started at once.
        self._state.clock.advance(0)
        return empty_pb2.Empty()

    def update_schedule(self, request: Any) -> Any:
        name = numbered(request.schedule.name)
        kept = self._state.get(name)
        if kept.state == _State.COMPLETED:
            raise ApiError("FAILED_PRECONDITION", f"The Schedule {name} is completed.")
        if not request.update_mask.paths:
            raise invalid("update_mask is required.")
        asked = [path for path in request.update_mask.paths if path not in _OUTPUT_ONLY]
        changed = copy.deepcopy(kept)
        for path in asked:
            field = path.split(".")[0]
            if field not in kept.DESCRIPTOR.fields_by_name:
                raise invalid(f"Invalid update_mask: {path}")
            if _is_set(kept, field) and not _is_set(request.schedule, field):
                raise invalid(f"{field} is set and cannot be unset.")
        if "create_notebook_execution_job_request" in request.update_mask.paths:
            raise invalid("The scheduled request type cannot be changed.")
        request.update_mask.ClearField("paths")
        request.update_mask.paths.extend(asked)
        merged(changed, request.schedule, request.update_mask)
        _check(changed, name.rsplit("/", 2)[0])
        self._jobs.check(copy.deepcopy(changed.create_pipeline_job_request))
        kept.CopyFrom(changed)
        kept.update_time.CopyFrom(self._state.stamp())
        # What was not started yet is skipped, and the next run planned anew from now on: UpdateSchedule's comment.
        self._queued.pop(name, None)
        self._plan(kept, max(self._state.clock.now(), moment(kept.start_time)))
        return kept

    def delete_schedule(self, request: Any) -> Any:
        """Remove it; the runs it started stay."""
        self._state.remove(request.name)
        self._queued.pop(request.name, None)
        return self._state.begin(request.name.rsplit("/", 2)[0], empty_pb2.Empty())

    # What the clock does.

    def next_due(self) -> datetime | None:
        """Give when the next run of any schedule falls due."""
        due = [
            moment(schedule.next_run_time)
            for schedule in self._all()
            if schedule.state == _State.ACTIVE and schedule.HasField("next_run_time")
        ]
        return min(due, default=None)

    def fire(self, now: datetime) -> None:
        """Start what is due."""
        for schedule in self._all():
            if schedule.state != _State.ACTIVE or not schedule.HasField("next_run_time"):
                continue
            due = moment(schedule.next_run_time)
            if due <= now:
                self._start(schedule, due)
                self._plan(schedule, due)

    def start_queued(self) -> None:
        """Start what waits and may go now."""
        for name, times in self._queued.items():
            while times and not self._is_full(self._state.get(name)):
                self._create(self._state.get(name), times.pop(0))

    def _start(self, schedule: Any, due: datetime) -> None:
        if not self._is_full(schedule):
            self._create(schedule, due)
        elif schedule.allow_queueing:
            self._queued.setdefault(schedule.name, []).append(due)
        else:
            self.skipped.append((schedule.name, due))

    def _create(self, schedule: Any, due: datetime) -> None:
        request = copy.deepcopy(schedule.create_pipeline_job_request)
        request.parent = numbered(request.parent)
        response = schedule.last_scheduled_run_response
        response.scheduled_run_time.CopyFrom(timestamp(due))
        try:
            job = self._jobs.create_pipeline_job(request, schedule=schedule.name)
            response.run_response = f"{{name: {job.name}}}"
            schedule.started_run_count += 1
        except ApiError as error:
            # What is wrong is wrong for the next runs too; they are tried all the same.
            response.run_response = f"{error.code}: {error.message}"

    def _is_full(self, schedule: Any) -> bool:
        if not schedule.max_concurrent_active_run_count:
            return False
        active = [job for job in self.runs(schedule.name) if job.state not in _ENDED]
        return len(active) >= int(schedule.max_concurrent_active_run_count)

    def _plan(self, schedule: Any, after: datetime) -> None:
        """Set the next run, or end the schedule: end_time and max_run_count's comments."""
        due = next_time(schedule.cron, after)
        is_counted_out = schedule.max_run_count and schedule.started_run_count >= schedule.max_run_count
        is_over = schedule.HasField("end_time") and (due is None or due > moment(schedule.end_time))
        if due is None or is_counted_out or is_over:
            schedule.state = _State.COMPLETED
            schedule.ClearField("next_run_time")
        else:
            schedule.next_run_time.CopyFrom(timestamp(due))

    def _changeable(self, name: str) -> Any:
        schedule = self._state.get(name)
        if schedule.state == _State.COMPLETED:
            raise ApiError("FAILED_PRECONDITION", f"The Schedule {name} is completed: it cannot be paused or resumed.")
        return schedule

    def _all(self) -> Iterator[Any]:
        names = [name for name in reversed(self._state.resources) if re.search(r"/schedules/\d+$", name)]
        return (self._state.resources[name] for name in names if name in self._state.resources)


def next_time(cron: str, after: datetime) -> datetime | None:
    """Give the first time after another one, UTC. Raises INVALID_ARGUMENT."""
    match = _CRON.fullmatch(cron.strip())
    if match is None:
        raise invalid(f"Invalid cron {cron!r}: TZ=ZONE and five fields.")
    zone = match["zone"] or "UTC"
    if zone not in available_timezones():
        raise invalid(f"Invalid cron {cron!r}: {zone} is not in the IANA time zone database.")
    try:
        times = CronSim(match["fields"], after.astimezone(ZoneInfo(zone)))
    except CronSimError as error:
        raise invalid(f"Invalid cron {cron!r}: {error}") from error
    return next((time.astimezone(UTC) for time in times), None)


def _check(schedule: Any, parent: str) -> None:
    if not schedule.display_name or len(schedule.display_name) > 128:
        raise invalid("display_name is required, with 128 characters at most.")
    if schedule.max_concurrent_run_count < 1:
        raise invalid("max_concurrent_run_count is required.")
    if schedule.max_run_count < 0:
        raise invalid("max_run_count must not be negative.")
    if not schedule.cron:
        raise invalid("cron is required.")
    next_time(schedule.cron, datetime(2026, 1, 1, tzinfo=UTC))
    if schedule.HasField("end_time") and moment(schedule.end_time) <= moment(schedule.start_time):
        raise invalid("end_time must be after start_time.")
    if schedule.WhichOneof("request") != "create_pipeline_job_request":
        raise invalid("create_pipeline_job_request is required.")
    if numbered(schedule.create_pipeline_job_request.parent) != numbered(parent):
        raise invalid("create_pipeline_job_request.parent must be the schedule's own.")
    # A run's id would be taken by the first run.
    if schedule.create_pipeline_job_request.pipeline_job_id:
        raise invalid("create_pipeline_job_request.pipeline_job_id must not be set: each run gets its own.")


def _is_set(message: Any, field: str) -> bool:
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    if descriptor.has_presence:
        return bool(message.HasField(field))
    return bool(getattr(message, field))
