"""`tunelane compile`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import complete_pipeline
from tunelane_pipelines.cli.options import GpuOption, ImagesOption, ProfileOption


def compile_command(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Directory to write the files into.")],
    pipeline: Annotated[
        str,
        typer.Argument(help="train-classifier or convert; all where none is named.", autocompletion=complete_pipeline),
    ] = "",
    target: Annotated[str, typer.Option("--target", help="kubeflow or vertex; both where none is named.")] = "",
    images: ImagesOption = None,
    gpu: GpuOption = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw the pipelines instead, as SVG and as Mermaid for Markdown.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Write pipelines and components as the files that Kubeflow and Vertex AI read; needs no account."""
    if draw:
        from tunelane_pipelines.drawing.files import draw_files

        for path in draw_files(output, pipeline=pipeline):
            typer.echo(path)
        return
    from tunelane_pipelines.compiling.files import compile_files
    from tunelane_pipelines.compiling.resources import chosen_training
    from tunelane_pipelines.compiling.showing import print_files, print_resources
    from tunelane_pipelines.settings import load_settings

    settings = load_settings(profile, images=images, gpu=gpu)
    training = chosen_training(settings.gpu, settings.gcp)
    written = compile_files(
        output,
        pipeline=pipeline,
        target=target,
        images=settings.images,
        training=training,
        kubeflow=settings.kubeflow,
    )
    print_files(written)
    if settings.images is None:
        typer.echo("Images have their logical names; a cluster needs --images.")
    print_resources(written, training)
