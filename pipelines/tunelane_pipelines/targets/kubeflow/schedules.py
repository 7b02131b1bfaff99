"""Schedules as recurring runs.

The API has no call that changes one: https://www.kubeflow.org/docs/components/pipelines/reference/api/
kubeflow-pipeline-api-spec/. So an update makes another of the same name, disabled, whose description says which one it
replaces and whether that was enabled; disables the old one; enables the new one; and deletes the old one. At no time
are both enabled. As long as both are there the update is unfinished, and the next verb on the schedule settles it: it
is carried to its end where the new one is enabled, else taken back. Whatever else was made of one request, because an
answer was lost and the call was carried out late, belongs to the same schedule and goes with that.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.errors import NoSuchResource, Refused
from tunelane_pipelines.targets.kubeflow.client import Api
from tunelane_pipelines.targets.kubeflow.reading import read_marks, recurrence_of, written_marks
from tunelane_pipelines.targets.kubeflow.runs import experiment_id, what_runs
from tunelane_pipelines.targets.target import RUN_LABEL, Recurrence, Submission
from tunelane_serving.errors import InputError

UNFINISHED = "An update of this schedule was interrupted. Update it again."

_REPLACES = "tunelane-replaces"
_WAS_ENABLED = "tunelane-was-enabled"
_ENABLED = "ENABLED"
_FIELDS = 5
_PAGE = 100

# https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/server/api_converter.go (toModelJob)
_MAX_CONCURRENCY = 10


class Schedule(NamedTuple):
    """A `V2beta1RecurringRun` of ours, and others of the same request, which are to go."""

    kept: Any
    others: tuple[Any, ...] = ()


def create(api: Api, settings: KubeflowSettings, name: str, submission: Submission, recurrence: Recurrence) -> Any:
    """Make a recurring run; where one of that name and run id is there, give that one.

    Raises:
        ServiceAway: the service does not answer; `is_reply_lost` where it may have made one all the same.
        InputError: another schedule has the name; or it cannot be done here.
    """
    fields = {**what_runs(submission, settings), **_when(recurrence, settings.time_zone)}
    for found in _ours(api, settings):
        if found.display_name == name and read_marks(found.description)[RUN_LABEL] == submission.run_id:
            return found
        if found.display_name == name:
            raise InputError(f"There is a schedule {name} already. Update or delete it, or choose another name.")
    marks = {RUN_LABEL: submission.run_id, **submission.labels}
    body = {
        "display_name": name,
        "description": written_marks(submission.display_name, marks),
        "mode": "ENABLE",
        "experiment_id": experiment_id(api, submission.experiment or settings.experiment, settings),
        **fields,
    }
    return api.call("recurring_run", "create_recurring_run", recurring_run=body)


def all_schedules(api: Api, settings: KubeflowSettings) -> Iterator[Schedule]:
    """Give every schedule of ours.

    Of those that were made of one request that is the one that starts runs, or if none does, the one that another is to
    replace, or the oldest.
    """
    by_request: dict[tuple[str, str], list[Any]] = {}
    for one in _ours(api, settings):
        by_request.setdefault((one.display_name, read_marks(one.description)[RUN_LABEL]), []).append(one)
    for made in by_request.values():
        yield _schedule(made)


def _schedule(made: list[Any]) -> Schedule:
    ids = {one.recurring_run_id for one in made}
    kept, *others = sorted(made, key=lambda one: (one.status != _ENABLED, _replaced(one) in ids, one.created_at))
    return Schedule(kept, tuple(others))


def named(api: Api, settings: KubeflowSettings, name: str) -> Schedule:
    """Give the schedule with this name, or with this resource, also where an update has replaced that since.

    Raises:
        NoSuchResource: there is none.
    """
    for schedule in all_schedules(api, settings):
        made = (schedule.kept, *schedule.others)
        ids = {one.recurring_run_id for one in made} | {_replaced(one) for one in made}
        # What replaces nothing says so by an empty id, and an empty name must not find it.
        if name and (name == schedule.kept.display_name or name in ids):
            return schedule
    raise NoSuchResource(f"No schedule {name} at {api.host}. See: tunelane schedule list --target kubeflow.")


def pause(api: Api, settings: KubeflowSettings, resource: str) -> None:
    """Disable a schedule."""
    _enable(api, _settled(api, settings, resource), enabled=False)


def resume(api: Api, settings: KubeflowSettings, resource: str, *, catch_up: bool) -> None:
    """Enable a schedule.

    Without catching up Kubeflow starts one run at once, where one or more fell due meanwhile:
    https://www.kubeflow.org/docs/components/pipelines/concepts/run-trigger/

    Raises:
        Refused: it was made with the other way to catch up, which cannot be changed.
    """
    found = _settled(api, settings, resource)
    if catch_up == bool(found.no_catchup):
        made = "without catching up" if found.no_catchup else "to catch up"
        option = "--catch-up" if catch_up else "--no-catch-up"
        raise Refused(
            f"{found.display_name} was made {made}, and Kubeflow keeps that. Update the schedule first: tunelane "
            f"schedule update {found.display_name} {option}"
        )
    _enable(api, found, enabled=True)


def update(api: Api, settings: KubeflowSettings, resource: str, recurrence: Recurrence, now: datetime) -> Any:
    """Give the recurring run that takes the place of this one; it has another id, and a start that is not in the past.

    One that was never run counts from its start, and not from when it was made, so that what the old one has run since
    then would be due again: https://github.com/kubeflow/pipelines/blob/master/backend/src/crd/controller/
    scheduledworkflow/util/cron_schedule.go (`getEffectiveLastJobTime`).

    Raises:
        NoSuchResource: it is not there.
        Refused: it cannot be done here.
    """
    starts_at = max(recurrence.starts_at, now) if recurrence.starts_at else None
    fields = _when(replace(recurrence, starts_at=starts_at), settings.time_zone)
    old = _settled(api, settings, resource)
    if _as_kept(recurrence_of(old, settings.time_zone), now) == _as_kept(recurrence, now):
        return old
    is_enabled = old.status == _ENABLED
    marks = {**read_marks(old.description), _REPLACES: old.recurring_run_id, _WAS_ENABLED: str(is_enabled)}
    body = {
        "display_name": old.display_name,
        "description": written_marks((old.description or "").partition("\n")[0], marks),
        "mode": "DISABLE",
        "experiment_id": old.experiment_id,
        "pipeline_spec": old.pipeline_spec,
        "runtime_config": {name: value for name, value in old.runtime_config.to_dict().items() if value is not None},
        **fields,
    }
    if old.service_account:
        body["service_account"] = old.service_account
    new = api.call("recurring_run", "create_recurring_run", recurring_run=body)
    if is_enabled:
        _enable(api, old, enabled=False)
        _enable(api, new, enabled=True)
    _delete_one(api, old.recurring_run_id)
    return api.call("recurring_run", "get_recurring_run", recurring_run_id=new.recurring_run_id)


def delete(api: Api, settings: KubeflowSettings, resource: str) -> None:
    """Delete a schedule; nothing happens where it is gone."""
    try:
        schedule = named(api, settings, resource)
    except NoSuchResource:
        return
    for one in (schedule.kept, *schedule.others):
        _delete_one(api, one.recurring_run_id)


def _settled(api: Api, settings: KubeflowSettings, resource: str) -> Any:
    """Give a schedule's recurring run, after an unfinished update was ended or taken back."""
    kept, others = named(api, settings, resource)
    if not others:
        return kept
    # Of an update that is taken back: the old one may be disabled for it already.
    was_enabled = {
        read_marks(one.description)[_WAS_ENABLED] for one in others if _replaced(one) == kept.recurring_run_id
    }
    if str(True) in was_enabled:
        _enable(api, kept, enabled=True)
    for one in others:
        _delete_one(api, one.recurring_run_id)
    return api.call("recurring_run", "get_recurring_run", recurring_run_id=kept.recurring_run_id)


