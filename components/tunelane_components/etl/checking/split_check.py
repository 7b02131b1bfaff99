"""Whether the splits of a dataset are free of leaks: no text, no near copy and no id of one stands in another."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from tunelane_components.etl.checking.digest_table import DigestTable
from tunelane_components.etl.checking.forms import FORMS, check_form, detect_form, opened
from tunelane_components.etl.checking.row_checks import LabelChecker, faults_of
from tunelane_components.etl.near_duplicates import HeldOutIndex
from tunelane_components.etl.record import normalized
from tunelane_components.etl.split import SPLITS, Split
from tunelane_serving.errors import InputError

_SHOWN_LEAKS = 10
_BATCH_ROWS = 10_000
# Their question holds the same instructions in every row, before the text.
_FORMS_WITH_INSTRUCTIONS = ("prompt_completion", "input_output")


class Place(msgspec.Struct, frozen=True):
    """Where a row stands: its split, its line (from 1) and its id, if its form has ids."""

    split: Split
    line: int
    id: str


class Leak(msgspec.Struct, frozen=True):
    """Two rows of different splits that should not both be there.

    Attributes:
        kind: "text" for the same normalised text, "near" for nearly the same, "id" for the same id.
        place: the row that leaks.
        original: the row it repeats; None for "near".
        similarity: 1.0 but for "near": the Jaccard similarity to the nearest held-out text.
    """

    kind: Literal["text", "near", "id"]
    place: Place
    original: Place | None
    similarity: float


class SplitCheck(msgspec.Struct, frozen=True):
    """What was found in the splits.

    Attributes:
        rows: rows by split.
        repeated_texts: rows whose text also stands in a split that is held out further (train, then valid, then test).
        near_duplicates: training rows that nearly repeat a row of valid or test, those of `repeated_texts` left out.
        repeated_ids: rows whose id also stands in a split that is held out further.
        labels: rows by label and split.
        rare_labels: label, split and rows where a split has fewer rows of a label than were asked for.
        leaks: the first ten of each kind.
        near_duplicate_threshold: from which Jaccard similarity on texts are near duplicates; 0: not looked for.
    """

    rows: dict[Split, int]
    repeated_texts: int
    near_duplicates: int
    repeated_ids: int
    labels: dict[str, dict[Split, int]]
    rare_labels: tuple[tuple[str, Split, int], ...]
    leaks: tuple[Leak, ...]
    near_duplicate_threshold: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing leaks. Rare labels are no leak."""
        return not (self.repeated_texts or self.near_duplicates or self.repeated_ids)

    @property
    def fractions(self) -> dict[Split, float]:
        """The share of each split in all rows."""
        return {split: rows / sum(self.rows.values()) for split, rows in self.rows.items()}


def split_files(directory: Path) -> dict[Split, Path]:
    """Name the files of a dataset's splits; raises InputError unless there are train.jsonl and another."""
    files = {split: path for split in SPLITS if (path := directory / f"{split}.jsonl").exists()}
    if "train" not in files or len(files) < 2:
        raise InputError(f"{directory} is no dataset. Pass a directory with train.jsonl, valid.jsonl and test.jsonl.")
    return files


def check_splits(
    files: Mapping[Split, Path], *, form: str = "", threshold: float = 0.8, minimum_per_label: int = 1
) -> SplitCheck:
    """Compare the splits of a dataset. Of each row 41 bytes are kept, and of held-out rows the text.

    Args:
        files: JSONL files by split, all of one form; two or three.
        form: a key of `forms.FORMS`; empty takes the one that the first rows of the first file have.
        threshold: the Jaccard similarity of near duplicates, see `near_duplicates`; 0 does not look for them.
        minimum_per_label: how many rows of each label every split should have.

    Raises:
        InputError: a file cannot be read, a row is not of the form, or there are no rows.
    """
    form = form or detect_form(next(iter(files.values())))
    check_form(form)
    rows = _Rows(files, form)
    if not rows.splits:
        raise InputError(f"{', '.join(path.name for path in files.values())}: there are no rows. Pass a built dataset.")
    repeated_texts = rows.repeats_across(rows.questions)
    repeated_ids = rows.repeats_across(rows.ids)
    near = list(_near_duplicates(rows, threshold, dict(repeated_texts))) if threshold else []
    labels = {
        label: {split: rows.labels[split][label] for split in files}
        for label in sorted(set().union(*rows.labels.values()))
    }
    return SplitCheck(
        rows={split: rows.splits.count(split_index) for split_index, split in enumerate(SPLITS) if split in files},
        repeated_texts=len(repeated_texts),
        near_duplicates=len(near),
        repeated_ids=len(repeated_ids),
        labels=labels,
        rare_labels=tuple(
            (label, split, count)
            for label, by_split in labels.items()
            for split, count in by_split.items()
            if count < minimum_per_label
        ),
        leaks=_shown_leaks(rows, repeated_texts, near, repeated_ids),
        near_duplicate_threshold=threshold,
    )


