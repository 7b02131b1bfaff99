"""`tunelane runs`."""

from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_run
from tunelane_pipelines.cli.options import ProfileOption, RootOption

runs_app = typer.Typer(help="What ran, what runs, and what came of it.", no_args_is_help=True)

RunArgument = Annotated[
    str, typer.Argument(help="A run's id, its beginning or its end, or latest.", autocompletion=complete_run)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@runs_app.command("list")
def runs_list_command(
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 20,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the services for their runs first, and take in those of schedules.")
    ] = False,
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the runs, the newest first, as far as is known here: no service is asked without --refresh."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.display.listing import list_and_refresh
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    if not list_and_refresh(settings, opener(settings), SystemClock(), limit, refresh=refresh, as_json=as_json):
        raise typer.Exit(1)


@runs_app.command("show")
def runs_show_command(
    run: RunArgument = "latest",
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show a run: its tasks, its figures, where things lie."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.display.showing import print_run
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    print_run(settings.root, run, opener(settings), SystemClock(), as_json=as_json, profile=settings.profile)


@runs_app.command("watch")
def runs_watch_command(run: RunArgument = "latest", root: RootOption = None, profile: ProfileOption = None) -> None:
    """Watch a run until it ends; ends with 0 if it succeeded and 1 if not."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.display.watching import watch_run
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    if not watch_run(settings.root, run, opener(settings), SystemClock(), profile=settings.profile):
        raise typer.Exit(1)


@runs_app.command("logs")
def runs_logs_command(
    run: RunArgument = "latest",
    task: Annotated[str, typer.Option("--task", help="Of this task only, where a service carries the run on.")] = "",
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Print what a run's tasks wrote."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.display.logs import print_logs
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    print_logs(settings.root, run, task, opener(settings), SystemClock(), profile=settings.profile)


@runs_app.command("cancel")
def runs_cancel_command(run: RunArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """End a run before its end; one that has ended stays as it is."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.runs.advice import again
    from tunelane_pipelines.runs.cancelling import cancel_run
    from tunelane_pipelines.runs.finding import find_run
    from tunelane_pipelines.runs.record import ENDED
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    record = cancel_run(settings.root, find_run(settings.root, run), opener(settings), SystemClock())
    if record.state in ENDED:
        typer.echo(f"{record.run_id}: {record.state}.")
    else:
        watch = again(f"runs watch {record.run_id}", settings.root, settings.profile)
        typer.echo(f"{record.run_id}: cancelled; it ends soon. Watch it: {watch}")


@runs_app.command("resume")
def runs_resume_command(run: RunArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Go on with a run whose submission was cut short: find it at its service, or send it.

    One that is in its experiment not yet is filed there.
    """
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.runs.finding import find_run
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.submitting.submit import resume
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    resume(find_run(settings.root, run), settings, opener(settings), SystemClock())
