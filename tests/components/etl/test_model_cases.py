"""The two model cases under tests/data, from the exports as they come to datasets: what becomes of every row."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import DatasetSummary, read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.etl.split import SPLITS
from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_serving.contract import read_lines
from tunelane_serving.taxonomy import Taxonomy

_ROOT = Path(__file__).parents[3]
_CASES = {
    "csv": ("tests/data/childcare/observations-2024.csv", "tests/data/childcare/csv.yaml"),
    "jsonl": ("tests/data/childcare/observations-2025.jsonl", "tests/data/childcare/jsonl.yaml"),
    "journal": ("tests/data/journal/entries.jsonl", "tests/data/journal/journal.yaml"),
}

# Written by hand from the files: rows in all, and the fate of each that is not kept as it is.
_ROWS = {"csv": 30, "jsonl": 28, "journal": 70}
_QUARANTINED = {
    "csv": [
        (31, "empty_text", "O-127"),
        (32, "unknown_label", "O-128"),  # speeking
    ],
    "jsonl": [
        (27, "unsupported_image", "2025-027"),  # .tiff
        (28, "missing_label", "2025-028"),  # an empty list of domains
    ],
    "journal": [],
}
_MERGED = {"csv": {"O-129": "O-107"}, "jsonl": {}, "journal": {}}  # the same note with other white space
_NEAR_DUPLICATES = {
    "csv": {"O-130": "O-117"},
    "jsonl": {},
    "journal": {},
}  # but for its last word


class Built(msgspec.Struct, frozen=True):
    directory: Path
    summary: DatasetSummary
    records: dict[str, Record]
    split_by_id: dict[str, str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Give the dataset of a case, built once."""
    made: dict[str, Built] = {}

    def build(case: str) -> Built:
        if case not in made:
            directory = tmp_path_factory.mktemp("cases") / case
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(_ROOT)
                data, config = _CASES[case]
                summary = build_dataset(data, directory, formats="gemini", **_options(config)).summary
            by_split = {split: list(read_split(directory, split)) for split in SPLITS}
            records = {record.id: record for found in by_split.values() for record in found}
            splits = {record.id: split for split, found in by_split.items() for record in found}
            made[case] = Built(directory, summary, records, splits)
        return made[case]

    return build


def _options(config: str) -> dict[str, Any]:
    options = yaml.safe_load((_ROOT / config).read_text(encoding="utf-8"))
    assert isinstance(options, dict)
    return options


