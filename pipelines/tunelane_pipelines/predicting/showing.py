"""`tunelane predict`: texts in, answers out, for people or as one JSON object a line."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from tunelane_pipelines.predicting.answers import Answer, answer_all
from tunelane_pipelines.predicting.source import find_source
from tunelane_pipelines.predicting.texts import Item, check_text, file_texts, stream_texts
from tunelane_pipelines.settings import Settings
from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import InputError
from tunelane_serving.models.loading import load_classifier

if TYPE_CHECKING:
    from rich.console import RenderableType

STDIN = "-"

_SHOWN_LABELS = 5
_BAR_WIDTH = 30
_LABEL_WIDTH = 24
# From here on a file takes long enough to be watched.
_LONG_FILE_TEXTS = 200


def print_answers(
    settings: Settings,
    *,
    text: str | None,
    file: Path | None,
    text_field: str,
    model: str,
    package: Path | None,
    as_json: bool,
) -> None:
    """Answer a text, standard input or a file, and print the answers as they come.

    Raises:
        InputError: what is to be answered, or by what, is missing, doubled or cannot be read.
        ContractError: the package is broken.
    """
    items, without_text = _items(text, file, text_field)
    source = find_source(settings, model=model, package=package)
    classifier = load_classifier(source.package, source.digest or None)
    if classifier.fallback_reason:
        typer.echo(f"{classifier.variant} answers: {classifier.fallback_reason}", err=True)
    is_terminal = sys.stdout.isatty() and not as_json
    # Standard input is answered line by line; a file is known whole.
    answers = answer_all(classifier, source, items, workers=usable_cores() if file is not None else 1)
    if is_terminal:
        _print_for_people(answers, one=text not in (None, STDIN))
    else:
        with _progress(items) as watched:
            for answer in watched(answers):
                typer.echo(msgspec.json.encode(answer).decode())
    if without_text:
        rows = "1 row has" if without_text == 1 else f"{without_text:,} rows have"
        typer.echo(f"{rows} no text and got no answer.", err=True)


def _items(text: str | None, file: Path | None, text_field: str) -> tuple[Iterable[Item], int]:
    if text is not None and file is not None:
        raise InputError("Pass a text or --file, not both.")
    if file is not None:
        return file_texts(file, text_field)
    if text is None:
        raise InputError('No text. Pass one ("what a day"), - to read standard input, or --file FILE.')
    return (stream_texts(sys.stdin.buffer), 0) if text == STDIN else ([check_text(text)], 0)


def _print_for_people(answers: Iterable[Answer], *, one: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for answer in answers:
        if one:
            console.print(_picture(answer))
        else:
            console.print(_row(answer), no_wrap=True, overflow="ellipsis")


def _picture(answer: Answer) -> "RenderableType":
    """One answer: what was chosen, the highest scores as bars, who says so."""
    from rich.bar import Bar
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text.assemble((_chosen(answer), "bold green"), (f"  {answer.confidence:.3f}", "bold"))
    bars = Table.grid(padding=(0, 1))
    bars.add_column(max_width=_LABEL_WIDTH, no_wrap=True, overflow="ellipsis")
    # Where the terminal is narrow the bars give way, and labels and scores stay whole.
    bars.add_column(max_width=_BAR_WIDTH)
    bars.add_column(justify="right", no_wrap=True)
    ranked = sorted(answer.scores.items(), key=lambda score: -score[1])
    for label, score in ranked[:_SHOWN_LABELS]:
        is_chosen = label in answer.labels
        bar = Bar(1.0, 0.0, score, color="green" if is_chosen else "bright_black")
        bars.add_row(Text(label, "bold" if is_chosen else ""), bar, f"{score:.3f}")
    if len(ranked) > _SHOWN_LABELS:
        bars.add_row(Text(f"and {len(ranked) - _SHOWN_LABELS} more", "dim"), "", "")
    version = f" version {answer.model_version}" if answer.model_version else ""
    who = Text(f"{answer.model}{version} · {answer.variant} · {answer.digest[:12]}", "dim")
    return Group(head, bars, who)


def _row(answer: Answer) -> "RenderableType":
    """One of many answers: its line, what was chosen, and the text, as far as it fits."""
    from rich.text import Text

    return Text.assemble(
        (f"{answer.line:>5}  ", "dim"),
        (_chosen(answer), "bold"),
        f"  {answer.confidence:.3f}  ",
        (" ".join(answer.text.split()), "dim"),
    )


def _chosen(answer: Answer) -> str:
    return ", ".join(answer.labels) or "no label"


@contextmanager
def _progress(items: Iterable[Item]) -> Iterator[Callable[[Iterable[Answer]], Iterable[Answer]]]:
    """Give what counts answers on stderr, where somebody looks there and it takes a while."""
    if not sys.stderr.isatty() or sys.stdout.isatty() or not isinstance(items, list) or len(items) < _LONG_FILE_TEXTS:
        yield iter
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # What goes to stdout must stay there: rich would draw it above its bar.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield lambda answers: progress.track(answers, total=len(items))
