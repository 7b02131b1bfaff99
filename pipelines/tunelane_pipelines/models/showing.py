"""`tunelane models`: for people and as JSON."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer

from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.models.listing import (
    ModelSummary,
    VersionSummary,
    find_model,
    find_version,
    list_models,
    manifest_of,
    no_models,
)
from tunelane_pipelines.models.rollback import plan_rollback, roll_back
from tunelane_pipelines.runs.advice import short
from tunelane_pipelines.settings import Settings, place_of
from tunelane_serving.errors import InputError
from tunelane_serving.package import Manifest, VariantParity

_MODELS_HEAD = ("MODEL", "CHAMPION", "MACRO-F1", "DIGEST", "REGISTERED", "DEPLOYED", "RUN")
_VERSIONS_HEAD = ("VERSION", "", "MACRO-F1", "VERDICT", "ROWS", "DIGEST", "REGISTERED", "RUN")
_SHOWN_LABELS = 20


def print_list(settings: Settings, *, as_json: bool) -> None:
    """Print the models: a table, or one JSON object a line."""
    with _status():
        models = list_models(settings)
    if as_json:
        for model in models:
            typer.echo(msgspec.json.encode(_listed(model)).decode())
    elif not models:
        typer.echo(no_models(settings))
    else:
        _print_table(_MODELS_HEAD, [_model_cells(model) for model in models])


def print_model(settings: Settings, name: str, version: str, *, as_json: bool) -> None:
    """Print a model's versions, and what is in the package of one of them.

    Raises:
        InputError: there is no such model or version.
        ContractError: the package is missing or broken.
    """
    with _status():
        model = find_model(settings, name)
    described = find_version(model, version)
    if as_json:
        content = {**_listed(model), "versions": model.versions, "described": described.version}
        encoded = msgspec.json.encode({**content, "manifest": manifest_of(described)})
        typer.echo(msgspec.json.format(encoded, indent=2).decode())
        return
    _print_table(_VERSIONS_HEAD, [_version_cells(each) for each in model.versions])
    typer.echo("")
    rows = [*_version_rows(model, described), *_manifest_rows(manifest_of(described))]
    print_rows(rows, is_plain=not sys.stdout.isatty())


def print_rollback(settings: Settings, name: str, to: str, *, is_agreed: bool) -> bool:
    """Bring a version back and say so; unless it `is_agreed`, ask first. Gives whether it was done.

    Raises:
        InputError: there is nothing to bring back, or nobody to ask.
        TunelaneError: the deployment could not follow.
    """
    with _status():
        rollback = plan_rollback(settings, name, to)
    champion, target = rollback.champion, rollback.target
    what = f"Make version {target.version} of {name} champion, instead of {champion.version}?"
    became = f"version {target.version} of {name}, instead of version {champion.version}"
    if target.is_champion:
        what = f"Put version {target.version} of {name}, which is champion, to serve?"
        became = f"version {target.version} of {name}, as before"
    if not is_agreed:
        if not sys.stdin.isatty():
            raise InputError("There is nobody to ask here. Pass --yes to roll back unasked.")
        if not _agreed(what):
            typer.echo("Nothing was changed.")
            return False
    roll_back(settings, rollback)
    rows = [
        ("Champion", became),
        ("Digest", target.digest),
        ("Deployed", _deployed(place_of(settings, name))),
    ]
    print_rows(rows, is_plain=not sys.stdout.isatty())
    return True


def _deployed(place: str) -> str:
    """Say what happens where a version was put to serve: servers follow directories of their own machine alone."""
    if "://" in place:
        return f"{place}; a server takes it up with its next revision"
    return f"{_place(place)}; a server that follows it changes over now"


def _agreed(question: str) -> bool:
    """Ask; a Ctrl-C in the place of an answer ends the command as everywhere."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo("")
        raise typer.Exit(130) from None


def _listed(model: ModelSummary) -> dict[str, Any]:
    """What a list says of a model, as JSON has it."""
    champion = model.champion
    return {
        "name": model.name,
        "champion": champion.version if champion else None,
        "macro_f1": champion.macro_f1 if champion else None,
        "digest": champion.digest if champion else None,
        "registered_at": champion.registered_at if champion else None,
        "run_id": (champion.run_id or None) if champion else None,
        "versions": len(model.versions),
        "deployed": model.deployed,
        "active_digest": model.active_digest or None,
    }