def _when(recurrence: Recurrence, time_zone: str) -> dict[str, Any]:
    """Give the fields that say when runs start.

    A cron expression has six fields here, the first of them the second, and of five the first would be taken for it:
    https://pkg.go.dev/github.com/robfig/cron#hdr-CRON_Expression_Format

    It is read in one time zone for the whole installation: https://github.com/kubeflow/pipelines/issues/2653

    Raises:
        Refused: the recurrence has what Kubeflow cannot do.
    """
    if recurrence.time_zone != time_zone:
        raise Refused(
            f"This installation reads schedules in {time_zone}, not in {recurrence.time_zone}. Write --cron for that "
            f"and pass --time-zone {time_zone}; or set kubeflow.time_zone, if its CRON_SCHEDULE_TIMEZONE is another."
        )
    if recurrence.max_runs is not None:
        raise Refused("Kubeflow cannot end a schedule after a number of runs. Give it an end time instead: --ends-at.")
    if not 1 <= recurrence.max_concurrent_runs <= _MAX_CONCURRENCY:
        raise Refused(
            f"Kubeflow runs 1 to {_MAX_CONCURRENCY} at once, not {recurrence.max_concurrent_runs}. Change "
            "--max-concurrent."
        )
    if len(recurrence.cron.split()) != _FIELDS:
        raise Refused(f"{recurrence.cron!r} has not five fields. Write minute, hour, day, month, day of the week.")
    times = {"start_time": recurrence.starts_at, "end_time": recurrence.ends_at}
    cron = {name: time.isoformat() for name, time in times.items() if time is not None}
    return {
        "trigger": {"cron_schedule": {"cron": f"0 {' '.join(recurrence.cron.split())}", **cron}},
        # A 64-bit number is text in the JSON of protocol buffers: https://protobuf.dev/programming-guides/json/
        "max_concurrency": str(recurrence.max_concurrent_runs),
        "no_catchup": not recurrence.catch_up,
    }


