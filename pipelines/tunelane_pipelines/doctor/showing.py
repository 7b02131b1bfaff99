"""`tunelane doctor`: one line a thing, as soon as it was looked at."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import typer

from tunelane_pipelines.compiling.resources import TARGETS
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.checking import all_checks
from tunelane_pipelines.nearest import no_such
from tunelane_serving.errors import InputError

_GLYPHS = {"ok": ("✓", "green"), "info": ("·", "dim"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}
_NAME_WIDTH = 18


def print_checks(root: Path | None, profile: Path | None, *, target: str = "", as_json: bool) -> bool:
    """Check everything and print what was found; says whether nothing is a problem.

    Args:
        root: from the command line; None where it was not given.
        profile: likewise.
        target: a cluster to ask, too; empty for none.
        as_json: print one JSON object a line.

    Raises:
        InputError: there is no such target.
    """
    if target and target not in TARGETS:
        raise InputError(no_such("target", target, TARGETS))
    show = _printer(as_json)
    levels: Counter[str] = Counter()
    for check in all_checks(root, profile, target):
        levels[check.level] += 1
        show(check)
    if not as_json:
        counted = [_counted(levels[level], level) for level in ("problem", "warning") if levels[level]]
        typer.echo(f"\n{' and '.join(counted) or 'Nothing is wrong'}.")
    return not levels["problem"]


def _printer(as_json: bool) -> Callable[[Check], None]:
    if as_json:
        return lambda check: typer.echo(msgspec.json.encode(check).decode())
    if not sys.stdout.isatty():
        return _print_plain
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)

    def show(check: Check) -> None:
        glyph, style = _GLYPHS[check.level]
        row = Table.grid(padding=(0, 1))
        row.add_column(width=1)
        row.add_column(width=_NAME_WIDTH, overflow="fold")
        row.add_column(overflow="fold")
        found = Text(check.found, "dim" if check.level == "info" else "")
        row.add_row(Text(glyph, style), Text(check.name, "bold"), found)
        if check.advice:
            row.add_row("", "", Text(f"→ {check.advice}", "cyan"))
        console.print(row)

    return show


def _print_plain(check: Check) -> None:
    """One line: what follows the arrow is what to do."""
    glyph, _ = _GLYPHS[check.level]
    advice = f" → {check.advice}" if check.advice else ""
    typer.echo(f"{glyph} {check.name:{_NAME_WIDTH}} {check.found}{advice}")


def _counted(count: int, level: str) -> str:
    return f"{count} {level}{'s' if count > 1 else ''}"
