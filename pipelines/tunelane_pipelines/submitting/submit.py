"""`tunelane submit`: parameters, the compiled pipeline, the request; and where to look at the run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from tunelane_pipelines.compiling.resources import check_target
from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.runs.new import new_run_id
from tunelane_pipelines.runs.record import RunRecord
from tunelane_pipelines.runs.services import Opener, opened
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.building import build_submission
from tunelane_pipelines.submitting.filing import file_run
from tunelane_pipelines.submitting.kept import SUBMISSION, read_submission
from tunelane_pipelines.submitting.parameters import cluster_parameters
from tunelane_pipelines.submitting.sending import resume_run, submit_run
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.target import Submission


@dataclass(frozen=True)
class Wish:
    """What a user asks for: a pipeline and its parameters, and how it is to be run.

    Attributes:
        config: YAML file with parameters, or the name of a shipped one; empty for none.
        assignments: `name=value` each; they outrank the config.
        labels: `name=value` each.
        experiment: empty: the target's own.
    """

    pipeline: str
    target: str
    config: str = ""
    assignments: Sequence[str] = ()
    labels: Sequence[str] = ()
    experiment: str = ""
    caching: bool = True
    fail_fast: bool = True


def wished(wish: Wish, settings: Settings, clock: Clock) -> Submission:
    """The submission of a new run; talks to nobody.

    Raises:
        InputError: a name is not known, or a parameter, an image or a label cannot be used.
    """
    check_target(wish.target)
    parameters = cluster_parameters(wish.pipeline, config=wish.config, assignments=wish.assignments, settings=settings)
    return build_submission(
        wish.pipeline,
        wish.target,
        parameters,
        settings,
        run_id=new_run_id(wish.pipeline, clock.now()),
        labels=wish.labels,
        experiment=wish.experiment,
        caching=wish.caching,
        fail_fast=wish.fail_fast,
    )


def print_request(wish: Wish, settings: Settings, opener: Opener, clock: Clock) -> None:
    """Print the exact request as JSON, and send nothing.

    Raises:
        InputError: as `wished`; or a setting of the target is missing.
    """
    submission = wished(wish, settings, clock)
    request = opener(wish.target).request(submission)
    typer.echo(json.dumps(request, indent=2, ensure_ascii=False))


def submit(wish: Wish, settings: Settings, opener: Opener, clock: Clock, *, command: str) -> RunRecord:
    """Start a run on a service, and print its id and where to look at it.

    Raises:
        InputError: as `wished`; or a setting of the target is missing, or the service finds the request wrong.
        TunelaneError: the service does not answer; says what is left, and how to go on.
    """
    submission, target = wished(wish, settings, clock), opener(wish.target)
    record = submit_run(submission, settings.root, target, clock, command=command, profile=settings.profile)
    print_started(record)
    file_run(record, submission.experiment, target, clock, settings.root, settings.profile)
    return record


def resume(entry: Entry, settings: Settings, opener: Opener, clock: Clock) -> None:
    """Go on with a run, print its id and where to look at it, and file it under its experiment.

    Raises:
        TunelaneError: as `resume_run`.
    """
    record = resume_run(entry, opener, clock, profile=settings.profile)
    print_started(record)
    directory = Path(entry.place)
    # A run that was found at the service, and was not submitted here, has none.
    if (directory / SUBMISSION).is_file() and (experiment := read_submission(directory).experiment):
        file_run(record, experiment, opened(entry, entry.run_id, opener), clock, settings.root, settings.profile)


def print_started(record: RunRecord) -> None:
    """Print a run's id and where to look at it."""
    typer.echo(record.run_id)
    if record.remote is not None and record.remote.console_url:
        typer.echo(record.remote.console_url)
