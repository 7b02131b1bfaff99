"""`tunelane doctor`: one line a thing, as soon as it was looked at."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import typer

from tunelane_pipelines.compiling.resources import KUBEFLOW, TARGETS, VERTEX
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.configured import check_settings
from tunelane_pipelines.doctor.hardware import check_cores, check_disk, check_int8, check_memory
from tunelane_pipelines.doctor.installed import check_extras, check_python, check_tools, check_torch
from tunelane_pipelines.doctor.kubeflow import check_kubeflow, check_kubeflow_forms
from tunelane_pipelines.doctor.lane import check_models, check_root, check_runs, check_samples
from tunelane_pipelines.doctor.vertex import check_gcp_forms, check_vertex
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings import GcpSettings, KubeflowSettings, Settings
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


def all_checks(root: Path | None, profile: Path | None, target: str = "") -> Iterator[Check]:
    """Every check, the quick ones first; of the services only the one that is named is asked."""
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
        yield from check_targets(settings, target)
    yield check_torch()


def check_targets(settings: Settings, target: str = "") -> Iterator[Check]:
    """The form of what is set for each cluster; and of the named one whether it takes runs from here."""
    if target == VERTEX or settings.gcp != GcpSettings():
        forms = list(check_gcp_forms(settings.gcp))
        yield from forms
        if target == VERTEX and not _has_problem(forms):
            yield from check_vertex(settings.gcp)
    if target == KUBEFLOW or settings.kubeflow != KubeflowSettings():
        forms = list(check_kubeflow_forms(settings.kubeflow))
        yield from forms
        if target == KUBEFLOW and not _has_problem(forms):
            yield from check_kubeflow(settings.kubeflow)


def _has_problem(checks: list[Check]) -> bool:
    return any(check.level == "problem" for check in checks)


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
