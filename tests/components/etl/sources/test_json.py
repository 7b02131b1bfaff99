import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_components.etl.rows.row import MalformedRow, Row

Written = Callable[..., Path]
Read = Callable[..., Any]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=8)


@settings(max_examples=80)
@given(items=objects, indent=st.sampled_from([None, 1]), ascii_only=st.booleans(), chunk_bytes=st.integers(1, 200))
def test_an_array_reads_back_element_by_element_with_its_lines(
    read: Read, items: list[dict[str, Any]], indent: int | None, ascii_only: bool, chunk_bytes: int
) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(text, encoding="utf-8")
        rows, _ = read(path, chunk_bytes=chunk_bytes, allow_empty=True)
    assert [row.values for row in rows] == items
    if indent:
        lines = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith(" {")]
    else:
        lines = [1] * len(items)
    assert [row.line for row in rows] == lines


@settings(max_examples=80)
@given(
    items=objects, ascii_only=st.booleans(), chunk_bytes=st.integers(1, 200), line_end=st.sampled_from(["\n", "\r\n"])
)
def test_lines_read_back_whatever_the_chunks(
    read: Read, items: list[dict[str, Any]], ascii_only: bool, chunk_bytes: int, line_end: str
) -> None:
    text = "".join(json.dumps(item, ensure_ascii=ascii_only) + line_end for item in items)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(text.encode())
        rows, _ = read(path, chunk_bytes=chunk_bytes, allow_empty=True)
    assert rows == [Row(number, item) for number, item in enumerate(items, 1)]


def test_lines_keep_types_and_blank_ones_are_skipped(written: Written, read: Read) -> None:
    content = '{"text":"one\u2028two","label":1}\r\n\n \t\r\n\u00a0\n{"text":null}'
    expected = [Row(1, {"text": "one\u2028two", "label": 1}), Row(5, {"text": None})]
    assert read(written("a.jsonl", content))[0] == expected
    assert read(written("a.ndjson", content))[0] == expected


def test_lines_that_hold_no_object_are_malformed(written: Written, read: Read) -> None:
    broken = [
        '{"text":',
        "[1]",
        '{"text":"\\ud800"}',
        '{"text":NaN}',
        "[" * 100_000,
        '{"n":' + "9" * 5000 + "}",
        '{"n":1e999}',
    ]
    rows, _ = read(written("a.jsonl", "\n".join(['{"text":"one"}', *broken])))
    assert rows[0] == Row(1, {"text": "one"})
    assert [(row.line, row.reason, row.content) for row in rows[1:]] == [
        (number, "malformed_row", content) for number, content in enumerate(broken, 2)
    ]
    assert rows[2].detail == "not a JSON object"


