"""`tunelane run`."""

import shlex
import sys
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_pipeline
from tunelane_pipelines.cli.options import AssignmentsOption, ConfigOption, ProfileOption, RootOption


def run_command(
    pipeline: Annotated[str, typer.Argument(help="train-classifier or convert.", autocompletion=complete_pipeline)],
    assignments: AssignmentsOption = None,
    config: ConfigOption = "",
    require_promotion: Annotated[
        bool, typer.Option("--require-promotion", help="End with exit code 3 unless the verdict is promote.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, also on a terminal.")] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Run a pipeline on this machine."""
    from tunelane_pipelines.local.run import run_pipeline
    from tunelane_pipelines.settings import load_settings

    settings = load_settings(profile, root=root)
    promoted = run_pipeline(
        pipeline,
        config=config,
        assignments=assignments or [],
        settings=settings,
        command=shlex.join(["tunelane", *sys.argv[1:]]),
        is_plain=plain,
    )
    if require_promotion and not promoted:
        raise typer.Exit(3)
