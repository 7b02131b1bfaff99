"""`tunelane serve`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_model
from tunelane_pipelines.cli.options import ProfileOption, RootOption


def serve_command(
    context: typer.Context,
    package: Annotated[
        Path | None, typer.Option("--package", metavar="DIR", help="A model package, instead of a model's champion.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Serve this model's champion, and follow it; by default the only one deployed, or classifier.",
            autocompletion=complete_model,
        ),
    ] = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free port.")] = 8080,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Serve a model package, or a model's local champion, over HTTP.

    Further options are handed on to the server; `tunelane-serve --help` lists them.
    """
    from tunelane_pipelines.champion import champion_deployment
    from tunelane_pipelines.predicting.source import chosen_model, require_one, require_package
    from tunelane_pipelines.settings import load_settings
    from tunelane_serving.server.command import main as serve

    require_one(model=model, package=package)
    settings = load_settings(profile, root=root)
    if package is not None:
        require_package(package)
        source = ["--package", str(package)]
    else:
        source = ["--deployment", str(champion_deployment(settings, chosen_model(settings, model)))]
    kept = ["--home", str(settings.root / "server")]
    raise typer.Exit(serve([*source, "--host", host, "--port", str(port), *kept, *context.args]))