def _model_cells(model: ModelSummary) -> tuple[str, ...]:
    champion = model.champion
    count = len(model.versions)
    if champion is None:
        return model.name, f"none of {count}", "", "", "", model.deployed, ""
    first = (model.name, f"{champion.version} of {count}", _f1(champion), champion.digest[:12])
    return (*first, f"{champion.registered_at.astimezone():%Y-%m-%d}", model.deployed, _run(champion))


def _version_cells(version: VersionSummary) -> tuple[str, ...]:
    return (
        version.version,
        "champion" if version.is_champion else "",
        _f1(version),
        version.tags.get("tunelane.verdict", ""),
        version.tags.get("tunelane.verdict.rows", ""),
        version.digest[:12],
        f"{version.registered_at.astimezone():%Y-%m-%d}",
        _run(version),
    )


def _version_rows(model: ModelSummary, version: VersionSummary) -> list[tuple[str, str]]:
    champion = " (champion)" if version.is_champion else ""
    rows = [("Version", f"{version.version} of {model.name}{champion}")]
    sentence = version.tags.get("tunelane.verdict.sentence", "")
    if sentence:
        rows.append(("Verdict", sentence))
    if version.is_champion:
        rows.append(("Deployed", model.deployed))
    if version.run_id:
        rows.append(("Run", version.run_id))
    rows.append(("Registered", f"{version.registered_at.astimezone():%Y-%m-%d %H:%M}"))
    rows.append(("Package", _place(version.package)))
    rows.append(("Digest", version.digest))
    return rows


def _place(place: str) -> str:
    """A path as it is shortest, or a URI."""
    return place if "://" in place else str(short(Path(place)))


def _manifest_rows(manifest: Manifest) -> list[tuple[str, str]]:
    rows = [("Task", f"{manifest.task.replace('_', ' ')}, up to {manifest.max_length_tokens} tokens")]
    if manifest.taxonomy is not None:
        names = manifest.taxonomy.names
        more = f", and {len(names) - _SHOWN_LABELS} more" if len(names) > _SHOWN_LABELS else ""
        rows.append(("Labels", f"{len(names)}: {', '.join(names[:_SHOWN_LABELS])}{more}"))
    bytes_by_path = {file.path: file.size_bytes for file in manifest.files}
    sizes = (f"{variant.name} {bytes_by_path[variant.path] / 1e6:.1f} MB" for variant in manifest.variants)
    rows.append(("Variants", ", ".join(sizes)))
    rows.append(("Base model", f"{manifest.base_model.uri} (licence: {manifest.base_model.licence})"))
    if manifest.parity is not None:
        held = "; ".join(_parity(variant) for variant in manifest.parity.variants)
        rows.append(("Parity", f"{held}; on {manifest.parity.rows:,} rows"))
    if manifest.data_digest:
        rows.append(("Data", manifest.data_digest))
    if manifest.metrics:
        rows.append(("Training", ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items())))
    return rows


def _parity(variant: VariantParity) -> str:
    agreement = f"{variant.variant} {100 * variant.agreement:.1f} % of labels as PyTorch's"
    return f"{agreement}, macro-F1 {variant.f1_delta:+.3f}"


def _f1(version: VersionSummary) -> str:
    return "" if version.macro_f1 is None else f"{version.macro_f1:.3f}"


def _run(version: VersionSummary) -> str:
    """The run's id; on a terminal its end, which `runs show` takes too."""
    return version.run_id.rpartition("-")[2] if sys.stdout.isatty() else version.run_id


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: within the terminal's width there, in a pipe as wide as it is."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in head:
            table.add_column(column, overflow="fold", justify="right" if column in ("MACRO-F1", "ROWS") else "left")
        styles = {"yes": "green", "champion": "green", "behind": "yellow"}
        for row in rows:
            table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def _status() -> Iterator[None]:
    """Say on a terminal what takes a moment: MLflow loads in seconds."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("Reading the registry …"):
        yield
