"""`tunelane data validate`: all that is wrong with a finished file, line by line."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from tunelane_components.etl.checking.finished import Fault, validate_file
from tunelane_components.etl.taxonomy import load_taxonomy


def print_faults(path: Path, *, taxonomy: Path | None, form: str, limit: int) -> bool:
    """Print the first `limit` faults of a file and how many there are of each kind; returns whether there are none.

    Raises:
        InputError: the file or the taxonomy cannot be read, or the form is not known.
    """
    labels = load_taxonomy(taxonomy) if taxonomy else None
    shown: list[Fault] = []
    count_by_code: Counter[str] = Counter()
    with reading(path):
        for fault in validate_file(path, taxonomy=labels, form=form):
            count_by_code[fault.code] += 1
            if len(shown) < limit:
                shown.append(fault)
    for fault in shown:
        typer.echo(f"{path}:{fault.line}: {fault.code}: {fault.message}")
    total = count_by_code.total()
    if not total:
        typer.echo(f"{path}: no faults")
        return True
    counts = ", ".join(f"{code} {count:,}" for code, count in count_by_code.most_common())
    more = f"; the first {limit:,} are shown, --limit {total} shows all" if total > limit else ""
    typer.echo(f"{path}: {total:,} fault{'' if total == 1 else 's'}: {counts}{more}")
    return False


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say on a terminal what takes a while for a large file."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"Reading {path} …"):
        yield
