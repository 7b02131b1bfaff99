import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl.checking.split_check import Leak, Place, check_splits, split_files
from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers import RENDERERS, render_splits
from tunelane_components.etl.renderers.prompts import load_prompt
from tunelane_serving.contract import write_lines
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Label, Taxonomy

TOPICS = Taxonomy(labels=(Label("billing"), Label("delivery"), Label("praise")))
CLEAN = {
    "train": ["The invoice is wrong again.", "My parcel never arrived.", "What a lovely shop you have!"],
    "valid": ["Nobody answers the phone when I ask about the bill.", "The courier left it in the rain."],
    "test": ["Five stars, I will come back.", "You charged my card twice in March."],
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a dataset of texts by split, with other rows in place of some."""

    def written(**changed: list[str]) -> Path:
        for split, texts in (CLEAN | changed).items():
            names = [TOPICS.names[number % 3] for number in range(len(texts))]
            records = [
                Record(id=f"{split}-{number}", text=text, labels=(name,))
                for number, (text, name) in enumerate(zip(texts, names, strict=True))
            ]
            write_lines(tmp_path / f"{split}.jsonl", records)
        return tmp_path

    return written


def test_splits_that_share_nothing_are_clean(write: Write) -> None:
    found = check_splits(split_files(write()))
    assert found.is_clean
    assert found.leaks == ()
    assert found.rows == {"train": 3, "valid": 2, "test": 2}
    assert found.fractions == {"train": 3 / 7, "valid": 2 / 7, "test": 2 / 7}


def test_a_text_in_two_splits_is_named_with_both_places(write: Write) -> None:
    train = [*CLEAN["train"], "  five STARS, I will come\tback.", CLEAN["valid"][0]]
    found = check_splits(split_files(write(train=train, valid=[*CLEAN["valid"], CLEAN["test"][1]])))
    assert not found.is_clean
    assert (found.repeated_texts, found.near_duplicates, found.repeated_ids) == (3, 0, 0)
    assert found.leaks == (
        Leak("text", Place("valid", 3, "valid-2"), Place("test", 2, "test-1"), 1.0),
        Leak("text", Place("train", 4, "train-3"), Place("test", 1, "test-0"), 1.0),
        Leak("text", Place("train", 5, "train-4"), Place("valid", 1, "valid-0"), 1.0),
    )


def test_a_text_twice_in_one_split_is_no_leak(write: Write) -> None:
    assert check_splits(split_files(write(train=[*CLEAN["train"], CLEAN["train"][0]]))).is_clean


def test_a_training_row_that_nearly_repeats_a_held_out_one_leaks(write: Write) -> None:
    train = [*CLEAN["train"], "Nobody answers the phone when I ask about the bills.", CLEAN["test"][0]]
    directory = write(train=train)
    found = check_splits(split_files(directory))
    assert not found.is_clean
    assert (found.repeated_texts, found.near_duplicates) == (1, 1)
    [near] = [leak for leak in found.leaks if leak.kind == "near"]
    assert (near.place, near.original) == (Place("train", 4, "train-3"), None)
    assert 0.8 <= near.similarity < 1
    assert check_splits(split_files(directory), threshold=0).near_duplicates == 0
    assert check_splits(split_files(directory), threshold=0.99).near_duplicates == 0


def test_an_id_in_two_splits_is_a_leak(write: Write) -> None:
    directory = write()
    rows = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
    rows[2]["id"] = "test-1"
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    found = check_splits(split_files(directory))
    assert (found.repeated_ids, found.is_clean) == (1, False)
    # Blank lines count as lines.
    assert found.leaks == (Leak("id", Place("train", 5, "test-1"), Place("test", 2, "test-1"), 1.0),)


def test_labels_that_a_split_lacks_are_counted_and_no_leak(write: Write) -> None:
    found = check_splits(split_files(write()), minimum_per_label=1)
    assert found.labels["praise"] == {"train": 1, "valid": 0, "test": 0}
    assert found.rare_labels == (("praise", "valid", 0), ("praise", "test", 0))
    assert found.is_clean
    assert len(check_splits(split_files(write()), minimum_per_label=2).rare_labels) == 9


@pytest.mark.parametrize("form", RENDERERS)
def test_every_form_is_checked_for_the_same_leaks(write: Write, form: str) -> None:
    # Every prompt holds the same instructions, which must not make every two rows near duplicates.
    train = [*CLEAN["train"], "Nobody answers the phone when I ask about the bills.", CLEAN["test"][0]]
    directory = write(train=train)
    render_splits(directory, form, TOPICS, load_prompt(), multi_label=False)
    found = check_splits(split_files(directory / form))
    assert (found.repeated_texts, found.near_duplicates, found.repeated_ids) == (1, 1, 0)
    assert {(leak.kind, leak.place.line) for leak in found.leaks} == {("text", 5), ("near", 4)}
    assert found.rows == {"train": 5, "valid": 2, "test": 2}


def test_only_the_first_leaks_are_shown(write: Write) -> None:
    texts = [f"Ticket {number} about something else entirely: {number**5}" for number in range(15)]
    found = check_splits(split_files(write(train=texts, test=texts)), threshold=0)
    assert (found.repeated_texts, len(found.leaks)) == (15, 10)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            '{"id":"a","text":"x","labels":["y"]}\n{"id":"b"\n',
            "valid.jsonl:2: not valid JSON. See all faults: tunelane",
        ),
        (
            '{"id":"a","text":"","labels":["y"]}\n',
            "valid.jsonl:1: text is empty. See all faults: tunelane data validate",
        ),
        ("[]\n", "valid.jsonl:1: no JSON object."),
    ],
)
def test_a_row_that_is_not_of_the_form_stops(write: Write, content: str, complaint: str) -> None:
    directory = write()
    (directory / "valid.jsonl").write_text(content)
    with pytest.raises(InputError) as caught:
        check_splits(split_files(directory))
    assert str(caught.value).startswith(complaint)


def test_files_of_any_name_may_be_given(tmp_path: Path) -> None:
    files: dict[Any, Path] = {"train": tmp_path / "a.jsonl", "test": tmp_path / "b.jsonl"}
    for path in files.values():
        path.write_text('{"prompt": "Well?\\n", "completion": "yes"}\n')
    assert check_splits(files, form="prompt_completion").repeated_texts == 1


def test_what_is_no_dataset_is_named(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InputError, match=r"is no dataset\. Pass a directory with train\.jsonl, valid\.jsonl and test"):
        split_files(tmp_path)
    directory = write(train=[], valid=[], test=[])
    with pytest.raises(InputError, match=r"^train\.jsonl, valid\.jsonl, test\.jsonl: there are no rows\."):
        check_splits(split_files(directory))
