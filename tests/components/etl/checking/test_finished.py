import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelane_components.etl.checking.finished import validate_file
from tunelane_components.etl.checking.forms import detect_form
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Label, Taxonomy

EMOTIONS = Taxonomy(labels=(Label("joy", aliases=("happy",)), Label("sadness")))
JOY = {"id": "a", "text": "What a day!", "labels": ["joy"]}
CHAT = [{"role": "user", "content": "What a day!"}, {"role": "assistant", "content": "joy"}]
ASKED = {"role": "user", "parts": [{"text": "What a day!"}]}
ANSWERED = {"role": "model", "parts": [{"text": "joy"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


def faults(
    file: Path, *rows: object, form: str = "", taxonomy: Taxonomy | None = EMOTIONS
) -> list[tuple[int, str, str]]:
    """Write rows (bytes as they are, all else as JSON), and give what is wrong with them."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return found(file, form=form, taxonomy=taxonomy)


def found(file: Path, *, form: str = "", taxonomy: Taxonomy | None = EMOTIONS) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.code, fault.message) for fault in validate_file(file, taxonomy=taxonomy, form=form)]


@pytest.mark.parametrize(
    ("row", "form"),
    [
        (
            JOY | {"image_uri": "gs://b/a.heic", "meta": {"age": 3, "room": {"name": "x"}}, "version": 1},
            "classification",
        ),
        ({"prompt": "Pick.\n\nWhat a day!\n", "completion": "joy"}, "prompt_completion"),
        ({"input_text": "What a day!", "output_text": '["joy", "sadness"]'}, "input_output"),
        ({"messages": CHAT}, "messages"),
        ({"messages": [{"role": "system", "content": "Pick."}, *CHAT, *CHAT]}, "messages"),
        ({"contents": [ASKED, ANSWERED]}, "gemini"),
        (
            {
                "systemInstruction": {"parts": [{"text": "Pick."}]},
                "contents": [
                    {"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}}]},
                    ANSWERED,
                ],
                "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"},
            },
            "gemini",
        ),
    ],
)
def test_a_row_without_faults_is_recognised_and_passes(file: Path, row: dict[str, Any], form: str) -> None:
    assert faults(file, row) == []
    assert detect_form(file) == form


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "a", "text": "x"}, [("missing_field", "there is no field 'labels'")]),
        (
            {"id": "a", "text": "x", "lables": ["joy"]},
            [
                ("missing_field", "there is no field 'labels'"),
                ("unknown_field", "unknown field 'lables'; is 'labels' meant?"),
            ],
        ),
        (JOY | {"colour": 1}, [("unknown_field", "unknown field 'colour'")]),
        (JOY | {"text": 7}, [("wrong_type", "text is a number; write a text")]),
        (JOY | {"text": None}, [("wrong_type", "text is null; write a text")]),
        (JOY | {"text": " \u2003"}, [("empty_field", "text is empty")]),
        (JOY | {"id": ""}, [("empty_field", "id is empty")]),
        (JOY | {"labels": "joy"}, [("wrong_type", "labels is a text; write a list of names")]),
        (
            JOY | {"labels": ["joy", 3, "", None]},
            [
                ("wrong_type", "labels[1] is a number; write a name"),
                ("empty_field", "labels[2] is empty"),
                ("wrong_type", "labels[3] is null; write a name"),
            ],
        ),
        (JOY | {"labels": []}, [("missing_label", "there is no label")]),
        (JOY | {"labels": ["joy", "joy"]}, [("repeated_label", "a label stands twice")]),
        (
            JOY | {"labels": ["Saddness"]},
            [("unknown_label", "label 'Saddness' is not in the taxonomy; the nearest is 's")],
        ),
        (JOY | {"labels": ["happy"]}, [("unknown_label", "label 'happy' is an alias; write 'joy'")]),
        (
            JOY | {"image_uri": "gs://b/a.gif"},
            [("unsupported_image", "image_uri 'gs://b/a.gif' does not end in one of")],
        ),
        (JOY | {"meta": [1]}, [("wrong_type", "meta is a list; write an object")]),
        (JOY | {"version": 2}, [("wrong_version", "version is 2; this release reads version 1")]),
        (
            {"id": 1, "text": "", "labels": ["anger"], "extra": True},
            [
                ("unknown_field", "unknown field 'extra'"),
                ("wrong_type", "id is a number; write a text"),
                ("empty_field", "text is empty"),
                ("unknown_label", "label 'anger' is not in the taxonomy; the nearest is "),
            ],
        ),
        ({"prompt": "x", "completion": ""}, [("empty_field", "completion is empty")]),
        ({"prompt": "x", "completion": "anger"}, [("unknown_label", "label 'anger' is not in the taxonomy")]),
        ({"prompt": "x", "completion": "[]"}, [("missing_label", "there is no label")]),
        ({"input_text": "x"}, [("missing_field", "there is no field 'output_text'")]),
        ({"messages": {}}, [("wrong_type", "messages is an object; write a list")]),
        ({"messages": []}, [("empty_field", "messages is empty")]),
        ({"messages": [*CHAT, "x"]}, [("wrong_type", "messages[2] is a text; write an object")]),
        (
            {"messages": [{"role": "user", "text": "x"}, CHAT[1]]},
            [
                ("unknown_field", "unknown field 'messages[0].text'"),
                ("missing_field", "there is no field 'messages[0].content'"),
            ],
        ),
        (
            {"messages": CHAT[::-1]},
            [("wrong_role", "the roles are assistant, user; user and assistant take turns, and assistant is the last")],
        ),
        ({"messages": [CHAT[0]]}, [("wrong_role", "the roles are user; user and assistant take turns")]),
        ({"messages": [{"role": "system", "content": "x"}]}, [("wrong_role", "the roles are none;")]),
        (
            {"contents": [ASKED, ANSWERED, ASKED]},
            [("wrong_role", "the roles are user, model, user; user and model take")],
        ),
        (
            {"contents": [{"role": "user", "parts": []}, ANSWERED]},
            [("empty_field", "contents[0].parts is empty")],
        ),
        (
            {"contents": [{"role": "user", "parts": [{}]}, {"role": "model", "parts": [{"text": ""}]}]},
            [
                ("wrong_type", "contents[0].parts[0] needs text or fileData, and one of them"),
                ("empty_field", "contents[1].parts[0].text is empty"),
            ],
        ),
        (
            {
                "contents": [
                    {"role": "user", "parts": [{"fileData": {"mimeType": "image/gif", "fileURI": "gs://b/a.gif"}}]},
                    ANSWERED,
                ]
            },
            [
                ("unknown_field", "unknown field 'contents[0].parts[0].fileData.fileURI'; is 'fileUri' meant?"),
                ("missing_field", "there is no field 'contents[0].parts[0].fileData.fileUri'"),
                (
                    "unsupported_image",
                    "contents[0].parts[0].fileData.mimeType is 'image/gif'; write one of image/heic, ",
                ),
            ],
        ),
        (
            {
                "contents": [
                    ASKED,
                    {"role": "model", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}}]},
                ]
            },
            [("missing_label", "contents[1] answers with a file; write the label")],
        ),
        (
            {"contents": [ASKED, ANSWERED], "systemInstruction": "Pick.", "system_instruction": 1},
            [
                ("unknown_field", "unknown field 'system_instruction'; is 'systemInstruction' meant?"),
                ("wrong_type", "systemInstruction is a text; write an object"),
            ],
        ),
    ],
)
def test_all_that_is_wrong_with_a_row_is_said(file: Path, row: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    actual = faults(file, row)
    assert [(line, code) for line, code, _ in actual] == [(1, code) for code, _ in expected]
    for (_, _, message), (_, start) in zip(actual, expected, strict=True):
        assert message.startswith(start)
        assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "line", "code", "message"),
    [
        (b'{"id": "b", "text": nope}\n', 2, "not_json", "not valid JSON: Expecting value at character 21"),
        (b'{"id": "b"} {}\n', 2, "not_json", "not valid JSON: Extra data at character 13"),
        (b'{"id": "\\ud800"}\n', 2, "not_json", "not valid JSON: half of a surrogate pair"),
        (b'{"id": "b", "text": "x", "labels": ["joy"], "meta": {"a": NaN}}\n', 2, "not_a_number", "NaN is no JSON"),
        (b'{"a": -Infinity}\n', 2, "not_a_number", "-Infinity is no JSON"),
        (b'{"id": "b\xff"}\n', 2, "bad_encoding", "not UTF-8: byte 0xff; save the file as UTF-8"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", 2, "too_deep", "values are nested too deeply to be read"),
        (b"[1]\n", 2, "not_an_object", "the row is no JSON object; write {…}"),
        (b'"x"', 2, "not_an_object", "the row is no JSON object"),
        (b'{"id": "b", "te', 2, "truncated", "the file ends in the middle of this row; write it anew"),
        (b'\n \n\r\n{"id": "b", "text": "x", "labels": ["joy"]}', 2, "blank_line", "3 blank lines between rows"),
        (b"\x00\x00\n", 2, "not_json", "not valid JSON"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(file: Path, content: bytes, line: int, code: str, message: str) -> None:
    file.write_bytes(json.dumps(JOY).encode() + b"\n" + content)
    [fault] = found(file)
    assert fault[:2] == (line, code)
    assert fault[2].startswith(message)


def test_blank_lines_at_the_end_and_windows_line_ends_are_no_faults(file: Path) -> None:
    file.write_bytes(json.dumps(JOY).encode() + b"\r\n\r\n\n")
    assert found(file) == []
    file.write_bytes(json.dumps(JOY).encode())
    assert found(file) == []


def test_a_byte_order_mark_is_a_fault_and_its_row_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(JOY | {"text": ""}).encode() + b"\n")
    assert [fault[:2] for fault in found(file)] == [(1, "byte_order_mark"), (1, "empty_field")]


def test_a_file_in_utf_16_is_one_fault(file: Path) -> None:
    file.write_text(f"{json.dumps(JOY)}\n" * 3, encoding="utf-16")
    [fault] = found(file)
    assert fault == (1, "bad_encoding", "the file is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE > CONVERTED")


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_a_fault(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert found(file) == [(1, "empty_file", "the file holds no rows")]


def test_ids_and_texts_that_stand_twice_are_said_with_both_lines(file: Path) -> None:
    assert faults(
        file,
        JOY,
        {"id": "b", "text": "  what A\u00a0day!", "labels": ["sadness"]},
        {"id": "a", "text": "Rain.", "labels": ["sadness"]},
        {"id": "c", "text": "WHAT a day!", "labels": ["joy"]},
        # What has another fault is compared all the same.
        {"id": "d", "text": "Rain.", "labels": ["sadness"], "colour": 1},
        {"id": "e", "text": "", "labels": ["joy"]},
        {"id": "f", "text": "", "labels": ["joy"]},
    ) == [
        (5, "unknown_field", "unknown field 'colour'"),
        (6, "empty_field", "text is empty"),
        (7, "empty_field", "text is empty"),
        (3, "repeated_id", "the id of line 1 again"),
        (2, "conflicting_labels", "the text of line 1 again, with other labels"),
        (4, "repeated_text", "the text of line 1 again"),
        (5, "repeated_text", "the text of line 3 again"),
    ]


def test_the_order_of_labels_makes_no_conflict(file: Path) -> None:
    both = {"id": "b", "text": "What a day!", "labels": ["sadness", "joy"]}
    assert [fault[1] for fault in faults(file, JOY | {"labels": ["joy", "sadness"]}, both)] == ["repeated_text"]


def test_chats_are_compared_by_what_the_user_says(file: Path) -> None:
    other = [{"role": "system", "content": "Be kind."}, CHAT[0], {"role": "assistant", "content": "sadness"}]
    assert faults(file, {"messages": CHAT}, {"messages": other}) == [
        (2, "conflicting_labels", "the text of line 1 again, with other labels")
    ]


def test_photos_without_a_text_are_compared_by_where_they_are(file: Path) -> None:
    rows = [
        {
            "contents": [
                {"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": f"gs://b/{name}.png"}}]},
                ANSWERED,
            ]
        }
        for name in "aba"
    ]
    assert [fault[:2] for fault in faults(file, *rows)] == [(3, "repeated_text")]


def test_without_a_taxonomy_any_label_may_stand(file: Path) -> None:
    assert faults(file, JOY | {"labels": ["anger"]}, taxonomy=None) == []


def test_the_form_is_that_of_most_rows_or_the_one_that_is_asked_for(file: Path) -> None:
    rows = [{"messages": CHAT}, {"prompt": "x", "completion": "joy"}, {"prompt": "y", "completion": "joy"}]
    assert [fault[0] for fault in faults(file, *rows)] == [1, 1, 1]
    assert [fault[1] for fault in found(file)] == ["missing_field", "missing_field", "unknown_field"]
    assert {fault[0] for fault in found(file, form="messages")} == {2, 3}


def test_a_file_of_another_form_is_refused_with_the_fields_it_has(file: Path) -> None:
    file.write_text('{"body": "x", "topic": "y"}\n')
    with pytest.raises(
        InputError, match=r"^train\.jsonl has the form of no finished dataset; it has: body, topic\. Pass"
    ):
        found(file)
    with pytest.raises(InputError, match=r"^Unknown form 'message'; the nearest is 'messages'\."):
        found(file, form="message")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Cannot read .*: No such file or directory\. Pass a JSONL file\."):
        found(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="Is a directory"):
        found(tmp_path)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "parts", "text"]), inner),
    max_leaves=5,
)
fields = st.sampled_from(["id", "text", "labels", "prompt", "completion", "messages", "contents", "systemInstruction"])


@given(
    st.lists(st.dictionaries(fields, json_values).map(lambda row: json.dumps(row).encode()) | st.binary(), max_size=6),
    st.sampled_from(["classification", "prompt_completion", "input_output", "messages", "gemini"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_no_file_raises_and_every_broken_row_has_a_fault(file: Path, lines: list[bytes], form: str) -> None:
    file.write_bytes(b"\n".join(lines))
    all_found = found(file, form=form)
    faulty = {line for line, _, _ in all_found}
    assert all(re.fullmatch(r"[a-z_0-9]+", code) and "\n" not in message for _, code, message in all_found)
    if file.read_bytes().startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    for number, line in _lines(file):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            assert number in faulty
        else:
            assert number in faulty or isinstance(row, dict)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    yield from ((number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip())
