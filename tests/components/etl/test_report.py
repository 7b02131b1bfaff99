"""The page of a dataset: it says what became of every row, and nothing in the data can break it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.etl.dataset import DatasetSummary
from tunelane_components.etl.options import DatasetOptions, Fields
from tunelane_components.etl.report import folded, render, section
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.statistics import (
    ConfusableLabels,
    DatasetStatistics,
    LabelPair,
    Lengths,
    RejectedRow,
    SampleRow,
)
from tunelane_serving.contract import read

GOLDEN = Path(__file__).parent / "golden"
EMOTIONS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)
REASONS = (
    *("malformed_row", "bad_encoding", "empty_text", "missing_label", "unknown_label", "several_labels", "too_long"),
    *("too_many_tokens", "unsupported_image", "unknown_split", "conflicting_labels", "rare_label"),
)
HOSTILE = (
    "<script src='https://x.example/a.js'>alert(1)</script>",
    "</bdi></section></main>\"'&",
    "w" * 10_000,
    "שלום \u202egnp.exe",
    "😀🎉" * 200,
    "nul\0and\x1bescape",
    "{{ 7 * 7 }}{% raw %}",
    "a\u0301" * 500,
)

MakeSummary = Callable[..., DatasetSummary]
MakeStatistics = Callable[..., DatasetStatistics]
ReadPage = Callable[[str], Any]


@pytest.fixture
def make_summary() -> MakeSummary:
    """Give a factory of summaries that add up: of the given labels, with whatever is changed."""

    def make(labels: tuple[str, ...] = ("negative", "positive"), **changes: Any) -> DatasetSummary:
        counts = {name: 1_000 // (place + 1) for place, name in enumerate(labels)}
        by_split = {"train": counts, "valid": {n: c // 10 for n, c in counts.items()}, "test": dict.fromkeys(labels, 7)}
        rows_by_split = {split: sum(found.values()) for split, found in by_split.items()}
        options = changes.pop("options", {})
        made: dict[str, Any] = {
            "digest": "d" * 64,
            "taxonomy_digest": "e" * 64,
            "data_file": "tickets.csv",
            "data_sha256": "f" * 64,
            "options": DatasetOptions(
                **{
                    "fields": Fields(text="{title}: {body}", metadata="age"),
                    "taxonomy_given": True,
                    "rows": 0,
                    "minimum_rows": 50,
                    "valid_fraction": 0.1,
                    "test_fraction": 0.1,
                }
                | options
            ),
            "rows_kept": sum(rows_by_split.values()),
            "rows_merged": 0,
            "rows_cut": 0,
            "quarantined": {},
            "conflicting_texts": 0,
            "repeated_ids": 0,
            "labels": by_split,
            "sources": {"": sum(rows_by_split.values())},
            "files": {"train.jsonl": "a" * 64},
            "rows_by_split": rows_by_split,
            "inputs": (
                SourceFacts(
                    name="tickets.csv",
                    format="csv",
                    size_bytes=1_234_567,
                    sha256="b" * 64,
                    encoding="utf-8",
                    delimiter=";",
                    columns=("title", "body", "label"),
                ),
            ),
            "class_weights": {name: 1 / (place + 1) for place, name in enumerate(labels)},
            "input_digest": "c" * 64,
        } | changes
        dropped = ("rows_kept", "rows_merged", "rows_cut", "rows_leaked", "rows_near_duplicate", "rows_over_cap")
        rows_read = sum(made.get(name, 0) for name in dropped) + sum(made["quarantined"].values())
        return DatasetSummary(rows_read=rows_read, **made)

    return make


@pytest.fixture
def make_statistics() -> MakeStatistics:
    """Give a factory of statistics of the given labels, with whatever is changed."""

    def make(labels: tuple[str, ...] = ("negative", "positive"), **changes: Any) -> DatasetStatistics:
        made: dict[str, Any] = {
            "rows_measured": 200,
            "rows_kept": 2_000,
            "characters": Lengths(40, 88, 97, 400, 10, (5, 20, 40, 60, 40, 20, 5, 4, 3, 1), 2),
            "tokens": Lengths(9, 18, 19, 20, 2, (0, 10, 20, 50, 60, 30, 10, 10, 5, 5), 0),
            "max_length_tokens": 16,
            "rows_truncated": 10,
            "labels_per_row": (150, 50),
            "label_pairs": (),
            "confusable": (ConfusableLabels(labels[0], labels[1], 0.62, ("refund", "invoice")),),
            "samples": {name: (SampleRow(f"id-{name}", f"A text of {name}.", (name,)),) for name in labels},
            "rejected": {},
        } | changes
        return DatasetStatistics(**made)

    return make


def test_every_fate_is_said_and_they_add_up(make_summary: MakeSummary, read_page: ReadPage) -> None:
    summary = make_summary(
        rows_merged=41,
        rows_near_duplicate=42,
        rows_leaked=43,
        rows_cut=44,
        rows_over_cap=45,
        quarantined={reason: 50 + place for place, reason in enumerate(REASONS)},
    )
    text = read_page(section(summary)).text
    fates = text.partition("What became of the rows")[2].partition("Labels by split")[0]
    for said in (
        f"Kept {summary.rows_kept:,}",
        "Merged: same text and labels 41",
        "Near-duplicates of held-out rows 42",
        "Leaks into held-out splits 43",
        "Cut: more than were asked for 44",
        "Cut: more than max_per_label 45",
        "Quarantined: malformed row 50",
        "Quarantined: rare label 61",
        f"Rows read {summary.rows_read:,}",
    ):
        assert said in fates
    figures = [int(word.replace(",", "")) for word in fates.split() if word.replace(",", "").isdecimal()]
    assert sum(figures[:-1]) == figures[-1] == summary.rows_read


def test_what_did_not_happen_is_no_fate(make_summary: MakeSummary, read_page: ReadPage) -> None:
    text = read_page(section(make_summary())).text
    assert "Merged: same" not in text
    assert "Quarantined:" not in text
    assert "No row was quarantined." in text
    assert (
        "Exact duplicates merged same text but for case, white space and Unicode forms, and the same labels 0" in text
    )


def test_what_there_is_is_never_0_percent(make_summary: MakeSummary, read_page: ReadPage) -> None:
    summary = make_summary(rows_cut=1, rows_merged=9_999_999)
    text = read_page(section(summary)).text
    assert "Cut: more than were asked for 1 <0.1 %" in text
    assert "0.0 %" not in text.partition("Labels by split")[0]


def test_warnings_are_announced_and_said(make_summary: MakeSummary, read_page: ReadPage) -> None:
    said = ("Label 'grief' has 4 rows in valid.", "Half of the rows have no label.")
    text = read_page(section(make_summary(warnings=said))).text
    assert "Data ! 2 warnings" in text
    assert "Look at this before you train: " + " ".join(said) in text
    assert text.index("Look at this") < text.index("Labels by split")
    assert "warning" not in read_page(section(make_summary())).text


def test_labels_are_shown_by_split_the_largest_first(make_summary: MakeSummary, read_page: ReadPage) -> None:
    text = read_page(section(make_summary(EMOTIONS))).text
    assert "admiration train 1,000 · valid 100 · test 7 amusement train 500 · valid 50 · test 7" in text


def test_truncation_at_the_longest_input_leads_the_lengths(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    page = read_page(section(make_summary(), make_statistics()))
    assert "5.0 % of the texts are longer than 16 tokens : training cuts them there." in page.text
    assert "cut at 16" in page.text
    assert "Median 9 90 % 18 99 % 19 Longest 20" in page.text
    assert "2 texts (1.0 %) longer than 100 are not drawn." in page.text
    assert "Measured on 200 rows of 2,000, a uniform sample." in page.text
    # The bin in which the cut lies is drawn in two parts.
    drawn = dict.fromkeys(value for name, value in page.attributes if name == "class" and value in ("bar", "bar doubt"))
    assert list(drawn) == ["bar", "bar doubt"]


def test_a_limit_that_no_text_reaches_says_so(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    far = make_statistics(max_length_tokens=512, rows_truncated=0, rows_measured=2_000)
    page = read_page(section(make_summary(), far))
    assert "Every measured text has at most 512 tokens : training cuts none." in page.text
    assert "cut at" not in page.text
    assert "Measured on all 2,000 rows." in page.text


def test_what_was_not_asked_for_is_said_in_a_line(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    summary = make_summary(class_weights={}, options={"near_duplicate_threshold": 0.0})
    text = read_page(section(summary, make_statistics(tokens=None, max_length_tokens=0, confusable=()))).text
    for said in (
        "No tokenizer was given",
        "Nothing was masked: mask_personal_data is off.",
        "not looked for: near_duplicate_threshold is 0",
        "No two labels share words.",
        "None were computed.",
    ):
        assert said in text
    assert "In tokens" not in text
    no_limit = read_page(section(summary, make_statistics(max_length_tokens=0, rows_truncated=0))).text
    assert "What training cuts is not known: pass max_length_tokens." in no_limit
    assert "In tokens" in no_limit


def test_a_dataset_without_statistics_says_what_is_not_known(make_summary: MakeSummary, read_page: ReadPage) -> None:
    text = read_page(section(make_summary(quarantined={"empty_text": 3}))).text
    assert "This dataset was built without statistics" in text
    assert "Lengths" not in text
    assert "Rejected rows 3 rows" in text


def test_rejected_rows_stand_with_reason_place_and_values(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    row = RejectedRow("a.csv", 17, "'Joyy' is not in the taxonomy; the nearest is 'joy'", '{"label": "Joyy"}')
    more = (RejectedRow("b.csv", 4, "second", "{}"), RejectedRow("b.csv", 5, "third", "{}"))
    summary = make_summary(quarantined={"unknown_label": 1_200, "empty_text": 2, "from_the_future": 1})
    text = read_page(section(summary, make_statistics(rejected={"unknown_label": (row, *more)}))).text
    assert f"1,203 rows, {100 * 1_203 / summary.rows_read:.1f} % of those read" in text
    assert "unknown_label · The taxonomy has no such label. Correct the rows, or add the label or an alias" in text
    assert "a.csv :17 'Joyy' is not in the taxonomy; the nearest is 'joy' {\"label\": \"Joyy\"}" in text
    assert "2 more examples b.csv :4 second {}" in text
    assert "Empty text 2" in text
    assert "No example among the first quarantined rows." in text
    assert "From the future 1" in text


def test_duplicates_are_listed_with_what_each_means(make_summary: MakeSummary, read_page: ReadPage) -> None:
    summary = make_summary(
        rows_merged=11, rows_near_duplicate=12, rows_leaked=13, conflicting_texts=14, repeated_ids=15
    )
    text = read_page(section(summary)).text
    duplicates = text.partition("Duplicates ")[2].partition("Rejected rows")[0]
    assert [word for word in duplicates.split() if word.isdecimal()] == ["11", "80", "12", "13", "14", "15"]


def test_several_labels_on_a_row_are_shown_only_where_they_may_stand(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    counted = make_statistics(
        label_pairs=(LabelPair("joy", "love", 20),), labels_per_row=(100, 50, 20, 10, 5, 5, 4, 3, 2, 1)
    )
    text = read_page(section(make_summary(options={"multi_label": True}), counted)).text
    assert "Labels on a row 1 label 100 50.0 % 2 labels 50 25.0 %" in text
    assert "8 labels 3 1.5 % 9 and more 3 1.5 %" in text
    assert "joy + love 20 10.0 %" in text
    assert "Rows without the label for each row with it" in text
    assert "Labels on a row" not in read_page(section(make_summary(), counted)).text


def test_confusable_pairs_weights_masks_and_samples_are_shown(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    sample = SampleRow("k1", "Both at once.", ("negative", "positive"))
    summary = make_summary(options={"mask_personal_data": True}, personal_data={"email": 3, "phone": 40})
    text = read_page(section(summary, make_statistics(samples={"negative": (sample,), "positive": ()}))).text
    assert "negative ↔ positive 0.62 refund invoice" in text
    assert "every label counts alike. negative 1 positive 0.5" in text
    assert "Masked by placeholders before anything was written. Phone numbers 40 E-mail addresses 3" in text
    assert "negative 1,000 Both at once. positive positive 500 None among the measured training rows." in text
    masked = read_page(section(make_summary(options={"mask_personal_data": True}))).text
    assert "None was found, so nothing was masked." in masked


def test_the_files_read_are_shown_as_they_were_found(make_summary: MakeSummary, read_page: ReadPage) -> None:
    text = read_page(section(make_summary(ignored_files=("README.md",)))).text
    assert "tickets.csv csv · utf-8 · semicolon between fields · 1.2 MB title body label SHA-256 " + "b" * 64 in text
    assert "1 file ignored, no rows by its name README.md" in text
    for digest in "abcde":
        assert digest * 64 in text
    # Of one file that is its digest again.
    assert "f" * 64 not in text
    assert "f" * 64 in read_page(section(make_summary(inputs=()))).text


def test_options_are_shown_by_their_parameters_names(make_summary: MakeSummary, read_page: ReadPage) -> None:
    text = read_page(section(make_summary(options={"formats": "messages,gemini", "max_per_label": 12_000}))).text
    asked, _, default = text.partition("Options and digests")[2].partition("left as by default")
    for said in (
        "text_field {title}: {body}",
        "label_field label",
        "metadata_fields age",
        "taxonomy given",
        "valid_fraction 0.1",
        "formats messages,gemini",
        "max_per_label 12,000",
    ):
        assert said in asked
    for said in ("id_field (empty)", "label_separator (empty)", "multi_label false", "test_data not given"):
        assert said in default


@pytest.mark.parametrize("count", [2, 28, 500])
def test_many_labels_stay_readable(
    count: int,
    make_summary: MakeSummary,
    make_statistics: MakeStatistics,
    read_page: ReadPage,
    check_page: Callable[[str], None],
) -> None:
    labels = tuple(f"intent number {number} of a catalogue" for number in range(count))
    summary = make_summary(labels, quarantined=dict.fromkeys(REASONS, 3), options={"multi_label": True})
    html = render(summary, make_statistics(labels))
    text = read_page(html).text
    assert all(f"A text of {label}." in text for label in labels)
    assert ("480 more labels" in text) == (count == 500)
    check_page(html)


def test_a_list_that_is_a_little_too_long_is_not_folded() -> None:
    assert folded(range(30), 20, 100).folded == ()
    parts = folded(range(150), 20, 100)
    assert (len(parts.shown), len(parts.folded), parts.left_out) == (20, 80, 50)


def test_a_thousand_files_and_columns_stay_within_bounds(make_summary: MakeSummary, read_page: ReadPage) -> None:
    file = make_summary().inputs[0]
    files = tuple(msgspec.structs.replace(file, name=f"part-{number:04}.csv") for number in range(1_000))
    wide = msgspec.structs.replace(file, columns=tuple(f"column {number}" for number in range(1_000)))
    summary = make_summary(inputs=(wide, *files), ignored_files=tuple(f"{number}.md" for number in range(1_000)))
    html = section(summary)
    text = read_page(html).text
    assert "1,001 files" in text
    assert "and 960 more columns" in text
    assert "And 801 that are not on this page; dataset.json has them all." in text
    assert "and 800 more" in text
    assert len(html) < 300_000


def test_hostile_texts_are_text_and_fit(
    make_summary: MakeSummary,
    make_statistics: MakeStatistics,
    read_page: ReadPage,
    check_page: Callable[[str], None],
) -> None:
    file = SourceFacts(
        name=HOSTILE[2], format=HOSTILE[0], size_bytes=1, sha256="b" * 64, delimiter="\0", columns=HOSTILE
    )
    summary = make_summary(
        HOSTILE,
        data_file=HOSTILE[0] + HOSTILE[2],
        warnings=HOSTILE,
        sources=dict.fromkeys(HOSTILE, 3),
        inputs=(file, *(msgspec.structs.replace(file, name=name, format=name) for name in HOSTILE)),
        ignored_files=HOSTILE,
        personal_data=dict.fromkeys(HOSTILE, 2),
        quarantined=dict.fromkeys(HOSTILE, 4),
        options={"fields": Fields(text=HOSTILE[2], label=HOSTILE[1]), "mask_personal_data": True, "multi_label": True},
    )
    statistics = make_statistics(
        HOSTILE,
        label_pairs=tuple(LabelPair(name, name, 1) for name in HOSTILE),
        confusable=tuple(ConfusableLabels(name, name, 1.0, HOSTILE) for name in HOSTILE),
        samples={name: (SampleRow(name, name, HOSTILE),) * 3 for name in HOSTILE},
        rejected={name: (RejectedRow(name, 1, name, name),) * 3 for name in HOSTILE},
    )
    html = render(summary, statistics)
    page = read_page(html)
    assert not {"script", "img", "a"} & set(page.tags)
    assert "nul␀and␛escape" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\0" not in html
    check_page(html)


def test_half_a_surrogate_pair_does_not_keep_a_page_from_being_written(make_summary: MakeSummary) -> None:
    # The name of a file that is no UTF-8, as Python gives it.
    html = render(make_summary(data_file=b"caf\xe9.csv".decode("utf-8", "surrogateescape")))
    assert "caf\ufffd.csv".encode() in html.encode()


def test_the_page_asks_for_nothing(
    make_summary: MakeSummary, make_statistics: MakeStatistics, read_page: ReadPage
) -> None:
    page = read_page(render(make_summary(), make_statistics()))
    assert not {"src", "href", "id"} & {name for name, value in page.attributes if value != "data"}
    assert page.html.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


def test_golden_files_are_drawn(check_page: Callable[[str], None]) -> None:
    summary = read(GOLDEN / "dataset.v1.json", DatasetSummary)
    check_page(render(summary))
    check_page(render(summary, read(GOLDEN / "statistics.v1.json", DatasetStatistics)))


def test_the_same_dataset_gives_the_same_page(make_summary: MakeSummary, make_statistics: MakeStatistics) -> None:
    assert render(make_summary(), make_statistics()) == render(make_summary(), make_statistics())


def test_on_paper_examples_unfold(make_summary: MakeSummary, make_statistics: MakeStatistics, browser: Any) -> None:
    rows = tuple(RejectedRow("a.csv", line, f"fault on {line}", "{}") for line in (1, 2, 3))
    page = browser.new_page(color_scheme="dark")
    page.set_content(
        render(make_summary(quarantined={"empty_text": 9}), make_statistics(rejected={"empty_text": rows}))
    )
    assert not page.get_by_text("fault on 3").is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert page.get_by_text("fault on 3").is_visible()
    page.close()
