"""`tunelane runs show`: a record, for people and as JSON."""

import sys
from pathlib import Path

import msgspec
import typer

from tunelane_pipelines.display.highlights import next_command, summary
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.runs.finding import find_run
from tunelane_pipelines.runs.looking import recorded, seen
from tunelane_pipelines.runs.record import ENDED, RECORD, RunRecord, read_record
from tunelane_pipelines.runs.services import Elsewhere, Opener
from tunelane_pipelines.targets.clock import Clock
from tunelane_serving.contract import encode
from tunelane_serving.errors import ContractError, TunelaneError

_PIPE_COLUMNS = 250
# Of each call: who looks at a run waits some seconds, not minutes.
_ATTEMPTS = 3


def print_run(
    root: Path, name: str, opener: Opener, clock: Clock, *, as_json: bool, profile: Path | None = None
) -> None:
    """Print the run called `name`: its tree and its figures, or its record as it stands in `run.json`.

    Of a remote run that goes on its service is asked; where that does not answer, a line on stderr says so.

    Raises:
        InputError: there is no such run; or it goes on at another service than the settings in force name.
        ContractError: its record is gone or broken.
    """
    entry = find_run(root, name)
    directory = Path(entry.place)
    if as_json and not entry.is_remote:
        # Read for what it is, and shown as it stands.
        read_record(directory)
        typer.echo((directory / RECORD).read_text(encoding="utf-8"), nl=False)
        return
    try:
        record = seen(root, entry, opener, clock, attempts=_ATTEMPTS)
    except (ContractError, Elsewhere):
        raise
    except TunelaneError as error:
        typer.echo(f"{entry.target}: {error} This is what is known here.", err=True)
        record = recorded(entry)
    if as_json:
        typer.echo(msgspec.json.format(encode(record), indent=2).decode())
        return
    is_plain = not sys.stdout.isatty()
    _print_tree(record, is_plain)
    if record.state not in ENDED and not entry.is_remote:
        return
    rows = [*summary(record, directory), ("Next", next_command(record, directory, root, profile))]
    typer.echo("")
    print_rows(rows, is_plain=is_plain)


def _print_tree(record: RunRecord, is_plain: bool) -> None:
    from rich.console import Console

    from tunelane_pipelines.display.tree import tree

    if not is_plain:
        Console().print(tree(record))
        return
    # A pipe has no width: what is wide stays on its line there.
    console = Console(width=_PIPE_COLUMNS)
    with console.capture() as captured:
        console.print(tree(record))
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
