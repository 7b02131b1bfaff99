"""The forms of a finished dataset, read back: which fields a row has, what it asks, and which labels it answers."""

import codecs
import difflib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tunelane_components.etl.renderers.completion import labels_of
from tunelane_serving.errors import InputError

_ROWS_TO_DETECT_BY = 100
_SHOWN_FIELDS_CHARACTERS = 200


@dataclass(frozen=True)
class Form:
    """One form of a row.

    Attributes:
        required: fields that every row has.
        optional: fields that a row may have.
        question: gives what a row asks; of several texts, those of the user alone.
        labels: gives the labels that a row answers.

    A row with faults may make the functions raise LookupError, TypeError or AttributeError.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    question: Callable[[dict[str, Any]], str]
    labels: Callable[[dict[str, Any]], tuple[str, ...]]


def detect_form(path: Path) -> str:
    """Name the form of a JSONL file by the fields of its first rows.

    Where none of them can be read, it is "classification": nothing but broken rows will be found in it.

    Raises:
        InputError: the file cannot be read, or has fields of no form.
    """
    found: Counter[str] = Counter()
    with opened(path) as stream:
        for line in islice(stream, _ROWS_TO_DETECT_BY):
            values = _object(line.removeprefix(codecs.BOM_UTF8))
            found.update(values.keys())
    if not found:
        return "classification"
    scores = {name: sum(found[field] for field in form.required) for name, form in FORMS.items()}
    best = max(scores, key=scores.__getitem__)
    if not scores[best]:
        fields = ", ".join(sorted(found))[:_SHOWN_FIELDS_CHARACTERS]
        raise InputError(f"{path.name} has the form of no finished dataset; it has: {fields}. Pass {_described()}.")
    return best


def check_form(name: str) -> None:
    """Raise InputError, with the nearest name there is, unless there is a form called `name`."""
    if name not in FORMS:
        nearest = difflib.get_close_matches(name.lower(), FORMS, n=1, cutoff=0.0)[0]
        raise InputError(f"Unknown form {name!r}; the nearest is {nearest!r}. Pass any of {', '.join(FORMS)}.")


def opened(path: Path) -> BinaryIO:
    """Open a file of rows for reading its bytes; raises InputError where it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Pass a JSONL file.") from error


def _object(line: bytes) -> dict[str, Any]:
    """Read a row, or nothing where it is no object."""
    try:
        values = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _messages_question(values: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in values["messages"] if message["role"] == "user")


def _gemini_question(values: dict[str, Any]) -> str:
    """Give the texts; of a row that shows an image alone, where that stands."""
    parts = [part for content in values["contents"] if content["role"] == "user" for part in content["parts"]]
    texts = [part["text"] for part in parts if "text" in part]
    return "\n".join(texts or [part["fileData"]["fileUri"] for part in parts])


def _gemini_labels(values: dict[str, Any]) -> tuple[str, ...]:
    return labels_of("".join(part["text"] for part in values["contents"][-1]["parts"]))


FORMS = {
    "classification": Form(
        required=("id", "text", "labels"),
        optional=("image_uri", "meta", "version"),
        question=itemgetter("text"),
        labels=lambda values: tuple(values["labels"]),
    ),
    "prompt_completion": Form(
        required=("prompt", "completion"),
        optional=(),
        question=itemgetter("prompt"),
        labels=lambda values: labels_of(values["completion"]),
    ),
    "input_output": Form(
        required=("input_text", "output_text"),
        optional=(),
        question=itemgetter("input_text"),
        labels=lambda values: labels_of(values["output_text"]),
    ),
    "messages": Form(
        required=("messages",),
        optional=(),
        question=_messages_question,
        labels=lambda values: labels_of(values["messages"][-1]["content"]),
    ),
    "gemini": Form(
        required=("contents",),
        # https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/image shows the last one.
        optional=("systemInstruction", "generationConfig"),
        question=_gemini_question,
        labels=_gemini_labels,
    ),
}


def _described() -> str:
    return "; or ".join(f"{name} ({', '.join(form.required)})" for name, form in FORMS.items())
