"""`tunelane runs list`: the journal, for people and as JSON."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import typer

from tunelane_pipelines.display.highlights import duration
from tunelane_pipelines.runs.finding import list_runs, no_runs
from tunelane_pipelines.runs.freshness import freshness
from tunelane_pipelines.runs.journal import Entry
from tunelane_pipelines.runs.record import ENDED
from tunelane_pipelines.runs.services import Opener
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.clock import Clock
from tunelane_serving.errors import TunelaneError

_HEAD = ("RUN", "STATE", "STARTED", "TIME", "MODEL", "VERDICT", "MACRO-F1")
_REMOTE_HEAD = (*_HEAD, "TARGET", "SCHEDULE")


def list_and_refresh(
    settings: Settings, opener: Opener, clock: Clock, limit: int, *, refresh: bool, as_json: bool
) -> bool:
    """Print the newest runs, with `refresh` after asking the services for them; on stderr, how old what is shown is.

    Without it nobody is asked: importing a service's client takes two seconds by itself.

    Returns:
        Whether everything that was asked could be read.
    """
    root, errors, asked = settings.root, dict[str, TunelaneError](), set[str]()
    if refresh:
        from tunelane_pipelines.runs.reconciling import refresh_all

        errors, asked = refresh_all(settings, opener, clock)
    entries = print_list(root, limit, as_json=as_json)
    for name, error in errors.items():
        typer.echo(f"tunelane: {name}: {error}", err=True)
    if refresh:
        entries = [entry for entry in entries if entry.service not in (*asked, "") and entry.target not in errors]
    for line in freshness(root, entries, clock.now(), asked=refresh, profile=settings.profile):
        typer.echo(line, err=True)
    return not errors


def print_list(root: Path, limit: int, *, as_json: bool) -> list[Entry]:
    """Print the newest `limit` runs below `root`: a table, or one JSON object a line. Gives all that there are."""
    found = list_runs(root)
    entries = found[:limit]
    if as_json:
        for entry in entries:
            typer.echo(msgspec.json.encode(entry._asdict()).decode())
        return found
    if not entries:
        typer.echo(no_runs(root))
        return found
    if any(entry.is_remote for entry in entries):
        rows = [_REMOTE_HEAD, *((*_cells(entry), *_remote_cells(entry)) for entry in entries)]
    else:
        rows = [_HEAD, *(_cells(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return found


def _cells(entry: Entry) -> tuple[str, ...]:
    f1 = "" if entry.macro_f1 is None else f"{entry.macro_f1:.3f}"
    # A run's row is written when it starts and when it ends.
    age_s = (datetime.now(UTC) - entry.started_at).total_seconds()
    wall_s = entry.wall_s if entry.state in ENDED else max(age_s, 0.0)
    started = f"{entry.started_at.astimezone():%Y-%m-%d %H:%M}"
    return entry.run_id, entry.state, started, duration(wall_s), entry.model, entry.decision, f1


def _remote_cells(entry: Entry) -> tuple[str, str]:
    return entry.target, entry.schedule.rpartition("/")[2]
