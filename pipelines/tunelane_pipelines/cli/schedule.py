"""`tunelane schedule`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunelane_pipelines.cli.completion import complete_pipeline
from tunelane_pipelines.cli.options import (
    AssignmentsOption,
    ConfigOption,
    ExperimentOption,
    FailSlowOption,
    GpuOption,
    ImagesOption,
    LabelsOption,
    NoCacheOption,
    ProfileOption,
    RootOption,
)
from tunelane_serving.errors import TunelaneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunelane_pipelines.scheduling.journalled import Schedules
    from tunelane_pipelines.scheduling.record import ScheduleRecord

schedule_app = typer.Typer(help="Runs that start by themselves.", no_args_is_help=True)


def _complete_schedule(context: typer.Context, incomplete: str) -> list[str]:
    """The schedules below the root in force."""
    from tunelane_pipelines.scheduling.store import ScheduleStore
    from tunelane_pipelines.settings import load_settings

    try:
        settings = load_settings(context.params.get("profile"), root=context.params.get("root"))
        names = [record.name for record in ScheduleStore(settings.root).records()]
    except TunelaneError:
        return []
    return [name for name in names if name.startswith(incomplete)]


NameArgument = Annotated[str, typer.Argument(help="The schedule's name.", autocompletion=_complete_schedule)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TimeZoneOption = Annotated[
    str | None, typer.Option("--time-zone", metavar="ZONE", help="IANA name, for instance Europe/Berlin; else UTC.")
]
MaxConcurrentOption = Annotated[int | None, typer.Option("--max-concurrent", metavar="N", help="Runs at once; else 1.")]
CatchUpOption = Annotated[
    bool | None,
    typer.Option(
        "--catch-up/--no-catch-up",
        help="Start what fell due while paused or away: every run on a cluster, one run for all of it here.",
    ),
]
StartsOption = Annotated[
    str | None, typer.Option("--starts-at", metavar="TIME", help="ISO time, in the schedule's zone.")
]
EndsOption = Annotated[str | None, typer.Option("--ends-at", metavar="TIME", help="ISO time, in the schedule's zone.")]
MaxRunsOption = Annotated[int | None, typer.Option("--max-runs", metavar="N", min=0, help="Runs in all; 0: no end.")]


@schedule_app.command("create")
def schedule_create_command(
    pipeline: Annotated[str, typer.Argument(help="train-classifier or convert.", autocompletion=complete_pipeline)],
    cron: Annotated[
        str,
        typer.Option(
            "--cron", metavar="CRON", help="Minute, hour, day of the month, month, day of the week: '0 3 * * MON'."
        ),
    ],
    target: Annotated[str, typer.Option("--target", help="vertex, kubeflow or local.")] = "local",
    name: Annotated[str, typer.Option("--name", help="The schedule's name; else the pipeline's.")] = "",
    time_zone: TimeZoneOption = None,
    max_concurrent: MaxConcurrentOption = None,
    catch_up: CatchUpOption = None,
    starts_at: StartsOption = None,
    ends_at: EndsOption = None,
    max_runs: MaxRunsOption = None,
    starter: Annotated[
        str,
        typer.Option("--with", help="What starts runs here: systemd, crontab or daemon; else what this machine has."),
    ] = "",
    assignments: AssignmentsOption = None,
    config: ConfigOption = "",
    images: ImagesOption = None,
    gpu: GpuOption = None,
    labels: LabelsOption = None,
    experiment: ExperimentOption = "",
    no_cache: NoCacheOption = False,
    fail_slow: FailSlowOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Have a pipeline run again and again, on a cluster or on this machine."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.runs.record import LOCAL
    from tunelane_pipelines.scheduling.creating import create_schedule, refuse_cluster_options
    from tunelane_pipelines.scheduling.recurrence import changed
    from tunelane_pipelines.scheduling.showing import print_changed
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.submitting.submit import Wish
    from tunelane_pipelines.targets.clock import SystemClock
    from tunelane_pipelines.targets.target import Recurrence

    if target == LOCAL:
        given = {
            "--images": images,
            "--gpu": gpu,
            "--label": labels,
            "--experiment": experiment,
            "--no-cache": no_cache,
            "--fail-slow": fail_slow,
        }
        refuse_cluster_options([option for option, value in given.items() if value])
    settings, clock = load_settings(profile, root=root, images=images, gpu=gpu), SystemClock()
    recurrence = changed(
        Recurrence(cron=""),
        cron=cron,
        time_zone=time_zone,
        max_concurrent_runs=max_concurrent,
        catch_up=catch_up,
        starts_at=starts_at,
        ends_at=ends_at,
        max_runs=max_runs,
    )
    wish = Wish(
        pipeline,
        target,
        config=config,
        assignments=assignments or [],
        labels=labels or [],
        experiment=experiment,
        caching=not no_cache,
        fail_fast=not fail_slow,
    )
    record = create_schedule(name or pipeline, wish, recurrence, settings, opener(settings), clock, starter=starter)
    print_changed(record, settings, clock.now(), verb="created")


@schedule_app.command("list")
def schedule_list_command(
    target: Annotated[str, typer.Option("--target", help="Those of vertex, kubeflow or local alone.")] = "",
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the schedules, those that others made on a target included."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.scheduling.showing import print_schedules
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    print_schedules(settings, opener(settings), SystemClock(), target=target, as_json=as_json)


@schedule_app.command("show")
def schedule_show_command(
    name: NameArgument, as_json: JsonOption = False, root: RootOption = None, profile: ProfileOption = None
) -> None:
    """Show a schedule: its next three runs, and what came of the last."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.scheduling.showing import print_schedule
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    print_schedule(settings, name, opener(settings), SystemClock(), as_json=as_json)


