"""`tunelane predict`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_model
from tunelane_pipelines.cli.options import ProfileOption, RootOption


def predict_command(
    text: Annotated[
        str | None, typer.Argument(help="What to classify; - reads standard input, one text a line.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Texts: .txt (one a line), .csv, .tsv, .json or .jsonl."),
    ] = None,
    text_field: Annotated[str, typer.Option("--text-field", help="Column of the file that holds the text.")] = "text",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A deployed model; by default the only one, or classifier.",
            autocompletion=complete_model,
        ),
    ] = "",
    package: Annotated[
        Path | None, typer.Option("--package", metavar="DIR", help="A model package, instead of a deployed model.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, also on a terminal.")] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Classify a text, or a file of them, by the model that serves on this machine."""
    from tunelane_pipelines.predicting.showing import print_answers
    from tunelane_pipelines.settings import load_settings

    print_answers(
        load_settings(profile, root=root),
        text=text,
        file=file,
        text_field=text_field,
        model=model,
        package=package,
        as_json=as_json,
    )
