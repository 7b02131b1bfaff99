"""What a dataset looks like: lengths, confusable labels, sample rows. Measured on a sample of bounded size."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from tunelane_components.etl.dataset import QUARANTINE, STATISTICS, split_path
from tunelane_components.etl.record import Record
from tunelane_components.etl.split import Split
from tunelane_components.etl.tokens import count_tokens
from tunelane_serving.contract import decode, read
from tunelane_serving.errors import ContractError
from tunelane_serving.taxonomy import Taxonomy

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What is measured at most: enough for a 99th percentile, and counted in a second or two whatever the dataset's size.
_ROWS = 20_000
_BYTES = 16 << 20
_QUARANTINE_BYTES = 256 << 20
_MOST_BINS = 40
_CONFUSABLE_PAIRS = 10
_COMPARED_LABELS = 300
_LABEL_PAIRS = 10
_PAIRED_LABELS = 20
_SAMPLED_LABELS = 1_000
_SHOWN_ROWS = 3
_SHOWN_CHARACTERS = 200
_SHOWN_ROW_CHARACTERS = 400
_SHOWN_COLUMNS = 12


class Lengths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the measured texts are, in characters or in tokens.

    Attributes:
        p50: the shortest length that half of the rows do not exceed; p90 and p99 likewise.
        longest: of the measured rows.
        bin_width: the n-th bin counts rows longer than n times this, and not longer than n + 1 times.
        bins: rows by length.
        beyond: rows longer than the last bin.
    """

    p50: int
    p90: int
    p99: int
    longest: int
    bin_width: int
    bins: tuple[int, ...]
    beyond: int


class LabelPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two labels that stand together, and on how many of the measured rows."""

    first: str
    second: str
    rows: int


class ConfusableLabels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two labels whose texts are alike: how much, from 0 to 1, and the words that make most of it."""

    first: str
    second: str
    similarity: float
    shared_words: tuple[str, ...]


class SampleRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training row, its text shortened."""

    id: str
    text: str
    labels: tuple[str, ...]


class RejectedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quarantined row: where it stands, what is wrong with it, and its values as JSON, shortened."""

    file: str
    line: int
    detail: str
    row: str


class DatasetStatistics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a dataset looks like, measured on a uniform sample of its rows.

    Attributes:
        rows_measured: the size of the sample, over all splits.
        rows_kept: the size of the dataset.
        characters: lengths in characters.
        tokens: lengths in tokens, special tokens included; None where no tokenizer was given.
        max_length_tokens: where training cuts a text; 0 where that was not said.
        rows_truncated: measured rows that are longer than that.
        labels_per_row: measured rows with one label, with two, and so on.
        label_pairs: the labels that most often stand together, a label and its ancestors apart.
        confusable: the labels whose texts are most alike, of the 300 most frequent.
        samples: some training rows of each label.
        rejected: some quarantined rows of each reason.
    """

    rows_measured: int
    rows_kept: int
    characters: Lengths
    tokens: Lengths | None
    max_length_tokens: int
    rows_truncated: int
    labels_per_row: tuple[int, ...]
    label_pairs: tuple[LabelPair, ...]
    confusable: tuple[ConfusableLabels, ...]
    samples: dict[str, tuple[SampleRow, ...]]
    rejected: dict[str, tuple[RejectedRow, ...]]
    version: Literal[1] = 1


class _Quarantined(msgspec.Struct):
    """The part of a quarantine's line that is shown; the row stays as it stands until one is chosen."""

    file: str
    line: int
    reason: str
    detail: str
    row: msgspec.Raw