@schedule_app.command("pause")
def schedule_pause_command(name: NameArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Start no more runs; one that goes on is left alone."""
    _change(root, profile, name, "paused", lambda schedules, record: schedules.pause(record.name))


@schedule_app.command("resume")
def schedule_resume_command(
    name: NameArgument,
    catch_up: Annotated[
        bool | None,
        typer.Option("--catch-up/--no-catch-up", help="Start what fell due meanwhile; else as the schedule says."),
    ] = None,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Start runs again, after a pause."""

    def resume(schedules: "Schedules", record: "ScheduleRecord") -> "ScheduleRecord":
        wanted = record.recurrence.catch_up if catch_up is None else catch_up
        return schedules.resume(record.name, catch_up=wanted)

    _change(root, profile, name, "resumed", resume)


@schedule_app.command("update")
def schedule_update_command(
    name: NameArgument,
    cron: Annotated[str | None, typer.Option("--cron", help="Five fields.")] = None,
    time_zone: TimeZoneOption = None,
    max_concurrent: MaxConcurrentOption = None,
    catch_up: CatchUpOption = None,
    starts_at: StartsOption = None,
    ends_at: EndsOption = None,
    max_runs: MaxRunsOption = None,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Change when runs start; what is not named stays."""
    from tunelane_pipelines.scheduling.recurrence import changed

    def update(schedules: "Schedules", record: "ScheduleRecord") -> "ScheduleRecord":
        recurrence = changed(
            record.recurrence,
            cron=cron,
            time_zone=time_zone,
            max_concurrent_runs=max_concurrent,
            catch_up=catch_up,
            starts_at=starts_at,
            ends_at=ends_at,
            max_runs=max_runs,
        )
        return schedules.update(record.name, recurrence)

    _change(root, profile, name, "updated", update)


@schedule_app.command("delete")
def schedule_delete_command(name: NameArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Take a schedule away; its runs stay."""
    _change(root, profile, name, "deleted", lambda schedules, record: schedules.delete(record.name))


@schedule_app.command("continue")
def schedule_continue_command(name: NameArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Carry on a change that was cut short, or whose answer was lost (state needs-resume)."""
    _change(root, profile, name, "", lambda schedules, record: schedules.carry_on(record.name))


@schedule_app.command("trigger")
def schedule_trigger_command(name: NameArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Start a run of a schedule of this machine now, as its timer does."""
    from datetime import UTC, datetime

    from tunelane_pipelines.scheduling.store import ScheduleStore
    from tunelane_pipelines.scheduling.trigger import trigger
    from tunelane_pipelines.settings import load_settings

    trigger(ScheduleStore(load_settings(profile, root=root).root), name, datetime.now(UTC))


@schedule_app.command("daemon")
def schedule_daemon_command(root: RootOption = None, profile: ProfileOption = None) -> None:
    """Start the runs of this machine's schedules that no timer starts, until SIGTERM or Ctrl-C."""
    import signal

    from tunelane_pipelines.scheduling.daemon import Daemon
    from tunelane_pipelines.scheduling.store import ScheduleStore
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings, clock = load_settings(profile, root=root), SystemClock()

    def say(line: str) -> None:
        typer.echo(f"{clock.now().astimezone():%Y-%m-%d %H:%M:%S} {line}")

    daemon = Daemon(ScheduleStore(settings.root), clock, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    say(f"Starting the runs of schedules below {settings.root}. Stop with Ctrl-C.")
    daemon.run()
    say("Stopped.")


def _change(
    root: Path | None,
    profile: Path | None,
    name: str,
    verb: str,
    change: "Callable[[Schedules, ScheduleRecord], ScheduleRecord]",
) -> None:
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.scheduling.creating import schedules_of
    from tunelane_pipelines.scheduling.showing import print_changed
    from tunelane_pipelines.scheduling.store import ScheduleStore
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings, clock = load_settings(profile, root=root), SystemClock()
    record = ScheduleStore(settings.root).record(name)
    done = change(schedules_of(record, settings, opener(settings), clock), record)
    verb = verb or f"{record.pending}d"
    print_changed(done, settings, clock.now(), verb=verb)
