"""`tunelane doctor`."""

from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_target
from tunelane_pipelines.cli.options import ProfileOption, RootOption


def doctor_command(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="A cluster to ask, too: vertex or kubeflow.",
            autocompletion=complete_target,
        ),
    ] = "",
    root: RootOption = None,
    profile: ProfileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Check this machine, the settings and what lies below the root, and say what to do about what is wrong."""
    from tunelane_pipelines.doctor.showing import print_checks

    if not print_checks(root, profile, target=target, as_json=as_json):
        raise typer.Exit(1)
