"""`tunelane data report`: a dataset's page, from what stands in its directory."""

from pathlib import Path

from tunelane_components.etl.dataset import REPORT, SUMMARY, read_summary
from tunelane_components.etl.report import render
from tunelane_components.etl.statistics import read_statistics
from tunelane_serving.errors import InputError
from tunelane_serving.files import write_atomically


def write_report(dataset: Path, output: Path | None) -> Path:
    """Write the page of the dataset at `dataset` to `output`, or to its own place; gives where it is.

    Raises:
        InputError: `dataset` is no dataset, or `output` cannot be written.
        ContractError: what stands in the dataset's directory is broken.
    """
    require_dataset(dataset)
    path = output or dataset / REPORT
    page = render(read_summary(dataset), read_statistics(dataset))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}. Name another file with --output.") from error
    return path


def require_dataset(directory: Path) -> None:
    """Stop at what is no dataset's directory; raises InputError."""
    if not (directory / SUMMARY).is_file():
        raise InputError(
            f"{directory} is no dataset: it has no {SUMMARY}. Pass the directory that tunelane data build wrote."
        )