def measure(
    directory: Path,
    taxonomy: Taxonomy,
    rows_by_split: Mapping[Split, int],
    *,
    tokenizer: "Tokenizer | None" = None,
    max_length_tokens: int = 0,
) -> DatasetStatistics:
    """Measure a dataset's splits and its quarantine. The same files give the same statistics.

    The files of the splits are sorted by digest, so their heads are a uniform sample of them: at most 20,000 rows and
    16 MB are read, of each split in proportion to its rows. Of the quarantine the first 256 MB are read.

    Args:
        directory: holds train.jsonl, valid.jsonl, test.jsonl and quarantine.jsonl.
        taxonomy: the dataset's.
        rows_by_split: the rows of each split.
        tokenizer: counts tokens, as `tokens.load_tokenizer` gives it; None counts none.
        max_length_tokens: where training cuts a text; 0: nothing is said of it.

    Raises:
        ContractError: a file is missing or a line breaks the contract.
    """
    rows_kept = sum(rows_by_split.values())
    train: list[Record] = []
    others: list[Record] = []
    for split, rows in rows_by_split.items():
        share = rows / max(rows_kept, 1)
        head = _head(split_path(directory, split), math.ceil(share * _ROWS), math.ceil(share * _BYTES))
        (train if split == "train" else others).extend(head)
    records = train + others
    if not records:
        raise ContractError(f"{directory}: the splits hold no rows")
    tokens = count_tokens(tokenizer, [record.text for record in records]) if tokenizer else []
    labels_per_row = Counter(len(record.labels) for record in records)
    return DatasetStatistics(
        rows_measured=len(records),
        rows_kept=rows_kept,
        characters=_lengths([len(record.text) for record in records]),
        tokens=_lengths(tokens) if tokens else None,
        max_length_tokens=max_length_tokens,
        rows_truncated=sum(count > max_length_tokens for count in tokens) if max_length_tokens else 0,
        labels_per_row=tuple(labels_per_row[count] for count in range(1, max(labels_per_row) + 1)),
        label_pairs=_label_pairs(records, taxonomy),
        confusable=_confusable(records),
        samples=_samples(train, taxonomy),
        rejected=_rejected(directory / QUARANTINE),
    )


def read_statistics(directory: Path) -> DatasetStatistics | None:
    """Read a dataset's statistics; None where it was built without any.

    Raises:
        ContractError: they are broken.
    """
    path = directory / STATISTICS
    return read(path, DatasetStatistics) if path.exists() else None


def _head(path: Path, rows: int, max_bytes: int) -> Iterator[Record]:
    """Yield the first records of a split, at least one."""
    read_bytes = 0
    for number, line in islice(_lines(path), rows):
        yield decode(line, Record, f"{path}:{number}")
        read_bytes += len(line)
        if read_bytes >= max_bytes:
            return


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    with stream:
        yield from enumerate(stream, start=1)


def _lengths(lengths: Sequence[int]) -> Lengths:
    ordered = sorted(lengths)
    p50, p90, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.99))
    # A few far longer texts would press all others into the first bin.
    shown = ordered[-1] if ordered[-1] <= 1.5 * p99 else p99
    width = _round_width(shown)
    bins = [0] * max(math.ceil(shown / width), 1)
    beyond = 0
    for length in ordered:
        place = max(length - 1, 0) // width
        if place < len(bins):
            bins[place] += 1
        else:
            beyond += 1
    return Lengths(p50, p90, p99, ordered[-1], width, tuple(bins), beyond)


def _round_width(shown: int) -> int:
    """Give the smallest width of the form {1, 2, 5} · 10ⁿ of which no more than the allowed bins cover `shown`."""
    magnitude = 1
    while True:
        for step in (1, 2, 5):
            if step * magnitude * _MOST_BINS >= shown:
                return step * magnitude
        magnitude *= 10


def _label_pairs(records: Iterable[Record], taxonomy: Taxonomy) -> tuple[LabelPair, ...]:
    """Count the labels that stand together; of a row with very many, the first ones."""
    counts = Counter(pair for record in records for pair in combinations(sorted(record.labels[:_PAIRED_LABELS]), 2))
    apart = [(pair, rows) for pair, rows in counts.items() if not _are_kin(*pair, taxonomy)]
    apart.sort(key=lambda item: (-item[1], item[0]))
    return tuple(LabelPair(first, second, rows) for (first, second), rows in apart[:_LABEL_PAIRS])