def _quarantine(directory: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (directory / "quarantine.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("case", _CASES)
def test_every_row_has_the_fate_that_was_written_down(case: str, built: Callable[[str], Built]) -> None:
    summary, records = built(case).summary, built(case).records
    merged, near = _MERGED[case], _NEAR_DUPLICATES[case]
    assert summary.rows_read == _ROWS[case]
    assert summary.quarantined == Counter(reason for _, reason, _ in _QUARANTINED[case])
    assert (summary.rows_merged, summary.rows_near_duplicate) == (len(merged), len(near))
    assert (summary.rows_cut, summary.rows_leaked, summary.rows_over_cap) == (0, 0, 0)
    assert summary.rows_kept == len(records) == _ROWS[case] - len(_QUARANTINED[case]) - len(merged) - len(near)
    for other, first in merged.items():
        assert (other in records) != (first in records)
    for near_id, held_out in near.items():
        assert near_id not in records
        assert built(case).split_by_id[held_out] != "train"


@pytest.mark.parametrize("case", _CASES)
def test_the_quarantine_has_the_bad_rows_with_line_and_reason(case: str, built: Callable[[str], Built]) -> None:
    found = _quarantine(built(case).directory)
    data = Path(_CASES[case][0]).name
    id_field = built(case).summary.options.fields.id
    assert sorted((row["line"], row["reason"], row["row"][id_field]) for row in found) == _QUARANTINED[case]
    assert all(Path(row["file"]).name == data for row in found)


def test_a_misspelt_domain_comes_with_the_nearest_one(built: Callable[[str], Built]) -> None:
    (row,) = [row for row in _quarantine(built("csv").directory) if row["reason"] == "unknown_label"]
    assert "'speeking'" in row["detail"] and "'speaking'" in row["detail"]


def test_a_spreadsheet_s_note_keeps_its_lines_and_its_quotes(built: Callable[[str], Built]) -> None:
    records = built("csv").records
    assert records["O-104"].text.splitlines()[1].startswith("When it fell they talked about why")
    assert 'said "I am sad" before' in records["O-105"].text
    assert records["O-104"].image_uri == "gs://example-centre/photos/2024/o-104.png"
    assert records["O-104"].meta == {"age_group": "5", "date": "2024-01-22", "source": "Owls"}
    assert records["O-105"].image_uri == ""
    assert built("csv").summary.sources.keys() == {"Owls", "Robins", "Wrens"}


def test_an_app_s_nested_observation_becomes_a_flat_record(built: Callable[[str], Built]) -> None:
    record = built("jsonl").records["2025-009"]
    assert record == Record(
        id="2025-009",
        text="The hill: Rolled down the grassy hill, climbed back up on hands and feet, and did it nine times.",
        labels=("physical", "large movements"),
        image_uri="gs://example-centre/photos/2025/hill.webp",
        meta={"age_group": "1-2", "date": "2025-02-25"},
    )


@pytest.mark.parametrize(
    ("case", "record_id", "labels"),
    [
        ("csv", "O-103", {"thinking", "numbers"}),  # counting
        ("csv", "O-101", {"language", "speaking", "early reading"}),
        ("csv", "O-122", {"physical", "large movements", "thinking", "numbers"}),  # gross motor
        ("jsonl", "2025-017", {"thinking", "shapes and patterns", "language"}),  # language and communication
        ("journal", "j-012", {"disappointment"}),  # let down
        ("journal", "j-018", {"surprise", "joy"}),  # surprised, happy
    ],
)
def test_an_alias_counts_as_its_label_and_a_sub_domain_brings_its_domain(
    case: str, record_id: str, labels: set[str], built: Callable[[str], Built]
) -> None:
    assert set(built(case).records[record_id].labels) == labels


@pytest.mark.parametrize("case", ["csv", "jsonl"])
def test_no_record_has_a_sub_domain_without_its_domain(case: str, built: Callable[[str], Built]) -> None:
    parents = {label.name: label.parent for label in read_taxonomy(built(case).directory).labels}
    for record in built(case).records.values():
        assert {parents[label] for label in record.labels if parents[label]} <= set(record.labels)


def test_nothing_personal_is_left_in_the_journal_s_dataset(built: Callable[[str], Built]) -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in sorted(built("journal").directory.rglob("*.jsonl"))
    ) + "".join(path.read_text(encoding="utf-8") for path in sorted(built("journal").directory.glob("*.json")))
    for leak in ("choir@", "box.office", "river_walker", "night_baker", "7946", "555-0143", "example.com"):
        assert leak not in text
    assert built("journal").records["j-046"].text.startswith("Wrote to [EMAIL] to say that I am sorry")
    assert built("journal").summary.personal_data == {"email": 2, "name": 2, "phone": 3, "url": 1}


def test_a_photo_stands_before_the_note_in_the_gemini_format(built: Callable[[str], Built]) -> None:
    lines = [
        msgspec.json.decode(line)
        for split in SPLITS
        for line in (built("csv").directory / "gemini" / f"{split}.jsonl").read_bytes().splitlines()
    ]
    photos = [part for line in lines for part in line["contents"][0]["parts"] if "fileData" in part]
    assert len(lines) == built("csv").summary.rows_kept
    assert len(photos) == sum(bool(record.image_uri) for record in built("csv").records.values())
    assert {"fileData": {"mimeType": "image/webp", "fileUri": "gs://example-centre/photos/2024/o-111.webp"}} in photos


def _without_children(taxonomy: Taxonomy) -> list[str]:
    parents = {label.parent for label in taxonomy.labels}
    return [name for name in taxonomy.names if name not in parents]


@pytest.mark.parametrize(("folder", "cases"), [("childcare", ["csv", "jsonl"]), ("journal", ["journal"])])
def test_the_samples_have_every_leaf_label_at_least_twice(
    folder: str, cases: list[str], built: Callable[[str], Built]
) -> None:
    taxonomy = load_taxonomy(_ROOT / "tests" / "data" / folder / "taxonomy.yaml")
    counts = Counter(label for case in cases for record in built(case).records.values() for label in record.labels)
    assert [name for name in _without_children(taxonomy) if counts[name] < 2] == []
    assert all(label.description for label in taxonomy.labels)


def test_records_are_written_as_the_contract_has_them(built: Callable[[str], Built]) -> None:
    for case in _CASES:
        for split in SPLITS:
            assert list(read_lines(built(case).directory / f"{split}.jsonl", Record))
