"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_assignment, complete_config, complete_gpu

RootOption = Annotated[Path | None, typer.Option("--root", help="Where runs, registry and deployments lie.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="YAML file with settings.")]
AssignmentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the pipeline; repeatable.",
        autocompletion=complete_assignment,
    ),
]
ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        help="YAML file with parameters, or the name of a shipped one (sentiment).",
        autocompletion=complete_config,
    ),
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", metavar="FILE", help="JSON: logical image names to references.")
]
GpuOption = Annotated[
    str | None, typer.Option("--gpu", help="What training gets: l4, a100 or none.", autocompletion=complete_gpu)
]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="A label of what runs; repeatable.")
]
ExperimentOption = Annotated[str, typer.Option("--experiment", help="The experiment to file it under.")]
FailSlowOption = Annotated[
    bool, typer.Option("--fail-slow", help="After a failed task go on with what does not need it.")
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Reuse no result of an earlier run.")]
