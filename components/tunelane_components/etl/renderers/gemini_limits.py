"""The documented limits of supervised fine-tuning for Gemini models, checked on a rendered dataset.

A dataset that is too large as a whole is refused by the service: an error here. An example that it cannot use (too many
tokens, too many images, an invalid image) is left out and counted: a warning here. That it is left out is said at
`droppedExampleReasons`: https://googleapis.github.io/js-genai/release_docs/interfaces/types.SupervisedTuningDataStats.html
Images are not opened, so their size (20 MB at most) is not checked.

Tokens are estimated, since Gemini's tokenizer is not public; see `estimated_tokens`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from tunelane_components.etl.rows.image_types import MIME_TYPE_BY_SUFFIX
from tunelane_components.etl.split import Split
from tunelane_serving.contract import decode
from tunelane_serving.errors import ContractError, InputError

_SHOWN_LINES = 10
# Three letters with the space before them; of all else each character. On average a token has four characters
# (https://ai.google.dev/gemini-api/docs/tokens); a digit may be one by itself.
_TOKEN = re.compile(r"\s?[A-Za-z]{1,3}|\s|[^\sA-Za-z]")
# The most that any tunable model takes for an image at the resolution it has by default:
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding
_IMAGE_TOKENS = 1_120
_IMAGE_TYPES = frozenset(MIME_TYPE_BY_SUFFIX.values())
_READABLE_SCHEMES = ("gs://", "https://", "http://")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one family of models takes, and where that is written.

    A validation split of more than `free_validation_examples` must also be no larger than `validation_share` of the
    training split.
    """

    models: tuple[str, ...]
    source: str
    read_on: str
    max_tokens: int
    max_training_bytes: int
    max_training_examples: int
    max_training_examples_with_images: int
    max_validation_examples: int
    free_validation_examples: int
    validation_share: float
    max_images: int
    recommended_training_examples: int


# All models that can be tuned today have the same limits. Images:
# https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/image. The hundred examples:
# https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning/prepare-data, which
# gives no minimum.
LIMITS = Limits(
    models=("Gemini 3.5 Flash", "Gemini 3.1 Flash-Lite", "Gemini 2.5 Pro", "Gemini 2.5 Flash", "Gemini 2.5 Flash-Lite"),
    source="https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning",
    read_on="2026-09-25",
    max_tokens=131_072,
    max_training_bytes=10**9,
    max_training_examples=10_000_000,
    max_training_examples_with_images=300_000,
    max_validation_examples=5_000,
    free_validation_examples=1_000,
    validation_share=0.3,
    max_images=30,
    recommended_training_examples=100,
)


class Violation(msgspec.Struct, frozen=True):
    """A limit that a split breaks.

    Attributes:
        limit: the limit's name, of `Limits` where it is a number.
        split: the split that breaks it.
        severity: "error" where the service would refuse the dataset, "warning" where it would leave rows out or learn
            little from it.
        lines: the first ten lines that break it, from 1; none where it is the split as a whole.
        count: how many lines break it, or how many there are of what is limited.
        message: one line that says what is wrong and what to do.
    """

    limit: str
    split: Split
    severity: Literal["error", "warning"]
    lines: tuple[int, ...]
    count: int
    message: str