def _as_kept(recurrence: Recurrence, now: datetime) -> Recurrence:
    """Give a recurrence as two of them are compared: single spaces, whole seconds, no start that is over."""
    starts_at, ends_at = (time and time.replace(microsecond=0) for time in (recurrence.starts_at, recurrence.ends_at))
    if starts_at and starts_at <= now:
        starts_at = None
    return replace(recurrence, cron=" ".join(recurrence.cron.split()), starts_at=starts_at, ends_at=ends_at)


def _ours(api: Api, settings: KubeflowSettings) -> Iterator[Any]:
    """Give every recurring run that bears our mark."""
    token = None
    while True:
        page = api.call(
            "recurring_run",
            "list_recurring_runs",
            namespace=settings.namespace or None,
            page_size=_PAGE,
            page_token=token,
        )
        yield from (found for found in page.recurring_runs or [] if RUN_LABEL in read_marks(found.description))
        token = page.next_page_token
        if not token:
            return


def _replaced(recurring: Any) -> str:
    return read_marks(recurring.description).get(_REPLACES, "")


def _enable(api: Api, recurring: Any, *, enabled: bool) -> None:
    verb = "enable_recurring_run" if enabled else "disable_recurring_run"
    api.call("recurring_run", verb, recurring_run_id=recurring.recurring_run_id)


def _delete_one(api: Api, resource: str) -> None:
    """Delete a recurring run, and leave alone what it started; nothing happens where it is gone.

    Installations before 2.16 do not know the policy, and end the runs that go on:
    https://github.com/kubeflow/pipelines/issues/12573
    """
    try:
        api.call("recurring_run", "delete_recurring_run", recurring_run_id=resource, propagation_policy="ORPHAN")
    except NoSuchResource:
        return
