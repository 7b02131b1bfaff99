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
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the runs, the newest first."""
    from tunelane_pipelines.display.showing import print_list
    from tunelane_pipelines.settings import load_settings

    print_list(load_settings(profile, root=root).root, limit, as_json=as_json)


@runs_app.command("show")
def runs_show_command(
    run: RunArgument = "latest",
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show a run: its tasks, its figures, where things lie."""
    from tunelane_pipelines.display.showing import print_run
    from tunelane_pipelines.settings import load_settings

    print_run(load_settings(profile, root=root).root, run, as_json=as_json)


@runs_app.command("watch")
def runs_watch_command(run: RunArgument = "latest", root: RootOption = None, profile: ProfileOption = None) -> None:
    """Watch a run until it ends; ends with 0 if it succeeded and 1 if not."""
    from tunelane_pipelines.display.watching import watch_run
    from tunelane_pipelines.settings import load_settings

    if not watch_run(load_settings(profile, root=root).root, run):
        raise typer.Exit(1)
