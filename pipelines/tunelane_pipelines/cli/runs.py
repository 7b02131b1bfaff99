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
        bool | None,
        typer.Option(
            "--refresh/--no-refresh",
            help="Ask the services for their runs, or do not; by default for at most two seconds, and if runs go on.",
        ),
    ] = None,
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the runs, the newest first."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.display.showing import print_list
    from tunelane_pipelines.runs.reconciling import refresh_all, refresh_quickly
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    errors: dict[str, Exception] = {}
    lines: list[str] = []
    if refresh:
        errors.update(refresh_all(settings, opener(settings), SystemClock()))
        lines = [f"tunelane: {name}: {error}" for name, error in errors.items()]
    elif refresh is None:
        lines = refresh_quickly(settings.root, opener(settings), SystemClock())
    print_list(settings.root, limit, as_json=as_json)
    for line in lines:
        typer.echo(line, err=True)
    if errors:
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
    print_run(settings.root, run, opener(settings), SystemClock(), as_json=as_json)


@runs_app.command("watch")
def runs_watch_command(run: RunArgument = "latest", root: RootOption = None, profile: ProfileOption = None) -> None:
    """Watch a run until it ends; ends with 0 if it succeeded and 1 if not."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.display.watching import watch_run
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    if not watch_run(settings.root, run, opener(settings), SystemClock()):
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
    print_logs(settings.root, run, task, opener(settings), SystemClock())


@runs_app.command("cancel")
def runs_cancel_command(run: RunArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """End a run before its end; one that has ended stays as it is."""
    from tunelane_pipelines.cli.targets import opener
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
        typer.echo(f"{record.run_id}: cancelled; it ends soon. Watch it: tunelane runs watch {record.run_id}")


@runs_app.command("resume")
def runs_resume_command(run: RunArgument, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Go on with a run whose submission was cut short: find it at its service, or send it."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.runs.finding import find_run
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.submitting.sending import resume_run
    from tunelane_pipelines.submitting.submit import print_started
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root)
    print_started(resume_run(find_run(settings.root, run), opener(settings), SystemClock()))
