"""Drawings on disk: `<output>/<pipeline>.svg`, and `<pipeline>.mmd` for Markdown."""

from pathlib import Path

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.drawing.flowchart import mermaid
from tunelane_pipelines.drawing.picture import svg
from tunelane_serving.errors import InputError
from tunelane_serving.files import write_atomically


def draw_files(output: Path, *, pipeline: str = "") -> list[Path]:
    """Draw one pipeline, or all where none is named; gives the files written.

    Raises:
        InputError: there is no such pipeline, or the output cannot be written.
    """
    dags = [read_dag(load_pipeline(name)) for name in ([pipeline] if pipeline else sorted(MODULE_BY_PIPELINE))]
    written = []
    try:
        for dag in dags:
            for ending, content in ((".svg", svg(dag)), (".mmd", mermaid(dag))):
                written.append(output / f"{dag.name}{ending}")
                write_atomically(written[-1], content.encode())
    except OSError as error:
        raise InputError(f"Cannot write to {output}: {error.strerror}. Pass another directory to --output.") from error
    return written
