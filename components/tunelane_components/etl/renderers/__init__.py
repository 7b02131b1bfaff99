"""Canonical records in the formats that trainers read, chosen by name."""

import difflib
import hashlib
from collections.abc import Callable
from pathlib import Path

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.classification import render_classification
from tunelane_components.etl.renderers.examples import ExampleMaker
from tunelane_components.etl.renderers.gemini import render_gemini
from tunelane_components.etl.renderers.messages import render_messages
from tunelane_components.etl.renderers.prompt_completion import render_input_output, render_prompt_completion
from tunelane_components.etl.renderers.prompts import PromptTemplate
from tunelane_components.etl.split import SPLITS
from tunelane_serving.contract import read_lines
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Taxonomy

RENDERERS: dict[str, Callable[[Record, ExampleMaker], bytes]] = {
    "classification": render_classification,
    "prompt_completion": render_prompt_completion,
    "input_output": render_input_output,
    "messages": render_messages,
    "gemini": render_gemini,
}


def check_format(name: str) -> None:
    """Raise InputError, with the nearest name there is, unless there is a renderer called `name`."""
    if name not in RENDERERS:
        nearest = difflib.get_close_matches(name.lower(), RENDERERS, n=1, cutoff=0.0)[0]
        raise InputError(f"Unknown format {name!r}; the nearest is {nearest!r}. Pass any of {', '.join(RENDERERS)}.")


def renderer(name: str, taxonomy: Taxonomy, prompt: PromptTemplate, *, multi_label: bool) -> Callable[[Record], bytes]:
    """Give a function that writes a record as one line of JSON, without its line break; equal records, equal bytes.

    Args:
        name: a key of `RENDERERS`.
        taxonomy: the labels that the prompt lists.
        prompt: what is asked; `classification` asks nothing.
        multi_label: whether a record may have several labels: the answers are then JSON arrays.

    Raises:
        InputError: there is no such format, or the template cannot be written.
    """
    check_format(name)
    render, examples = RENDERERS[name], ExampleMaker(taxonomy, prompt, multi_label=multi_label)
    return lambda record: render(record, examples)


def render_splits(
    directory: Path, name: str, taxonomy: Taxonomy, prompt: PromptTemplate, *, multi_label: bool
) -> dict[str, str]:
    """Write the splits of the dataset at `directory` in one format, to `directory/<name>/`, row by row.

    Returns:
        The SHA-256 of each file by its path below `directory`, like "gemini/train.jsonl".

    Raises:
        InputError: there is no such format, the template cannot be written, or a record has no place in the format.
        ContractError: a split is missing or a line of it breaks the contract.
    """
    render = renderer(name, taxonomy, prompt, multi_label=multi_label)
    folder = directory / name
    folder.mkdir(exist_ok=True)
    digests = {}
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        digest = hashlib.sha256()
        with path.open("wb") as stream:
            for record in read_lines(directory / path.name, Record):
                line = render(record) + b"\n"
                digest.update(line)
                stream.write(line)
        digests[f"{name}/{path.name}"] = digest.hexdigest()
    return digests
