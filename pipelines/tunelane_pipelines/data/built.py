"""What a build came to: every row that was read, the splits, and where to look next."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from tunelane_components.etl.build import Build
from tunelane_components.etl.dataset import QUARANTINE, REPORT, DatasetSummary
from tunelane_components.etl.split import SPLITS
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.runs.advice import short

_SHOWN_WARNINGS = 10


def print_built(build: Build, output: Path, *, is_plain: bool) -> None:
    """Print the closing table of a build."""
    is_plain = is_plain or not sys.stdout.isatty()
    if not build.is_new:
        typer.echo(f"Nothing to do: {short(output)} holds this dataset already, from the same data and parameters.\n")
    print_rows(list(_rows(build, output)), is_plain=is_plain)


def _rows(build: Build, output: Path) -> Iterator[tuple[str, str]]:
    summary = build.summary
    yield "Read", f"{summary.rows_read:,} rows of {summary.data_file}"
    yield from _fates(summary)
    splits = (f"{split} {summary.rows_of(split):,}" for split in SPLITS)
    yield "Splits", ", ".join(splits)
    if summary.quarantined:
        by_count = sorted(summary.quarantined.items(), key=lambda item: (-item[1], item[0]))
        yield "Quarantined", ", ".join(f"{reason} {count:,}" for reason, count in by_count)
        yield "", f"each with file, line and reason in {short(output / QUARANTINE)}"
    if summary.personal_data:
        yield "Masked", ", ".join(f"{kind} {count:,}" for kind, count in summary.personal_data.items())
    for place, warning in enumerate(summary.warnings[:_SHOWN_WARNINGS]):
        yield "" if place else "Warnings", warning
    if len(summary.warnings) > _SHOWN_WARNINGS:
        yield "", f"and {len(summary.warnings) - _SHOWN_WARNINGS} more, in the report"
    yield "Digest", summary.digest
    yield "Dataset", str(short(output))
    if build.uploaded_to:
        yield "Uploaded", build.uploaded_to
    yield "Report", str(short(output / REPORT))
    yield "Next", f"tunelane data split-check {shlex.quote(str(short(output)))}"


def _fates(summary: DatasetSummary) -> Iterator[tuple[str, str]]:
    """What became of the rows, in counts that add up to those that were read; what befell none is left out."""
    fates = (
        (summary.rows_kept, "kept"),
        (summary.rows_merged, "merged: another row has the same text and labels"),
        (summary.rows_leaked, "dropped: the text also stands in a split that was given to hold out"),
        (summary.rows_near_duplicate, "dropped: nearly repeats a validation or test row"),
        (summary.rows_over_cap, "dropped: more than max_per_label"),
        (summary.rows_cut, "cut: more than rows asked for"),
        (summary.rows_quarantined, "quarantined"),
    )
    shown = [(f"{count:,}", said) for count, said in fates if count]
    width = max((len(count) for count, _ in shown), default=0)
    for place, (count, said) in enumerate(shown):
        yield "" if place else "Rows", f"{count:>{width}} {said}"
