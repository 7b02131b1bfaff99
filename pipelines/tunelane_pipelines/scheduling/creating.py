"""`tunelane schedule create`: what a user asks for, to a schedule on a service or on this machine."""

from collections.abc import Sequence
from dataclasses import replace as with_fields

from tunelane_pipelines.compiling.resources import TARGETS
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.record import LOCAL
from tunelane_pipelines.runs.services import Opener, opened
from tunelane_pipelines.scheduling.journalled import Schedules
from tunelane_pipelines.scheduling.local import choose_starter, local_keeper, local_schedule
from tunelane_pipelines.scheduling.names import check_name
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.service import ServiceKeeper
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.submit import Wish, wished
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import Recurrence
from tunelane_serving.errors import InputError


def create_schedule(
    name: str,
    wish: Wish,
    recurrence: Recurrence,
    settings: Settings,
    opener: Opener,
    clock: Clock,
    *,
    starter: str = "",
) -> ScheduleRecord:
    """Make a schedule; gives its record, which is in the journal.

    Args:
        name: the schedule's.
        wish: what each of its runs is; its target is vertex, kubeflow or local.
        recurrence: when they start, checked.
        settings: in force.
        opener: gives a target.
        clock: what pauses go by.
        starter: what starts runs on this machine; empty: what it has.

    Raises:
        InputError: a name or a parameter cannot be used, there is such a schedule, or the service finds it wrong.
        NeedsResume: it is not known whether it was made; the message says how to go on.
        TunelaneError: it was not made, and nothing is left of it.
    """
    check_name(name)
    if wish.target != LOCAL and wish.target not in TARGETS:
        raise InputError(no_such("target", wish.target, (*TARGETS, LOCAL)))
    store = ScheduleStore(settings.root)
    if any(record.name == name for record in store.records()):
        raise store.already_there(name)
    if wish.target == LOCAL:
        kind = choose_starter(starter, recurrence)
        record = local_schedule(
            name,
            wish.pipeline,
            recurrence,
            kind,
            config=wish.config,
            assignments=list(wish.assignments),
            settings=settings,
            now=clock.now(),
        )
        return Schedules(store, local_keeper(kind, settings.root), clock, settings.profile).create(record)
    if starter:
        raise InputError(f"--with {starter} is for --target local: {wish.target} starts runs itself.")
    submission = wished(wish, settings, clock)
    # Its runs are many: none has the id of the request, which says whose schedule it is.
    submission = with_fields(submission, run_id=f"{name}-{submission.run_id.removeprefix(f'{wish.pipeline}-')}")
    target = opener(wish.target)
    retried(lambda: target.check(submission), clock)
    record = ScheduleRecord(
        name,
        wish.target,
        wish.pipeline,
        recurrence,
        clock.now(),
        service=target.service,
        key=submission.run_id,
    )
    return Schedules(store, ServiceKeeper(target, store), clock, settings.profile).create(record, submission)


def refuse_cluster_options(options: Sequence[str]) -> None:
    """Refuse options that say how a cluster runs a pipeline, for a schedule of this machine.

    Raises:
        InputError: there are any.
    """
    if options:
        verb, it = ("is", "it") if len(options) == 1 else ("are", "them")
        raise InputError(
            f"{', '.join(options)} {verb} for runs on a cluster. Leave {it} out, or pass --target vertex or kubeflow."
        )


def schedules_of(record: ScheduleRecord, settings: Settings, opener: Opener, clock: Clock) -> Schedules:
    """Give what changes a schedule, with the keeper that it has.

    Raises:
        InputError: it is at another service than the settings in force name.
    """
    store = ScheduleStore(settings.root)
    if record.starter:
        return Schedules(store, local_keeper(record.starter, settings.root), clock, settings.profile)
    return Schedules(
        store, ServiceKeeper(opened(record, f"Schedule {record.name}", opener), store), clock, settings.profile
    )
