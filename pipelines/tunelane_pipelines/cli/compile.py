"""`tunelane compile`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_pipeline
from tunelane_pipelines.cli.options import ImagesOption


def compile_command(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Directory to write the files into.")],
    pipeline: Annotated[
        str,
        typer.Argument(help="train-classifier or convert; all where none is named.", autocompletion=complete_pipeline),
    ] = "",
    target: Annotated[str, typer.Option("--target", help="kubeflow or vertex; both where none is named.")] = "",
    images: ImagesOption = None,
    gpu: Annotated[str, typer.Option("--gpu", help="What training gets: l4, a100 or none.")] = "l4",
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw the pipelines instead, as SVG and as Mermaid for Markdown.")
    ] = False,
) -> None:
    """Write pipelines and components as the files that Kubeflow and Vertex AI read; needs no account."""
    if draw:
        from tunelane_pipelines.drawing.files import draw_files

        for path in draw_files(output, pipeline=pipeline):
            typer.echo(path)
        return
    from tunelane_pipelines.compiling.files import compile_files

    written = compile_files(output, pipeline=pipeline, target=target, images=images, gpu=gpu)
    components = [path for path in written if path.parent.name == "components"]
    for path in written:
        if path not in components:
            typer.echo(path)
    for directory in dict.fromkeys(path.parent for path in components):
        typer.echo(f"{directory}/ ({sum(path.parent == directory for path in components)} components)")
    if images is None:
        typer.echo("Images have their logical names; a cluster needs --images.")
