"""`tunelane runs list` and `runs show`: the journal and a record, for people and as JSON."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import typer

from tunelane_pipelines.display.highlights import duration, next_command, short, summary
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.runs.reconciling import Opener, recorded, seen
from tunelane_pipelines.runs.record import ENDED, RECORD, RunRecord
from tunelane_pipelines.targets.clock import Clock
from tunelane_serving.contract import encode
from tunelane_serving.errors import ContractError, TunelaneError

_PIPE_COLUMNS = 250
_HEAD = ("RUN", "STATE", "STARTED", "TIME", "MODEL", "VERDICT", "MACRO-F1")
_REMOTE_HEAD = (*_HEAD, "TARGET", "SCHEDULE")
# Of each call: who looks at a run waits some seconds, not minutes.
_ATTEMPTS = 3


def print_list(root: Path, limit: int, *, as_json: bool) -> None:
    """Print the newest `limit` runs below `root`: a table, or one JSON object a line."""
    entries = list_runs(root)[:limit]
    if as_json:
        for entry in entries:
            typer.echo(msgspec.json.encode(entry._asdict()).decode())
        return
    if not entries:
        typer.echo(f"No runs below {short(root)} yet. Start one: tunelane run train-classifier --config sentiment")
        return
    if any(entry.is_remote for entry in entries):
        rows = [_REMOTE_HEAD, *((*_cells(entry), *_remote_cells(entry)) for entry in entries)]
    else:
        rows = [_HEAD, *(_cells(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_run(root: Path, name: str, opener: Opener, clock: Clock, *, as_json: bool) -> None:
    """Print the run called `name`: its tree and its figures, or its record as it stands in `run.json`.

    Of a remote run that goes on its service is asked; where that does not answer, a line on stderr says so.

    Raises:
        InputError: there is no such run.
    """
    entry = find_run(root, name)
    directory = Path(entry.place)
    if as_json and not entry.is_remote:
        typer.echo((directory / RECORD).read_text(encoding="utf-8"), nl=False)
        return
    try:
        record = seen(root, entry, opener, clock, attempts=_ATTEMPTS)
    except ContractError:
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
    rows = [*summary(record, directory), ("Next", next_command(record, directory, root))]
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


def _cells(entry: Entry) -> tuple[str, ...]:
    f1 = "" if entry.macro_f1 is None else f"{entry.macro_f1:.3f}"
    # A run's row is written when it starts and when it ends.
    age_s = (datetime.now(UTC) - entry.started_at).total_seconds()
    wall_s = entry.wall_s if entry.state in ENDED else max(age_s, 0.0)
    started = f"{entry.started_at.astimezone():%Y-%m-%d %H:%M}"
    return entry.run_id, entry.state, started, duration(wall_s), entry.model, entry.decision, f1


def _remote_cells(entry: Entry) -> tuple[str, str]:
    return entry.target, entry.schedule.rpartition("/")[2]
