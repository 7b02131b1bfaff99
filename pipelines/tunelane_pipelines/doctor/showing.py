"""`tunelane doctor`: one line a thing, as soon as it was looked at."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import typer

from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.configured import check_settings
from tunelane_pipelines.doctor.hardware import check_cores, check_disk, check_int8, check_memory
from tunelane_pipelines.doctor.installed import check_extras, check_python, check_tools, check_torch
from tunelane_pipelines.doctor.lane import check_models, check_root, check_runs, check_samples

_GLYPHS = {"ok": ("✓", "green"), "info": ("·", "dim"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}
_NAME_WIDTH = 18


def print_checks(root: Path | None, profile: Path | None, *, as_json: bool) -> bool:
    """Check everything and print what was found; says whether nothing is a problem.

    Args:
        root: from the command line; None where it was not given.
        profile: likewise.
        as_json: print one JSON object a line.
    """
    show = _printer(as_json)
    levels: Counter[str] = Counter()
    for check in all_checks(root, profile):
        levels[check.level] += 1
        show(check)
    if not as_json:
        counted = [_counted(levels[level], level) for level in ("problem", "warning") if levels[level]]
        typer.echo(f"\n{' and '.join(counted) or 'Nothing is wrong'}.")
    return not levels["problem"]


def all_checks(root: Path | None, profile: Path | None) -> Iterator[Check]:
    """Every check, the quick ones first."""
    yield check_python()
    yield from check_extras()
    yield check_int8()
    yield check_cores()
    yield check_memory()
    yield from check_tools()
    yield from check_samples()
    settings, found = check_settings(root, profile)
    yield from found
    if settings is not None:
        yield check_root(settings.root)
        yield from check_disk(settings.root)
        yield check_runs(settings.root)
        yield from check_models(settings)
    yield check_torch()


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