def test_numbers_past_64_bits_and_repeated_keys_are_read(written: Written, read: Read) -> None:
    rows, _ = read(written("a.jsonl", '{"id":123456789012345678901234567890}\n{"id":1,"id":2}\n'))
    assert rows == [Row(1, {"id": 123456789012345678901234567890}), Row(2, {"id": 2})]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_bytes_that_are_no_utf_8_take_only_their_rows(written: Written, read: Read, name: str) -> None:
    lines = [b'{"text":"fine"}', b'{"text":"caf\xe9"}', b'{"caf\xe9":1}', b'{"text":\xff}', b'{"text":"\xed\xa0\x80"}']
    content = b"\n".join(lines) if name == "a.jsonl" else b"[" + b",\n".join(lines) + b"]"
    rows, _ = read(written(name, content))
    assert rows == [
        Row(1, {"text": "fine"}),
        MalformedRow(2, "bad_encoding", "byte 0xe9 is not UTF-8", '{"text":"caf\\xe9"}'),
        MalformedRow(3, "bad_encoding", "byte 0xe9 is not UTF-8", '{"caf\\xe9":1}'),
        MalformedRow(4, "bad_encoding", "byte 0xff is not UTF-8", '{"text":\\xff}'),
        MalformedRow(5, "bad_encoding", "byte 0xed is not UTF-8", '{"text":"\\xed\\xa0\\x80"}'),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_another_encoding_is_read_when_asked_for(written: Written, read: Read, name: str) -> None:
    content = '{"text":"café ["}' if name == "a.jsonl" else '[{"text":"café ["}]'
    for encoding in ("cp1252", "utf-16"):
        assert read(written(name, content.encode(encoding)), encoding=encoding)[0] == [Row(1, {"text": "café ["})]


def test_elements_know_the_line_that_they_begin_on(written: Written, read: Read) -> None:
    items = [{"text": "one"}, {"text": "one"}, {"text": "two\nlines", "label": "x"}]
    rows, _ = read(written("a.json", json.dumps(items, indent=2)))
    assert rows == [Row(2, items[0]), Row(5, items[1]), Row(8, items[2])]


def test_strings_and_brackets_inside_each_other_do_not_mislead(written: Written, read: Read) -> None:
    items = [{"a": '}],[{"'}, {"b": '\\"', "c": ["]", {"d": "\\"}]}, {"e": [[], {}, [{}]]}]
    path = written("a.json", json.dumps(items))
    for chunk_bytes in range(1, 30):
        assert [row.values for row in read(path, chunk_bytes=chunk_bytes)[0]] == items


def test_a_broken_element_is_one_malformed_row(written: Written, read: Read) -> None:
    content = '[{"text":"one"},\n 7, tru,"x, y]" ,\n{"a":nul}, {"a":1], [],\n{"text":"two"}]'
    for chunk_bytes in (1, 2**20):
        rows, _ = read(written("a.json", content), chunk_bytes=chunk_bytes)
        assert (rows[0], rows[-1]) == (Row(1, {"text": "one"}), Row(4, {"text": "two"}))
        assert [(row.line, row.content) for row in rows[1:-1]] == [
            (2, "7"),
            (2, "tru"),
            (2, '"x, y]"'),
            (3, '{"a":nul}'),
            (3, '{"a":1]'),
            (3, "[]"),
        ]
        assert {row.reason for row in rows[1:-1]} == {"malformed_row"}


def test_deep_nesting_is_malformed_and_no_crash(written: Written, read: Read) -> None:
    deep = "[" * 200_000 + "]" * 200_000
    rows, _ = read(written("a.json", f'[{{"a":{deep}}},{{"text":"fine"}}]'))
    assert [type(row) for row in rows] == [MalformedRow, Row]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("text", ["a" * 50_000_000, "\\n" * 25_000_000])
def test_one_line_of_50_mb_is_a_row_in_seconds(written: Written, read: Read, name: str, text: str) -> None:
    content = f'{{"text":"{text}"}}'
    started = time.process_time()
    [row], _ = read(written(name, content if name == "a.jsonl" else f"[{content}]"))
    assert len(row.values["text"]) == len(text.replace("\\n", "\n"))
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"rows":[]}', "a.json: not an array of objects. Write [{…}, …], or one object a line as .jsonl."),
        ('{"a":1}\n{"a":2}', "a.json: not an array of objects. Write [{…}, …], or one object a line as .jsonl."),
        ('[{"text":"one"},', "a.json is not valid JSON: Input data was truncated."),
        ('[{"text":"one"}', "a.json is not valid JSON: Input data was truncated."),
        ('[{"text":"one}', "a.json is not valid JSON: Input data was truncated."),
        ("[7", "a.json is not valid JSON: Input data was truncated."),
        ("[", "a.json is not valid JSON: Input data was truncated."),
        ('[{"a":1},\n]', "a.json is not valid JSON: a comma before ']' on line 2. Correct the file."),
        ('[\n,{"a":1}]', "a.json is not valid JSON: ',' where an element was expected on line 2. Correct the file."),
        ('[{"a":1}\n{"a":1}]', "a.json is not valid JSON: no comma between two elements on line 2. Correct the file."),
        ('[{"a":1}]\n]', "a.json is not valid JSON: something after the array on line 2. Correct the file."),
    ],
)
def test_a_file_that_is_no_array_or_no_json_stops(
    written: Written, read: Read, message_of: Any, content: str, message: str
) -> None:
    for chunk_bytes in (1, 2**20):
        with message_of() as caught:
            read(written("a.json", content), chunk_bytes=chunk_bytes)
        assert caught == [message]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a":1}\n{"text":"' + b"a" * 70_000_000, "a.jsonl:2: the line is longer than 64 MiB."),
        ("a.json", b'[{"a":1},\n{"text":"' + b"a" * 70_000_000, "a.json:2: the element is longer than 64 MiB."),
    ],
)
def test_a_row_over_64_mib_stops_before_memory_does(
    written: Written, read: Read, message_of: Any, name: str, content: bytes, message: str
) -> None:
    with message_of() as caught:
        read(written(name, content))
    assert caught[0].startswith(message)
