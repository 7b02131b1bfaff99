"""`tunelane data`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import (
    complete_build_assignment,
    complete_config,
    complete_format,
    complete_runner,
)

data_app = typer.Typer(help="Labelled text to a dataset, and checks of what is finished.", no_args_is_help=True)

DatasetArgument = Annotated[Path, typer.Argument(help="A dataset's directory.")]


@data_app.command("build")
def data_build_command(
    data: Annotated[
        str,
        typer.Argument(
            help="A file, a folder or a quoted pattern, here or at a gs:// URI: CSV, TSV, JSON, JSONL or Parquet, also "
            ".gz and .zst; by default what the config says.",
        ),
    ] = "",
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Directory of the dataset; an older one is replaced.")
    ] = Path("dataset"),
    config: Annotated[
        str,
        typer.Option(
            "--config",
            metavar="FILE",
            help="YAML file with parameters; those that only a pipeline has are passed over.",
            autocompletion=complete_config,
        ),
    ] = "",
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter of build_dataset; repeatable.",
            autocompletion=complete_build_assignment,
        ),
    ] = None,
    runner: Annotated[
        str,
        typer.Option("--runner", help="local: this machine; beam: Apache Beam.", autocompletion=complete_runner),
    ] = "local",
    beam_options: Annotated[
        list[str] | None,
        typer.Option(
            "--beam-option", metavar="--NAME=VALUE", help="An option of Apache Beam; repeatable. See docs/data.md."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, also on a terminal.")] = False,
) -> None:
    """Check labelled text and split it into train, valid and test."""
    from tunelane_pipelines.data.build import build

    build(
        data,
        output,
        config=config,
        assignments=assignments or [],
        runner=runner,
        beam_options=beam_options or [],
        is_plain=plain,
    )


@data_app.command("report")
def data_report_command(
    dataset: DatasetArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Where to write the page; dataset.html in the dataset by default."
        ),
    ] = None,
) -> None:
    """Write a dataset's page anew."""
    from tunelane_pipelines.data.report import write_report

    typer.echo(write_report(dataset, output))


@data_app.command("validate")
def data_validate_command(
    file: Annotated[Path, typer.Argument(help="A finished JSONL file, in any of the formats.")],
    taxonomy: Annotated[
        Path | None,
        typer.Option("--taxonomy", metavar="FILE", help="The labels that may stand in it; by default any may."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            metavar="NAME",
            help="The format it should have; by default that of its first line.",
            autocompletion=complete_format,
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show the first so many faults; all are counted.")] = 50,
) -> None:
    """Say all that is wrong with a finished file.

    Ends with 0 if nothing is, and 1 if there is a fault.
    """
    from tunelane_pipelines.data.validate import print_faults

    if not print_faults(file, taxonomy=taxonomy, form=form, limit=limit):
        raise typer.Exit(1)


@data_app.command("split-check")
def data_split_check_command(
    dataset: DatasetArgument,
    threshold: Annotated[
        float, typer.Option("--threshold", help="From this similarity on a text nearly repeats another.")
    ] = 0.8,
) -> None:
    """Look for texts and ids that stand in two splits.

    Ends with 0 if there are none, also nearly, and 1 if there are.
    """
    from tunelane_pipelines.data.split_check import print_check

    if not print_check(dataset, threshold):
        raise typer.Exit(1)
