"""`tunelane models`."""

from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_model
from tunelane_pipelines.cli.options import ProfileOption, RootOption

models_app = typer.Typer(
    help="The models in the registry: versions, champions, what is in a package.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@models_app.command("list")
def models_list_command(as_json: JsonOption = False, root: RootOption = None, profile: ProfileOption = None) -> None:
    """List the models: champion, its macro-F1, whether it is deployed, and the run that made it."""
    from tunelane_pipelines.models.showing import print_list
    from tunelane_pipelines.settings import load_settings

    print_list(load_settings(profile, root=root), as_json=as_json)


@models_app.command("show")
def models_show_command(
    name: Annotated[str, typer.Argument(help="A model's name.", autocompletion=complete_model)],
    version: Annotated[
        str, typer.Option("--version", help="The version to describe; the champion where none is named.")
    ] = "",
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show a model: its versions, and what is in the package of one of them."""
    from tunelane_pipelines.models.showing import print_model
    from tunelane_pipelines.settings import load_settings

    print_model(load_settings(profile, root=root), name, version, as_json=as_json)


@models_app.command("rollback")
def models_rollback_command(
    name: Annotated[str, typer.Argument(help="A model's name.", autocompletion=complete_model)],
    to: Annotated[
        str,
        typer.Option("--to", metavar="VERSION", help="The version to bring back; the previous champion by default."),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Bring a model's previous champion back, and let it serve; each further rollback goes one further back."""
    from tunelane_pipelines.models.showing import print_rollback
    from tunelane_pipelines.settings import load_settings

    if not print_rollback(load_settings(profile, root=root), name, to, is_agreed=yes):
        raise typer.Exit(1)
