"""The dataset for people: what became of the rows, what the texts look like, and where they come from."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from tunelane_components.etl.dataset import DatasetSummary
from tunelane_components.etl.options import Fields
from tunelane_components.etl.split import SPLITS, Split
from tunelane_components.etl.statistics import DatasetStatistics, Lengths, RejectedRow, SampleRow
from tunelane_components.report.charts import Chart, chart
from tunelane_components.report.page import page
from tunelane_components.report.templating import fill

T = TypeVar("T")

# A list that is longer is shown so far, and unfolds.
_SHOWN_LABELS = 20
_SHOWN_WEIGHTS = 10
_SHOWN_SOURCES = 12
_SHOWN_FILES = 3
_OPEN_SAMPLES = 6
# What a page holds at most; dataset.json has the rest.
_LISTED_LABELS = 2_000
_LISTED = 200
_LISTED_WARNINGS = 30
_SHOWN_COLUMNS = 40
_TITLE_CHARACTERS = 200
# A longest input that is far off would press the bars together.
_FARTHEST_MARK = 2

# What is shown for characters that have no form of their own, and would break an HTML document or a UTF-8 file.
_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}
_VISIBLE |= {0x7F: 0x2421} | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)

_REASONS = {
    "malformed_row": ("Malformed row", "The row breaks the form of its file, or a field holds what is no text."),
    "bad_encoding": (
        "Bad encoding",
        "Bytes that are no characters in the file's encoding. Convert it or pass encoding.",
    ),
    "empty_text": ("Empty text", "There is nothing to classify."),
    "missing_label": ("Missing label", "The row says nothing of its label."),
    "unknown_label": (
        "Unknown label",
        "The taxonomy has no such label. Correct the rows, or add the label or an alias to the taxonomy.",
    ),
    "several_labels": (
        "Several labels",
        "One label a row was expected. Pass multi_label=true where several may stand.",
    ),
    "too_long": ("Too long", "More characters than max_characters allows."),
    "too_many_tokens": ("Too many tokens", "More tokens than max_tokens allows."),
    "unsupported_image": ("Unsupported image", "The image is of a kind that no trainer takes."),
    "unknown_split": ("Unknown split", "The split is neither train nor valid nor test."),
    "conflicting_labels": (
        "Conflicting labels",
        "The same text stands under different labels, and nothing says which is right. Decide, and correct the rows.",
    ),
    "rare_label": ("Rare label", "The label has fewer rows than min_per_label asks for."),
}
# Of those parts of a row that are not called NAME_field.
_PARAMETERS = {"label_separator": "label_separator", "metadata": "metadata_fields"}
_KINDS_OF_DATA = {"email": "E-mail addresses", "phone": "Phone numbers", "url": "URLs", "name": "@names"}
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar", " ": "space"}


class Fate(NamedTuple):
    """What became of some of the rows; `kind` is the colour of its bar."""

    name: str
    rows: int
    kind: str


class LabelRow(NamedTuple):
    """A label's rows and its shares of the splits, in their order."""

    name: str
    counts: list[int]
    shares: list[float]


class Folded(NamedTuple, Generic[T]):
    """A list of which a part is shown, a part unfolds, and of the rest only the number is said."""

    shown: Sequence[T]
    folded: Sequence[T]
    left_out: int


class Histogram(NamedTuple):
    """A drawing of lengths: the paths of the bars up to the longest input and beyond, and where that is marked."""

    unit: str
    lengths: Lengths
    chart: Chart
    kept: str
    cut: str
    mark: float | None


class Rejection(NamedTuple):
    """The quarantined rows of one reason."""

    code: str
    title: str
    advice: str
    rows: int
    examples: Sequence[RejectedRow]


class Sampled(NamedTuple):
    """Some training rows of a label, of which there are `rows`."""

    label: str
    rows: int
    examples: Sequence[SampleRow]


def section(summary: DatasetSummary, statistics: DatasetStatistics | None = None) -> str:
    """Show a dataset as an HTML fragment.

    Args:
        summary: what was read, and what became of it.
        statistics: what the texts look like; None where a dataset was built without, which is then said.
    """
    splits = [split for split in SPLITS if split in summary.labels]
    labels = _labels(summary, splits)
    asked, default = _options(summary)
    return _visible(
        fill(
            "data.html",
            summary=summary,
            statistics=statistics,
            rows={split: summary.rows_of(split) for split in splits},
            share=_share,
            size=_size,
            fates=_fates(summary),
            listed_warnings=_LISTED_WARNINGS,
            labels=folded(labels, _SHOWN_LABELS, _LISTED_LABELS),
            largest_share=max((share for label in labels for share in label.shares), default=0) or 1,
            sources=folded(_by_count(summary.sources), _SHOWN_SOURCES, _LISTED),
            histograms=_histograms(statistics) if statistics else [],
            rejections=_rejections(summary, statistics),
            weights=folded(_by_count(summary.class_weights), _SHOWN_WEIGHTS, _LISTED_LABELS),
            personal_data=_by_count(summary.personal_data),
            samples=folded(_samples(labels, summary.labels.get("train", {}), statistics), _SHOWN_LABELS, _LISTED_LABELS)
            if statistics
            else None,
            open_samples=len(labels) <= _OPEN_SAMPLES,
            inputs=folded(summary.inputs, _SHOWN_FILES, _LISTED),
            delimiters=_DELIMITERS,
            kinds_of_data=_KINDS_OF_DATA,
            shown_columns=_SHOWN_COLUMNS,
            options_asked=asked,
            options_default=default,
        )
    )


