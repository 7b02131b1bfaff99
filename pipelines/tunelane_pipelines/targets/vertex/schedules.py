"""Schedules on Vertex AI: the calls of `ScheduleServiceClient`.

https://cloud.google.com/vertex-ai/docs/pipelines/schedule-pipeline-run and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import NoSuchResource, Refused, ServiceAway
from tunelane_pipelines.targets.target import RUN_LABEL, Recurrence, RemoteSchedule, ScheduleState
from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors, reply_lost
from tunelane_pipelines.targets.vertex.reading import read_time
from tunelane_pipelines.targets.vertex.request import PIPELINE_LABEL

_PAGE = 100
_POLL_S = 2.0
_MAX_POLLS = 30
_CRON = re.compile(r"(?:(?:CRON_)?TZ=(?P<zone>\S+)\s+)?(?P<cron>.+)")
_STATES: dict[str, ScheduleState] = {"ACTIVE": "active", "PAUSED": "paused", "COMPLETED": "completed"}


def create_schedule(
    clients: Clients, parent: str, name: str, request: Mapping[str, Any], recurrence: Recurrence
) -> RemoteSchedule:
    """Make a schedule that repeats `request`; where one of the same name and run id is there, that one is given.

    The service takes no id of ours, so one request is sent at most: whoever sends another looks for the first one.

    Raises:
        ServiceAway: no answer; with `is_reply_lost` the schedule may be there, or come later.
        Refused: another schedule has the name, or the service finds something wrong.
    """
    from google.cloud.aiplatform_v1.types import CreateScheduleRequest
    from google.protobuf import json_format

    run_id = request["pipelineJob"]["labels"][RUN_LABEL]
    namesakes = list(_listed(clients, parent, name))
    for namesake in namesakes:
        if _labels(namesake).get(RUN_LABEL) == run_id:
            return read_schedule(namesake, clients.project)
    if namesakes:
        raise Refused(f"There is a schedule {name!r} already. Choose another name, or delete that one first.")
    schedule = {"displayName": name, "createPipelineJobRequest": dict(request), **_fields(recurrence)}
    message = json_format.ParseDict(
        {"parent": parent, "schedule": schedule}, CreateScheduleRequest.pb(CreateScheduleRequest())
    )
    with plain_errors("create the schedule", clients.project, "aiplatform.schedules.create", creates=True):
        created = clients.schedules.create_schedule(
            CreateScheduleRequest.wrap(message), retry=None, timeout=CALL_TIMEOUT_S
        )
    if not created.name:
        raise reply_lost("create the schedule")
    return read_schedule(created, clients.project)


def list_schedules(clients: Clients, parent: str) -> Iterator[RemoteSchedule]:
    """Give the schedules whose runs have our label."""
    for schedule in _listed(clients, parent):
        yield read_schedule(schedule, clients.project)


def find_schedule(clients: Clients, parent: str, name: str) -> RemoteSchedule:
    """Give a schedule of ours by its name, or any by its resource.

    Raises:
        NoSuchResource: there is none.
        Refused: several have the name, made at the same time.
    """
    if name.startswith("projects/"):
        return _get(clients, name)
    found = [read_schedule(schedule, clients.project) for schedule in _listed(clients, parent, name)]
    if len(found) > 1:
        raise Refused(
            f"{len(found)} schedules are called {name!r}. Delete all but one in the console: "
            f"{', '.join(it.resource for it in found)}."
        )
    if found:
        return found[0]
    raise NoSuchResource(f"No schedule {name!r} in {parent}. tunelane schedule list shows what there is.")


def pause_schedule(clients: Clients, resource: str) -> None:
    """Start no more runs; a schedule that is paused stays so."""
    _change(clients, resource, "paused", lambda: _call(clients.schedules.pause_schedule, name=resource))


def resume_schedule(clients: Clients, resource: str, catch_up: bool) -> None:
    """Start runs again, with those that fell due meanwhile where `catch_up` says so."""
    request = {"name": resource, "catch_up": catch_up}
    _change(clients, resource, "active", lambda: _call(clients.schedules.resume_schedule, request=request))


def update_schedule(clients: Clients, resource: str, recurrence: Recurrence) -> RemoteSchedule:
    """Change when runs start. What the recurrence leaves open stays as it is: the service unsets no field."""
    from google.cloud.aiplatform_v1.types import UpdateScheduleRequest
    from google.protobuf import json_format

    fields = _fields(recurrence)
    request = {"schedule": {"name": resource, **fields}, "updateMask": ",".join(sorted(fields))}
    message = json_format.ParseDict(request, UpdateScheduleRequest.pb(UpdateScheduleRequest()))
    with plain_errors("change the schedule", clients.project, "aiplatform.schedules.update"):
        changed = _call(clients.schedules.update_schedule, request=UpdateScheduleRequest.wrap(message))
        return read_schedule(changed, clients.project)


def delete_schedule(clients: Clients, resource: str, clock: Clock) -> None:
    """Remove a schedule, and wait until it is gone; one that is not there is gone already.

    Raises:
        ServiceAway: it is still being removed after a minute.
    """
    from google.api_core.exceptions import NotFound, from_grpc_status

    with plain_errors("delete the schedule", clients.project, "aiplatform.schedules.delete"):
        try:
            operation = _call(clients.schedules.delete_schedule, name=resource).operation
        except NotFound:
            return
        for _ in range(_MAX_POLLS):
            if operation.done:
                break
            clock.sleep(_POLL_S)
            operation = _call(clients.schedules.get_operation, request={"name": operation.name})
        else:
            raise ServiceAway(f"{resource} is still being deleted. Delete it again to see whether it is gone.")
        if operation.HasField("error"):
            raise from_grpc_status(operation.error.code, operation.error.message)


def read_schedule(schedule: Any, project: str) -> RemoteSchedule:
    """Read a `Schedule`. `project` is the project's id, for the link."""
    region, _, identifier = schedule.name.split("/")[3:6]
    labels = _labels(schedule)
    last = schedule.last_scheduled_run_response
    return RemoteSchedule(
        resource=schedule.name,
        name=schedule.display_name,
        run_id=labels.get(RUN_LABEL, ""),
        pipeline=labels.get(PIPELINE_LABEL, ""),
        state=_STATES.get(schedule.state.name, "active"),
        recurrence=_recurrence(schedule),
        console_url=(
            "https://console.cloud.google.com/vertex-ai/pipelines/locations/"
            f"{region}/schedules/{identifier}?project={project}"
        ),
        last_run_at=read_time(last.scheduled_run_time),
        last_error="" if _is_well(last.run_response) else last.run_response,
        started_runs=schedule.started_run_count,
    )