class _Rows:
    """The rows of all splits, those that are held out furthest first: what stands first is what is leaked.

    Attributes:
        splits, lines: index in `SPLITS` and line of each row.
        questions, ids: digests of each row's normalised question, and of its id where the form has ids.
        labels: rows by split and label.
    """

    def __init__(self, files: Mapping[Split, Path], form: str) -> None:
        self._files, self._form = files, form
        self._instructions: str | None = None
        self.splits, self.lines = bytearray(), array("Q")
        self.questions, self.ids = DigestTable(), DigestTable()
        self.labels: dict[Split, Counter[str]] = {split: Counter() for split in files}
        for index, split in reversed(list(enumerate(SPLITS))):
            if split in files:
                for line, row in _read(files[split], form):
                    self._add(index, line, row)

    def _add(self, index: int, line: int, row: dict[str, Any]) -> None:
        question = FORMS[self._form].question(row)
        self.splits.append(index)
        self.lines.append(line)
        self.questions.add(normalized(question))
        self.labels[SPLITS[index]].update(FORMS[self._form].labels(row))
        if "id" in row:
            self.ids.add(row["id"])
        if self._form not in _FORMS_WITH_INSTRUCTIONS:
            return
        if self._instructions is None:
            # The last character ends the row.
            self._instructions = question[: question.rfind("\n", 0, len(question) - 1) + 1]
        elif not question.startswith(self._instructions):
            self._instructions = _shared_lines(self._instructions, question)

    def repeats_across(self, table: DigestTable) -> list[tuple[int, int]]:
        """List rows whose value also stands in a split that is held out further, with the first row that has it."""
        return [(later, first) for first, later in table.repeats() if self.splits[later] != self.splits[first]]

    def texts(self, split: Split) -> Iterator[tuple[int, str]]:
        """Yield position and text of the rows of a split, without the instructions that all rows share."""
        start = self.splits.index(SPLITS.index(split)) if SPLITS.index(split) in self.splits else 0
        for position, (_, row) in enumerate(_read(self._files[split], self._form), start=start):
            yield position, FORMS[self._form].question(row)[len(self._instructions or "") :]

    def places(self, positions: Iterable[int]) -> dict[int, Place]:
        """Say where rows stand; reads the files again for their ids."""
        found = {}
        wanted: dict[Split, dict[int, int]] = {split: {} for split in self._files}
        for position in positions:
            wanted[SPLITS[self.splits[position]]][self.lines[position]] = position
        for split, position_by_line in wanted.items():
            last = max(position_by_line, default=0)
            with opened(self._files[split]) as stream:
                for number, line in enumerate(islice(stream, last), start=1):
                    if number in position_by_line:
                        identity = str(msgspec.json.decode(line).get("id", ""))
                        found[position_by_line[number]] = Place(split, number, identity)
        return found


def _shown_leaks(
    rows: _Rows, texts: list[tuple[int, int]], near: list[tuple[int, float]], ids: list[tuple[int, int]]
) -> tuple[Leak, ...]:
    """Give the first leaks of each kind with their places."""
    texts, near, ids = texts[:_SHOWN_LEAKS], near[:_SHOWN_LEAKS], ids[:_SHOWN_LEAKS]
    places = rows.places({*chain(*texts), *chain(*ids), *(leak for leak, _ in near)})
    return (
        *(Leak("text", places[leak], places[original], 1.0) for leak, original in texts),
        *(Leak("near", places[leak], None, similarity) for leak, similarity in near),
        *(Leak("id", places[leak], places[original], 1.0) for leak, original in ids),
    )


def _near_duplicates(rows: _Rows, threshold: float, repeated: Mapping[int, int]) -> Iterator[tuple[int, float]]:
    """Yield training rows that nearly repeat a held-out one, with the similarity, but for those in `repeated`."""
    index = HeldOutIndex(threshold)
    for split in rows.labels:
        if split != "train":
            for batch in _batches(rows.texts(split)):
                index.add([text for _, text in batch])
    for batch in _batches(rows.texts("train")):
        for (position, _), similarity in zip(batch, index.nearest([text for _, text in batch]), strict=True):
            if similarity and position not in repeated:
                yield position, similarity


def _shared_lines(text: str, other: str) -> str:
    """Give the whole lines that both texts start with."""
    differ = next((place for place, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), len(other))
    return text[: text.rfind("\n", 0, differ) + 1]


def _read(path: Path, form: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file with their lines; stops at the first that is not of the form."""
    decode = msgspec.json.Decoder().decode
    labels = LabelChecker(None)
    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = decode(line)
                faults = faults_of(row, form, labels) if isinstance(row, dict) else [("", "no JSON object")]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                faults = [("", "not valid JSON")]
            if faults:
                raise InputError(
                    f"{path.name}:{number}: {faults[0][1]}. See all faults: tunelane data validate {path} --form {form}"
                )
            yield number, row


def _batches(texts: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    while batch := list(islice(texts, _BATCH_ROWS)):
        yield batch
