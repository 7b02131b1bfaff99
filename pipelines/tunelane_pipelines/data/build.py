"""`tunelane data build`: parameters, the build while it is shown, and what became of the rows."""

from pathlib import Path

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import SUMMARY
from tunelane_components.storage import local_path
from tunelane_pipelines.data.built import print_built
from tunelane_pipelines.data.parameters import build_parameters
from tunelane_pipelines.data.progress import shown_progress
from tunelane_pipelines.data.runners import load_runner
from tunelane_serving.errors import InputError


def build(
    data: str,
    output: Path,
    *,
    config: str,
    assignments: list[str],
    runner: str,
    beam_options: list[str],
    is_plain: bool,
) -> None:
    """Build a dataset and print what became of the rows.

    Args:
        data: a file, a folder, a pattern, a URI of one of these, or a sample; empty: what config or assignments say.
        output: the dataset's directory; an older dataset there is replaced.
        config: YAML file with parameters, or the name of a shipped one; empty for none.
        assignments: `name=value` each; they outrank the config.
        runner: what performs it: local or beam.
        beam_options: `--name=value` each, as Apache Beam takes them.
        is_plain: print lines even on a terminal.

    Raises:
        InputError: a parameter, the data or the output cannot be used.
        TunelaneError: the build failed.
    """
    perform = load_runner(runner, beam_options)
    parameters = build_parameters(data, config=config, assignments=assignments)
    check_output(output, parameters["data"])
    with shown_progress(is_plain=is_plain) as show:
        built = build_dataset(**parameters, output=output, runner=perform, progress=show)
    print_built(built, output, is_plain=is_plain)


def check_output(output: Path, data: str) -> None:
    """Stop before something is replaced that is no dataset, or that the rows are read from.

    Raises:
        InputError: `output` is a file, holds something other than a dataset, or holds the data.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file. Name a directory with --output.")
    if output.is_dir() and any(output.iterdir()) and not (output / SUMMARY).is_file():
        raise InputError(f"{output} holds something that is no dataset. Name another directory with --output.")
    path = local_path(data)
    if path is not None and path.resolve().is_relative_to(output.resolve()):
        raise InputError(f"{data} lies in {output}, which would be replaced. Name another directory with --output.")