def render(summary: DatasetSummary, statistics: DatasetStatistics | None = None) -> str:
    """Show a dataset as a whole page, which loads nothing and runs nothing."""
    return _visible(page(summary.data_file[:_TITLE_CHARACTERS], section(summary, statistics)))


def folded(items: Sequence[T], shown: int, most: int) -> Folded[T]:
    """Show the first of `items` and fold the others, up to `most` in all; a few more than `shown` need no folding."""
    if len(items) <= shown + shown // 2:
        return Folded(items, (), 0)
    return Folded(items[:shown], items[shown:most], max(len(items) - most, 0))


def _visible(html: str) -> str:
    return html.translate(_VISIBLE)


def _share(part: float, whole: float) -> str:
    """Write a share in percent; what is there is never 0.0 %, and what is not all never 100.0 %."""
    percent = 100 * part / (whole or 1)
    if 0 < percent < 0.05:
        return "<0.1 %"
    return ">99.9 %" if 99.95 <= percent < 100 else f"{percent:.1f} %"


def _fates(summary: DatasetSummary) -> list[Fate]:
    """Say what became of the rows that were read, in counts that add up to them."""
    left_out = [
        Fate("Merged: same text and labels", summary.rows_merged, "third"),
        Fate("Near-duplicates of held-out rows", summary.rows_near_duplicate, "third"),
        Fate("Leaks into held-out splits", summary.rows_leaked, "third"),
        Fate("Cut: more than were asked for", summary.rows_cut, "third"),
        Fate("Cut: more than max_per_label", summary.rows_over_cap, "third"),
    ]
    quarantined = [
        Fate(f"Quarantined: {_title(code).lower()}", n, "doubt") for code, n in _by_count(summary.quarantined)
    ]
    return [Fate("Kept", summary.rows_kept, ""), *(fate for fate in left_out + quarantined if fate.rows)]


def _labels(summary: DatasetSummary, splits: Sequence[Split]) -> list[LabelRow]:
    """List the labels, the largest first: the file of a summary keeps no order of labels."""
    names = {name for split in splits for name in summary.labels[split]}
    counts = {name: [summary.labels[split].get(name, 0) for split in splits] for name in names}
    rows = [summary.rows_of(split) or 1 for split in splits]
    return [
        LabelRow(name, counts[name], [count / of for count, of in zip(counts[name], rows, strict=True)])
        for name in sorted(names, key=lambda name: (-sum(counts[name]), name))
    ]


def _by_count(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _title(code: str) -> str:
    return _REASONS[code][0] if code in _REASONS else code.replace("_", " ").capitalize()


def _rejections(summary: DatasetSummary, statistics: DatasetStatistics | None) -> list[Rejection]:
    examples = statistics.rejected if statistics else {}
    return [
        Rejection(code, _title(code), _REASONS.get(code, ("", ""))[1], rows, examples.get(code, ()))
        for code, rows in _by_count(summary.quarantined)
    ]


def _samples(labels: Sequence[LabelRow], rows: Mapping[str, int], statistics: DatasetStatistics) -> list[Sampled]:
    found = statistics.samples
    return [Sampled(label.name, rows.get(label.name, 0), found[label.name]) for label in labels if label.name in found]


def _histograms(statistics: DatasetStatistics) -> list[Histogram]:
    drawn = [_histogram("characters", statistics.characters, statistics.rows_measured, 0)]
    if statistics.tokens:
        drawn.insert(0, _histogram("tokens", statistics.tokens, statistics.rows_measured, statistics.max_length_tokens))
    return drawn


def _histogram(unit: str, lengths: Lengths, rows: int, limit: int) -> Histogram:
    """Draw the bins as shares of the rows; what lies beyond `limit` is a drawing of its own."""
    end = len(lengths.bins) * lengths.bin_width
    is_marked = 0 < limit <= _FARTHEST_MARK * end
    percent = [100 * count / rows for count in lengths.bins]
    # Above the bars is room for a word.
    drawing = chart((0, max(end, limit) if is_marked else end), (0, 1.15 * (max(percent) or 1)), whole_x=True)
    bars = [
        (place * lengths.bin_width, (place + 1) * lengths.bin_width, share)
        for place, share in enumerate(percent)
        if share
    ]
    cut_from = limit if is_marked else end
    kept = [(left, min(right, cut_from), share) for left, right, share in bars if left < cut_from]
    cut = [(max(left, cut_from), right, share) for left, right, share in bars if right > cut_from]
    mark = drawing.x(limit) if is_marked else None
    return Histogram(unit, lengths, drawing, drawing.bars(kept), drawing.bars(cut), mark)


def _options(summary: DatasetSummary) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Give the options by their parameters' names: those that were set, and those left as they are by default."""
    asked: list[tuple[str, str]] = []
    default: list[tuple[str, str]] = []
    fields = summary.options.fields
    for field in msgspec.structs.fields(Fields):
        value = getattr(fields, field.name)
        # Whether set or not, nobody understands a dataset without these.
        is_asked = field.name in ("text", "label") or value != field.default
        name = _PARAMETERS.get(field.name, f"{field.name}_field")
        (asked if is_asked else default).append((name, _in_words(value)))
    for field in msgspec.structs.fields(summary.options):
        value = getattr(summary.options, field.name)
        if field.name.endswith("_given"):
            item = (field.name.removesuffix("_given"), "given" if value else "not given")
            (asked if value else default).append(item)
        elif not isinstance(value, Fields):
            (default if value == field.default else asked).append((field.name, _in_words(value)))
    return asked, default


def _size(size_bytes: int) -> str:
    """Write a file's size as people do."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} bytes"


def _in_words(value: object) -> str:
    """Write an option as one would set it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    return "(empty)" if value == "" else str(value)
