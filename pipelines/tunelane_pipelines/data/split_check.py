"""`tunelane data split-check`: what of one split stands in another."""

import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from tunelane_components.etl.checking.split_check import Leak, Place, SplitCheck, check_splits, split_files
from tunelane_pipelines.data.validate import reading
from tunelane_pipelines.display.rows import print_rows
from tunelane_serving.errors import InputError

_SHOWN_LABELS = 10


def print_check(directory: Path, threshold: float) -> bool:
    """Print what leaks between the splits of a dataset, in any of the formats; returns whether nothing does.

    Raises:
        InputError: `directory` holds no splits, a row cannot be read, or the threshold is no share.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"--threshold {threshold:g}: pass a similarity up to 1, or 0 for no search.")
    with reading(directory):
        check = check_splits(split_files(directory), threshold=threshold)
    for leak in check.leaks:
        typer.echo(f"{_place(directory, leak.place)}: {_in_words(directory, leak)}")
    print_rows(list(_rows(check)), is_plain=not sys.stdout.isatty())
    return check.is_clean


def _rows(check: SplitCheck) -> Iterator[tuple[str, str]]:
    shares = (f"{split} {rows:,} ({100 * check.fractions[split]:.1f} %)" for split, rows in check.rows.items())
    yield "Rows", ", ".join(shares)
    absent_by_split = {split: [label for label, of, _ in check.rare_labels if of == split] for split in check.rows}
    name = "Absent"
    for split, absent in absent_by_split.items():
        if absent:
            more = f" and {len(absent) - _SHOWN_LABELS} more" if len(absent) > _SHOWN_LABELS else ""
            yield name, f"from {split}: {', '.join(absent[:_SHOWN_LABELS])}{more}"
            name = ""
    yield "Leaks", _summary(check)


def _summary(check: SplitCheck) -> str:
    if check.is_clean:
        near = f", and none nearly ({check.near_duplicate_threshold:g})" if check.near_duplicate_threshold else ""
        return f"none: no text and no id of one split stands in another{near}"
    counts = (
        (check.repeated_texts, "of the same text"),
        (check.near_duplicates, "of nearly the same text"),
        (check.repeated_ids, "of the same id"),
    )
    total = sum(count for count, _ in counts)
    parts = ", ".join(f"{count:,} {said}" for count, said in counts if count)
    more = "; the first of each kind are shown" if total > len(check.leaks) else ""
    return f"{total:,}: {parts}{more}"


def _in_words(directory: Path, leak: Leak) -> str:
    if leak.original is None:
        return f"nearly the text of a held-out row (similarity {leak.similarity:.2f})"
    return f"the {leak.kind} of {_place(directory, leak.original)} again"


def _place(directory: Path, place: Place) -> str:
    """`train.jsonl:12`, as editors and people find it, with the id."""
    return f"{directory / f'{place.split}.jsonl'}:{place.line}{f' ({place.id})' if place.id else ''}"