class _File(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    file_uri: str = ""


class _Part(msgspec.Struct, rename="camel"):
    text: str = ""
    file_data: _File | None = None


class _Content(msgspec.Struct):
    parts: list[_Part]


class _Example(msgspec.Struct, rename="camel"):
    """As much of an example as the limits speak of."""

    contents: list[_Content]
    system_instruction: _Content | None = None


class _Finding:
    """The rows that break one limit."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[int] = []

    def add(self, line: int) -> None:
        self.count += 1
        if len(self.lines) < _SHOWN_LINES:
            self.lines.append(line)


class _Measured:
    """What is in one split."""

    def __init__(self) -> None:
        self.examples = 0
        self.bytes = 0
        self.with_images = 0
        self.too_long, self.too_many_images = _Finding(), _Finding()
        self.unsupported_images, self.unreadable_images = _Finding(), _Finding()


def check_limits(directory: Path) -> list[Violation]:
    """Say which limits the files train.jsonl and valid.jsonl in `directory` break; the test split is never sent.

    Raises:
        InputError: train.jsonl is missing, or a line is no example for Gemini.
    """
    train = _measured(directory / "train.jsonl")
    violations = [*_of_training(train), *_of_rows(train, "train")]
    if (directory / "valid.jsonl").exists():
        valid = _measured(directory / "valid.jsonl")
        violations += [*_of_validation(valid.examples, train.examples), *_of_rows(valid, "valid")]
    return violations


def estimated_tokens(text: str) -> int:
    """Estimate, on the high side, how many tokens Gemini makes of a text.

    It counts a token for every three Latin letters and for each other character, so that English comes out about a
    third too high and other scripts more. A text of random letters may still have more tokens than this says.
    """
    return sum(1 for _ in _TOKEN.finditer(text))


def _measured(path: Path) -> _Measured:
    measured = _Measured()
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Build the dataset with --set formats=gemini."
        ) from error
    with stream:
        for number, line in enumerate(stream, start=1):
            measured.examples += 1
            measured.bytes += len(line)
            # No token is shorter than a byte. Most rows are far from the limit and show nothing, and need no reading.
            if len(line) > LIMITS.max_tokens or b'"fileData"' in line:
                _measure_row(line, number, path, measured)
    return measured


def _measure_row(line: bytes, number: int, path: Path, measured: _Measured) -> None:
    try:
        example = decode(line, _Example, f"{path}:{number}")
    except ContractError as error:
        raise InputError(f"{error}. Run `tunelane data validate {path.name}` for all that is wrong.") from error
    turns = [example.system_instruction] if example.system_instruction else []
    parts = [part for turn in [*turns, *example.contents] for part in turn.parts]
    files = [part.file_data for part in parts if part.file_data]
    measured.with_images += bool(files)
    if len(files) > LIMITS.max_images:
        measured.too_many_images.add(number)
    if any(file.mime_type not in _IMAGE_TYPES for file in files):
        measured.unsupported_images.add(number)
    if any(not file.file_uri.startswith(_READABLE_SCHEMES) for file in files):
        measured.unreadable_images.add(number)
    if len(line) + _IMAGE_TOKENS * len(files) > LIMITS.max_tokens:
        tokens = sum(estimated_tokens(part.text) for part in parts) + _IMAGE_TOKENS * len(files)
        if tokens > LIMITS.max_tokens:
            measured.too_long.add(number)


def _of_training(train: _Measured) -> Iterator[Violation]:
    """Yield the limits that the training split breaks as a whole."""
    for limit, count, allowed, unit in (
        ("max_training_bytes", train.bytes, LIMITS.max_training_bytes, "bytes"),
        ("max_training_examples", train.examples, LIMITS.max_training_examples, "examples"),
        (
            "max_training_examples_with_images",
            train.with_images,
            LIMITS.max_training_examples_with_images,
            "examples with an image",
        ),
    ):
        if count > allowed:
            message = f"train: {count:,} {unit}, {allowed:,} are allowed; take fewer with --set rows=N."
            yield Violation(limit, "train", "error", (), count, message)
    if train.examples < LIMITS.recommended_training_examples:
        message = f"train: {train.examples} examples, {LIMITS.recommended_training_examples} are recommended; add rows."
        yield Violation("recommended_training_examples", "train", "warning", (), train.examples, message)


def _of_validation(valid: int, train: int) -> Iterator[Violation]:
    """Yield the limits that the validation split breaks as a whole, by its number of examples and that of training."""
    if valid > LIMITS.max_validation_examples:
        message = f"valid: {valid:,} examples, {LIMITS.max_validation_examples:,} are allowed; lower valid_fraction."
        yield Violation("max_validation_examples", "valid", "error", (), valid, message)
    elif valid > max(LIMITS.free_validation_examples, LIMITS.validation_share * train):
        share = f"{100 * LIMITS.validation_share:.0f} % of the {train:,} training examples"
        message = (
            f"valid: {valid:,} examples, more than {share}, and over {LIMITS.free_validation_examples:,}; "
            "lower valid_fraction."
        )
        yield Violation("validation_share", "valid", "error", (), valid, message)


def _of_rows(measured: _Measured, split: Split) -> Iterator[Violation]:
    """Yield the limits that single rows break."""
    types = ", ".join(sorted(_IMAGE_TYPES))
    for limit, found, what, remedy in (
        (
            "max_tokens",
            measured.too_long,
            f"estimated at over {LIMITS.max_tokens:,} tokens",
            "Shorten the texts, or pass --set max_characters=N",
        ),
        ("max_images", measured.too_many_images, f"with over {LIMITS.max_images} images", "Take some out"),
        ("image_type", measured.unsupported_images, f"with a file of another type than {types}", "Convert the files"),
        (
            "image_uri",
            measured.unreadable_images,
            "with an image that the service cannot read",
            "Name them by gs:// URIs",
        ),
    ):
        if found.count:
            rows = "row" if found.count == 1 else "rows"
            lines = ", ".join(map(str, found.lines)) + (", …" if found.count > len(found.lines) else "")
            message = f"{split}: {found.count:,} {rows} {what}, which the service leaves out: line {lines}. {remedy}."
            yield Violation(limit, split, "warning", tuple(found.lines), found.count, message)
