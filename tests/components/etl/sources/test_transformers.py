import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.find import SourceFile, find_sources
from tunelane_components.etl.sources.reading import SourceReader
from tunelane_components.etl.sources.transformers import load_transformer, transformer_names

Read = Callable[..., Any]

MODULE = """
import datetime, types
from tunelane_components.etl.record import Record

NUMBER = 7

def diary(data):
    for number in range(3):
        yield Record(id=f"{data}-{number}", text=f"day {number}", labels=("joy",), meta={"source": "diary"})

def mixed(data):
    yield {"id": "1", "text": "fine", "labels": ["joy"]}
    yield types.MappingProxyType({"id": 2, "text": "", "when": datetime.date(2024, 1, 2)})
    yield ["no", "record"]
    yield {"id": "3", "text": "\\ud800"}
    yield {"id": 2**70}
    yield {"id": object}
    yield {"id": "4"}

def failing(data):
    yield {"id": "1"}
    raise ValueError("no such\\nroom")

def many(data):
    for number in range(5000):
        yield {"id": str(number)}

def none(data):
    return []
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with entry points, as pip would install it."""
    place = tmp_path / "site-packages"
    info = place / "diaries-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "diaries.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diaries\nVersion: 1.0\n")
    names = ("diary", "mixed", "failing", "many", "none")
    entries = [f"{name} = diaries:{name}" for name in names]
    entries += ["absent = diaries:absent", "number = diaries:NUMBER"]
    (info / "entry_points.txt").write_text("\n".join(["[tunelane.sources]", *entries, ""]))
    monkeypatch.syspath_prepend(str(place))
    yield
    sys.modules.pop("diaries", None)


def test_transformers_are_found_by_their_entry_points() -> None:
    assert transformer_names() == ("absent", "diary", "failing", "many", "mixed", "none", "number")
    found = find_sources("anything at all", source_format="diary")
    assert found.files == [SourceFile("anything at all", "diary", "diary", "", 0)]


def test_records_are_rows_in_the_canonical_form(read: Read) -> None:
    rows, facts = read("home", "diary")
    assert rows == [
        Row(
            number + 1,
            {"id": f"home-{number}", "text": f"day {number}", "labels": ["joy"], "meta": {"source": "diary"}},
        )
        for number in range(3)
    ]
    assert (facts.name, facts.format, facts.uri, facts.columns) == ("diary", "diary", "home", None)
    assert len(facts.sha256) == 64
    assert facts.size_bytes > 0
    assert facts == read("home", "diary")[1]
    assert facts.sha256 != read("work", "diary")[1].sha256


def test_what_is_no_record_is_a_malformed_row_and_the_others_are_kept(read: Read) -> None:
    rows, _ = read("home", "mixed")
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[0] == Row(1, {"id": "1", "text": "fine", "labels": ["joy"]})
    assert rows[1] == Row(2, {"id": 2, "text": "", "when": "2024-01-02"})
    assert rows[6] == Row(7, {"id": "4"})
    assert all(isinstance(row, MalformedRow) and row.reason == "malformed_row" for row in rows[2:6])
    assert rows[2].content == "not a record but list: ['no', 'record']"
    assert "2**70" in rows[4].content or str(2**70) in rows[4].content


def test_many_records_come_in_chunks_and_keep_their_numbers(read: Read) -> None:
    rows, _ = read("home", "many")
    assert rows == [Row(number + 1, {"id": str(number)}) for number in range(5000)]
    [source] = find_sources("home", source_format="many").files
    with SourceReader(source) as reader:
        assert len(list(reader.chunks())) > 1


def test_a_transformer_that_fails_is_named_with_its_error(read: Read, message_of: Any) -> None:
    with message_of() as message:
        read("home", "failing")
    assert message == [
        "The transformer 'failing' failed at record 2: ValueError: no such room. Correct the transformer or its data."
    ]


def test_a_transformer_that_yields_nothing_is_an_empty_source(read: Read, message_of: Any) -> None:
    with message_of() as message:
        read("home", "none")
    assert message == ["none has no rows. Pass a file with labelled rows."]


def test_a_transformer_that_cannot_be_used_is_named(message_of: Any) -> None:
    with message_of() as message:
        load_transformer("absent")
    assert message[0].startswith("The transformer 'absent' cannot be imported from diaries:absent: AttributeError: ")
    with message_of() as message:
        load_transformer("number")
    assert message == ["The transformer 'number' is diaries:NUMBER, which is no function. Correct its entry point."]
    with message_of() as message:
        load_transformer("other")
    assert message == [
        "No transformer 'other' is installed. Installed: absent, diary, failing, many, mixed, none, number."
    ]


def test_an_unknown_format_names_formats_and_transformers(message_of: Any) -> None:
    with message_of() as message:
        find_sources("home", source_format="Diaries")
    assert message == [
        "Unknown source_format 'Diaries'. Did you mean 'diary'? Formats: csv, tsv, json, jsonl, parquet. "
        "Transformers: absent, diary, failing, many, mixed, none, number."
    ]
