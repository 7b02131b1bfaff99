"""A started run and its experiment: some services file a run only when they are told, once it has begun."""

from pathlib import Path

import typer

from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.record import RunRecord
from tunelane_pipelines.targets.clock import Clock
from tunelane_pipelines.targets.errors import reason
from tunelane_pipelines.targets.retrying import retried
from tunelane_pipelines.targets.target import RemoteTarget
from tunelane_serving.errors import TunelaneError

# The service makes what is filed some seconds after the run: up to half a minute is waited for it.
_ATTEMPTS = 6


def file_run(
    record: RunRecord, experiment: str, target: RemoteTarget, clock: Clock, root: Path, profile: Path | None
) -> None:
    """File a run under an experiment; nothing for a run that has none.

    The run has started and is in the journal, and whatever happens here it stays so: where it cannot be filed, a
    line on stderr says why, and how to file it later.
    """
    if not experiment or record.remote is None:
        return
    resource = record.remote.resource
    try:
        retried(lambda: target.file_run(resource, experiment), clock, attempts=_ATTEMPTS)
    except TunelaneError as error:
        command = again(f"runs resume {record.run_id}", root, profile)
        typer.echo(
            f"{record.run_id} has started, but is not in the experiment {experiment}. {reason(error)} "
            f"File it later: {command}",
            err=True,
        )