def _confusable(records: Sequence[Record]) -> tuple[ConfusableLabels, ...]:
    """Compare the most frequent labels: what it takes grows with the square of their number."""
    # It takes numpy, which those who only read statistics can do without.
    from tunelane_components.etl.confusable import confusable_pairs

    frequent = Counter(label for record in records for label in record.labels)
    compared = set(sorted(frequent, key=lambda label: (-frequent[label], label))[:_COMPARED_LABELS])
    labels = [[label for label in record.labels if label in compared][:_PAIRED_LABELS] for record in records]
    found = confusable_pairs([record.text for record in records], labels, pairs=_CONFUSABLE_PAIRS)
    return tuple(ConfusableLabels(pair.first, pair.second, pair.similarity, pair.shared_words) for pair in found)


def _are_kin(first: str, second: str, taxonomy: Taxonomy) -> bool:
    """Say whether one label stands above the other: then they always stand together."""
    lines = taxonomy.with_ancestors
    return bool(lines) and (first in lines.get(second, ()) or second in lines.get(first, ()))


def _samples(train: Iterable[Record], taxonomy: Taxonomy) -> dict[str, tuple[SampleRow, ...]]:
    """Take the first rows of each label: sorted by digest, so as good as drawn by lot."""
    found: dict[str, list[SampleRow]] = {name: [] for name in taxonomy.names[:_SAMPLED_LABELS]}
    for record in train:
        wanting = [name for name in record.labels if name in found and len(found[name]) < _SHOWN_ROWS]
        if wanting:
            row = SampleRow(_shortened(record.id), _shortened(record.text), record.labels[:_PAIRED_LABELS])
            for name in wanting:
                found[name].append(row)
    return {name: tuple(rows) for name, rows in found.items()}


def _rejected(path: Path) -> dict[str, tuple[RejectedRow, ...]]:
    """Take the first quarantined rows of each reason."""
    found: dict[str, list[RejectedRow]] = {}
    read_bytes = 0
    for number, line in _lines(path):
        row = decode(line, _Quarantined, f"{path}:{number}")
        examples = found.setdefault(row.reason, [])
        if len(examples) < _SHOWN_ROWS:
            examples.append(RejectedRow(row.file, row.line, _shortened(row.detail), _shown_row(bytes(row.row))))
        read_bytes += len(line)
        if read_bytes >= _QUARANTINE_BYTES:
            break
    return {reason: tuple(examples) for reason, examples in found.items()}


def _shown_row(row: bytes) -> str:
    """Write a row on one line: its values as JSON, each of them shortened; as it stands where it could not be read."""
    if not row.startswith(b"{"):
        return _shown_value(row)
    # Values stay as they stand, however deep they are nested.
    values = msgspec.json.decode(row, type=dict[str, msgspec.Raw])
    shown = []
    for column, raw in islice(values.items(), _SHOWN_COLUMNS):
        value = bytes(raw)
        text = _quoted(_shown_value(value)) if _is_text(value) else _shown_value(value)
        shown.append(f"{_quoted(_shortened(column))}: {text}")
    more = ["…"] if len(values) > _SHOWN_COLUMNS else []
    return _shortened(f"{{{', '.join(shown + more)}}}", _SHOWN_ROW_CHARACTERS)


def _shown_value(value: bytes) -> str:
    """Give a text, or another JSON value as it is written."""
    return _shortened(msgspec.json.decode(value, type=str) if _is_text(value) else value.decode())


def _is_text(value: bytes) -> bool:
    return value.startswith(b'"')


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _shortened(text: str, most: int = _SHOWN_CHARACTERS) -> str:
    """Fold white space, and cut what is longer than `most` characters."""
    # White space alone may fill a text, so the cut comes first, with room to fold.
    folded = " ".join(text[: 4 * most].split())
    return folded if len(folded) <= most and len(text) <= 4 * most else f"{folded[: most - 1]}…"
