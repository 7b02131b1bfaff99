"""`tunelane run`: parameters, the run on this machine while it is shown, and what it came to."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tunelane_pipelines.display.highlights import next_command, summary
from tunelane_pipelines.display.interface import Display
from tunelane_pipelines.display.plain import PlainDisplay
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.local.parameters import local_parameters
from tunelane_pipelines.local.runner import LocalRun, run_locally
from tunelane_pipelines.runs.surroundings import process_started_s
from tunelane_pipelines.settings import Settings


def run_pipeline(
    pipeline: str, *, config: str, assignments: list[str], settings: Settings, command: str, is_plain: bool
) -> bool:
    """Run a pipeline here and show what happens; returns whether a new champion came of it.

    Args:
        pipeline: its name in the catalog.
        config: YAML file with parameters, or the name of a shipped one; empty for none.
        assignments: `name=value` each; they outrank the config.
        settings: root, registry, deployment and base model in force.
        command: what was typed, for the record.
        is_plain: print lines even on a terminal.

    Raises:
        InputError: a parameter, a file or the root cannot be used.
        TunelaneError: a task failed, or the run was interrupted.
    """
    parameters = local_parameters(pipeline, config=config, assignments=assignments, settings=settings)
    is_plain = is_plain or not sys.stdout.isatty()
    with _display(is_plain) as display:
        run = run_locally(
            pipeline, parameters, settings.root, display=display, command=command, started_s=process_started_s()
        )
    _print_summary(run, settings, is_plain)
    return run.record.promoted


@contextmanager
def _display(is_plain: bool) -> Iterator[Display]:
    if is_plain:
        yield PlainDisplay()
        return
    from rich.console import Console

    from tunelane_pipelines.display.live import LiveDisplay

    with LiveDisplay(Console()) as display:
        yield display


def _print_summary(run: LocalRun, settings: Settings, is_plain: bool) -> None:
    rows = [
        *summary(run.record, run.directory),
        ("Next", next_command(run.record, run.directory, settings.root, settings.profile)),
    ]
    typer.echo("")
    print_rows(rows, is_plain=is_plain)
