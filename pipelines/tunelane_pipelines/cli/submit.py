"""`tunelane submit`."""

import shlex
import sys
from typing import Annotated

import typer

from tunelane_pipelines.cli.completion import (
    complete_pipeline,
    complete_target,
)
from tunelane_pipelines.cli.options import (
    AssignmentsOption,
    ConfigOption,
    ExperimentOption,
    FailSlowOption,
    GpuOption,
    ImagesOption,
    LabelsOption,
    NoCacheOption,
    ProfileOption,
    RootOption,
)


def submit_command(
    pipeline: Annotated[str, typer.Argument(help="train-classifier or convert.", autocompletion=complete_pipeline)],
    target: Annotated[
        str,
        typer.Option("--target", metavar="TARGET", help="vertex or kubeflow.", autocompletion=complete_target),
    ],
    assignments: AssignmentsOption = None,
    config: ConfigOption = "",
    images: ImagesOption = None,
    gpu: GpuOption = None,
    labels: LabelsOption = None,
    experiment: ExperimentOption = "",
    no_cache: NoCacheOption = False,
    fail_slow: FailSlowOption = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch the run until it ends; 0 if it succeeded, else 1.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the request as JSON, and send nothing.")] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Run a pipeline on Vertex AI or Kubeflow."""
    from tunelane_pipelines.cli.targets import opener
    from tunelane_pipelines.settings import load_settings
    from tunelane_pipelines.submitting.submit import Wish, print_request, submit
    from tunelane_pipelines.targets.clock import SystemClock

    settings = load_settings(profile, root=root, images=images, gpu=gpu)
    wish = Wish(
        pipeline,
        target,
        config=config,
        assignments=assignments or [],
        labels=labels or [],
        experiment=experiment,
        caching=not no_cache,
        fail_fast=not fail_slow,
    )
    open_target, clock = opener(settings), SystemClock()
    if dry_run:
        print_request(wish, settings, open_target, clock)
        return
    record = submit(wish, settings, open_target, clock, command=shlex.join(["tunelane", *sys.argv[1:]]))
    if wait:
        from tunelane_pipelines.display.watching import watch_run

        if not watch_run(settings.root, record.run_id, open_target, clock, profile=settings.profile):
            raise typer.Exit(1)