def _is_well(response: str) -> bool:
    """Whether the answer to the last start is no error. No document has its form; a run's name is in none."""
    return response in ("", "OK") or "/pipelineJobs/" in response


def _recurrence(schedule: Any) -> Recurrence:
    match = _CRON.fullmatch(schedule.cron)
    return Recurrence(
        cron=match["cron"] if match else schedule.cron,
        time_zone=(match and match["zone"]) or "UTC",
        max_concurrent_runs=schedule.max_concurrent_active_run_count or schedule.max_concurrent_run_count,
        catch_up=schedule.catch_up,
        starts_at=read_time(schedule.start_time),
        ends_at=read_time(schedule.end_time),
        max_runs=schedule.max_run_count or None,
    )


def _fields(recurrence: Recurrence) -> dict[str, Any]:
    """Give a recurrence as the fields of a `Schedule`.

    Of the service's two limits one bounds the calls that start runs, the other the runs that go on; ours is both.
    Whether to catch up is no field to write: it is said when a schedule is resumed.
    """
    fields: dict[str, Any] = {
        "cron": f"TZ={recurrence.time_zone} {recurrence.cron}",
        "maxConcurrentRunCount": recurrence.max_concurrent_runs,
        "maxConcurrentActiveRunCount": recurrence.max_concurrent_runs,
    }
    if recurrence.starts_at is not None:
        fields["startTime"] = recurrence.starts_at.isoformat()
    if recurrence.ends_at is not None:
        fields["endTime"] = recurrence.ends_at.isoformat()
    if recurrence.max_runs is not None:
        fields["maxRunCount"] = recurrence.max_runs
    return fields


def _listed(clients: Clients, parent: str, name: str | None = None) -> Iterator[Any]:
    """Give our schedules, those with a name where one is given."""
    wanted = "create_pipeline_job_request:*"
    if name is not None:
        wanted += f' AND display_name="{_escaped(name)}"'
    request = {"parent": parent, "filter": wanted, "page_size": _PAGE}
    with plain_errors("list the schedules", clients.project, "aiplatform.schedules.list"):
        for schedule in clients.schedules.list_schedules(request, retry=None, timeout=CALL_TIMEOUT_S):
            if RUN_LABEL in _labels(schedule):
                yield schedule


def _get(clients: Clients, resource: str) -> RemoteSchedule:
    with plain_errors("read the schedule", clients.project, "aiplatform.schedules.get"):
        return read_schedule(_call(clients.schedules.get_schedule, name=resource), clients.project)


def _change(clients: Clients, resource: str, wanted: ScheduleState, change: Any) -> None:
    """Pause or resume; a schedule that is so already is left so, whatever the service thinks of being told twice."""
    from google.api_core.exceptions import FailedPrecondition

    verb = {"paused": "pause", "active": "resume"}[wanted]
    with plain_errors(f"{verb} the schedule", clients.project, "aiplatform.schedules.update"):
        try:
            change()
        except FailedPrecondition:
            if _get(clients, resource).state != wanted:
                raise


def _call(method: Any, **arguments: Any) -> Any:
    return method(**arguments, retry=None, timeout=CALL_TIMEOUT_S)


def _labels(schedule: Any) -> dict[str, str]:
    return dict(schedule.create_pipeline_job_request.pipeline_job.labels)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
