"""Contracts read and written: golden files load for ever, and errors name file, line and field."""

import json
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.contract import decode, encode, read, read_lines, write, write_lines
from tunelane_serving.errors import ContractError
from tunelane_serving.events import InferenceEvent
from tunelane_serving.package import Golden, Manifest
from tunelane_serving.taxonomy import Label, Taxonomy

_GOLDEN = Path(__file__).parent / "golden"
_KIND_BY_FILE = {
    "taxonomy_v1.json": Taxonomy,
    "manifest_v1.json": Manifest,
    "events_v1.jsonl": InferenceEvent,
}


# What came after the files were written, with its defaults: what is stored somewhere must load for ever.
_LATER_FIELDS: dict[str, dict[str, object]] = {
    "manifest_v1.json": {"pooling": "none", "normalize": True},
    "events_v1.jsonl": {"confidence": None, "length_tokens": None, "oov_share": None},
}


class Nested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the property test below writes: a struct with everything that the contracts use."""

    name: str
    numbers: dict[str, float] = {}
    labels: tuple[str, ...] = ()
    version: Literal[1] = 1


def _load(file: str) -> list[msgspec.Struct]:
    path, kind = _GOLDEN / file, _KIND_BY_FILE[file]
    return list(read_lines(path, kind)) if path.suffix == ".jsonl" else [read(path, kind)]


@pytest.mark.parametrize("file", _KIND_BY_FILE)
def test_a_golden_file_loads_and_is_written_again_as_equal(file):
    loaded = _load(file)
    assert loaded
    assert [decode(encode(item), type(item), file) for item in loaded] == loaded


@pytest.mark.parametrize("file", _KIND_BY_FILE)
def test_a_golden_file_holds_every_field_of_its_contract(file):
    text = (_GOLDEN / file).read_text(encoding="utf-8")
    documents = [json.loads(line) for line in text.splitlines()] if file.endswith(".jsonl") else [json.loads(text)]
    fields = set(_KIND_BY_FILE[file].__struct_fields__)
    later = _LATER_FIELDS.get(file, {})
    assert set().union(*documents) | later.keys() == fields, "a field added to version 1 has a place in this test"
    for item in _load(file):
        assert {name: getattr(item, name) for name in later} == later, "a field added to version 1 has a default"


def test_the_golden_events_keep_their_meaning():
    answered, failed, ruled = _load("events_v1.jsonl")
    assert (answered.prediction, answered.correct, answered.outcome) == (("positive",), False, "delighted")
    assert (failed.status, failed.input_hashed, failed.scores, failed.correct) == ("error", True, (), None)
    assert (ruled.framework, ruled.version) == ("rules", 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"labels": [{"name": "a"}, {"name": 3}]}', r"field labels\[1\]\.name: Expected `str`, got `int`"),
        (b'{"labels": [{"name": "a"}, {}]}', r"field labels\[1\]: Object missing required field `name`"),
        (b'{"labels": [{"name": "a"}]}', "labels: a taxonomy needs at least two labels"),
        (b'{"labels": [], "colour": 1}', "unknown field `colour`"),
        (b"{}", "missing required field `labels`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"", "not valid JSON"),
        (b'{"labels": ', "not valid JSON"),
        (b'{"labels": "\xff"}', "not UTF-8|Expected `array`"),
        (b'{"labels": [{"name": "\xff"}, {"name": "b"}]}', "not UTF-8"),
        (b'{"labels": [{"name": "\\ud800"}, {"name": "b"}]}', "not valid JSON"),
        (b'{"labels": [], "x": ' + b"[" * 100_000, "not valid JSON|unknown field"),
        (b'{"labels": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply|unknown field"),
        (b'{"labels": [], "version": "2"}', "field version: Expected `int`, got `str`"),
        (b'{"labels": [{"name": "a"}, {"name": "b"}], "version": 0}', "field version: Invalid enum value 0"),
    ],
)
def test_a_broken_file_is_named_with_field_and_reason(content, words, tmp_path):
    path = tmp_path / "taxonomy.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=words) as caught:
        read(path, Taxonomy)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class Loose(msgspec.Struct):
    """A contract that carries anything, as a record's `meta` does."""

    meta: dict[str, object] = {}
    version: Literal[1] = 1


def test_deep_nesting_is_a_broken_file_and_not_a_crash():
    with pytest.raises(ContractError, match="nested too deeply"):
        decode(b'{"meta": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", Loose, "record")


def test_a_broken_line_is_named_by_its_number(tmp_path):
    lines = (_GOLDEN / "events_v1.jsonl").read_bytes().splitlines()
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([lines[0], lines[2], lines[1].replace(b"0.4", b'"slow"')]))
    with pytest.raises(ContractError) as caught:
        list(read_lines(path, InferenceEvent))
    assert str(caught.value) == f"{path}:3: field latency_ms: Expected `float`, got `str`"


@pytest.mark.parametrize("content", [b'{"labels": [], "version": 2}', b'{"anything": {"new": []}, "version": 7}'])
def test_a_version_from_the_future_says_upgrade(content, tmp_path):
    path = tmp_path / "taxonomy.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"field version: written as version \d.*upgrade tunelane"):
        read(path, Taxonomy)


@pytest.mark.parametrize("file", _KIND_BY_FILE)
def test_every_contract_knows_its_future(file):
    with pytest.raises(ContractError, match="upgrade tunelane"):
        decode(b'{"version": 2}', _KIND_BY_FILE[file], file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ContractError, match=r"taxonomy\.json: No such file"):
        read(tmp_path / "taxonomy.json", Taxonomy)
    with pytest.raises(ContractError, match=r"events\.jsonl: No such file"):
        list(read_lines(tmp_path / "events.jsonl", InferenceEvent))


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (Golden("text", {"fp32": (float("nan"), 0.5)}), "scores"),
        (Golden("text", {"fp32": (float("inf"), 0.5)}), "scores"),
        (Nested(name=3), "name"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(item, field, tmp_path):
    with pytest.raises(ContractError, match=field):
        write(tmp_path / "item.json", item)
    with pytest.raises(ContractError, match=rf"items\.jsonl:1: .*{field}"):
        write_lines(tmp_path / "items.jsonl", [item])
    assert list(tmp_path.iterdir()) == []


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_ITEMS = st.builds(
    Nested,
    name=st.text(),
    numbers=st.dictionaries(st.text(), _NUMBERS),
    labels=st.lists(st.text()).map(tuple),
)


@given(st.lists(_ITEMS, max_size=5))
def test_lines_are_read_as_they_were_written(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("lines") / "items.jsonl"
    assert write_lines(path, items) == len(items)
    assert list(read_lines(path, Nested)) == items


@given(_ITEMS)
def test_equal_structs_give_equal_bytes(item):
    backwards = msgspec.structs.replace(item, numbers=dict(reversed(item.numbers.items())))
    assert backwards == item
    assert encode(backwards) == encode(item)


def test_a_contract_is_written_as_text_that_people_can_read(tmp_path):
    path = tmp_path / "deep" / "taxonomy.json"
    taxonomy = Taxonomy((Label("négatif"), Label("positif")))
    write(path, taxonomy)
    assert '      "name": "négatif"' in path.read_text(encoding="utf-8").splitlines()
    assert read(path, Taxonomy) == taxonomy
