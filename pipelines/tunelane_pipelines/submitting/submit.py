"""`tunelane submit`: parameters, the compiled pipeline, the request; and where to look at the run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from tunelane_pipelines.compiling.resources import TARGETS
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.reconciling import Opener
from tunelane_pipelines.runs.record import RunRecord
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.building import build_submission, new_run_id
from tunelane_pipelines.submitting.parameters import cluster_parameters
from tunelane_pipelines.submitting.sending import submit_run
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError


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
    if wish.target not in TARGETS:
        raise InputError(no_such("target", wish.target, TARGETS))
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
    submission = wished(wish, settings, clock)
    record = submit_run(submission, settings.root, opener(wish.target), clock, command=command)
    print_started(record)
    return record


def print_started(record: RunRecord) -> None:
    """Print a run's id and where to look at it."""
    typer.echo(record.run_id)
    if record.remote is not None and record.remote.console_url:
        typer.echo(record.remote.console_url)
