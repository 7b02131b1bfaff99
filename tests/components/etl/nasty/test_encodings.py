"""Encodings: marks in odd places, bytes that are no UTF-8, and files that were never meant to be."""

from collections.abc import Callable
from typing import Any

import pytest

MARK = b"\xef\xbb\xbf"
# Each of them holds, as UTF-16, a byte that is a line feed, a quote, a comma or a carriage return in ASCII.
LOOK_LIKE_SYNTAX = "ਊ ∊ ∬ അ"

CASES: dict[str, dict[str, Any]] = {
    # --- Byte order marks
    "a_mark_before_a_csv": {
        "files": {"a.csv": MARK + b"text,label\none,x\ntwo,y\n"},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    # The mark stands before the quote, which then does not begin the field.
    "a_mark_before_a_quoted_header": {
        "files": {"a.csv": MARK + b'"text","label"\r\n"one","x"\r\n"two","y"\r\n'},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    "a_mark_before_jsonl_and_json": {
        "files": {
            "a.jsonl": MARK + b'{"text":"one","label":"x"}\n{"text":"two","label":"y"}\n',
            "b.json": MARK + b'[{"text":"three","label":"x"}]',
        },
        "rows": {"a.jsonl": 2, "b.json": 1},
        "kept": {"one": "x", "two": "y", "three": "x"},
    },
    "a_mark_in_every_file_of_a_folder": {
        "files": {
            "a.csv": MARK + b"text,label\none,x\n",
            "b.csv": MARK + b"text,label\ntwo,y\n",
            "c.tsv": MARK + b"text\tlabel\nthree\tx\n",
        },
        "rows": {"a.csv": 1, "b.csv": 1, "c.tsv": 1},
        "kept": {"one": "x", "two": "y", "three": "x"},
    },
    # Files with marks, joined by cat: the second mark is part of the second header's row.
    "a_mark_in_the_middle": {
        "files": {"a.csv": MARK + b"text,label\none,x\n" + MARK + b"text,label\ntwo,y\n"},
        "beside": {"labels.yaml": b"[x, y]"},
        "options": {"taxonomy": "labels.yaml"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 3, "unknown_label", {"text": "\ufefftext", "label": "label"})],
    },
    "two_marks": {"files": {"a.csv": MARK + MARK + b"text,label\none,x\ntwo,y\n"}, "error": ("No column 'text'",)},
    "a_mark_alone": {"files": {"a.jsonl": MARK}, "error": ("a.jsonl is empty",)},
    # --- Bytes that are no UTF-8
    "rows_of_two_encodings": {
        "files": {"a.csv": "text,label\ncafé,x\n".encode() + "naïve,y\n".encode("cp1252") + b"plain,y\nlast,x\xff\n"},
        "rows": {"a.csv": 4},
        "kept": {"café": "x", "plain": "y"},
        "quarantined": [
            ("a.csv", 3, "bad_encoding", "na\\xefve,y"),
            ("a.csv", 5, "bad_encoding", "last,x\\xff"),
        ],
    },
    "rows_of_two_encodings_in_jsonl": {
        "files": {
            "a.jsonl": b'{"text":"caf\xc3\xa9","label":"x"}\n{"text":"caf\xe9","label":"x"}\n{"text":"b","label":"y"}\n'
        },
        "rows": {"a.jsonl": 3},
        "kept": {"café": "x", "b": "y"},
        "quarantined": [("a.jsonl", 2, "bad_encoding", '{"text":"caf\\xe9","label":"x"}')],
    },
    "rows_of_two_encodings_in_a_json_array": {
        "files": {
            "a.json": b'[\n{"text":"caf\xc3\xa9","label":"x"},\n{"text":"caf\xe9","label":"x"},\n'
            b'{"text":"b","label":"y"}]'
        },
        "rows": {"a.json": 3},
        "kept": {"café": "x", "b": "y"},
        "quarantined": [("a.json", 3, "bad_encoding", '{"text":"caf\\xe9","label":"x"}')],
    },
    # The bad byte and the end of its row stand on different lines.
    "a_bad_byte_in_a_row_of_several_lines": {
        "files": {"a.csv": b'text,label\n"one\n\xe9\nthree",x\nfour,y\nfive,x\n'},
        "rows": {"a.csv": 3},
        "kept": {"four": "y", "five": "x"},
        "quarantined": [("a.csv", 2, "bad_encoding", '"one\n\\xe9\nthree",x')],
    },
    # A lead byte without its rest, before the delimiter and before the line's end: neither may be swallowed.
    "cut_characters_before_syntax": {
        "files": {"a.csv": b"text,label\none\xe2\x82,x\ntwo,y\xf0\x9f\x98\nthree,x\nfour,y\n"},
        "rows": {"a.csv": 4},
        "kept": {"three": "x", "four": "y"},
        "quarantined": [
            ("a.csv", 2, "bad_encoding", "one\\xe2\\x82,x"),
            ("a.csv", 3, "bad_encoding", "two,y\\xf0\\x9f\\x98"),
        ],
    },
    "half_a_character_at_the_end_of_the_file": {
        "files": {"a.csv": b"text,label\none,x\ntwo,y\nfive \xe2\x82"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "bad_encoding", "five \\xe2\\x82")],
    },
    # Forms that UTF-8 forbids: an overlong slash, a surrogate, and a number beyond the last character.
    "forbidden_forms": {
        "files": {"a.csv": b"text,label\n\xc0\xaf,x\n\xed\xa0\x80,y\n\xf4\x90\x80\x80,x\none,x\ntwo,y\n"},
        "rows": {"a.csv": 5},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [
            ("a.csv", 2, "bad_encoding", "\\xc0\\xaf,x"),
            ("a.csv", 3, "bad_encoding", "\\xed\\xa0\\x80,y"),
            ("a.csv", 4, "bad_encoding", "\\xf4\\x90\\x80\\x80,x"),
        ],
    },
    "a_header_of_another_encoding": {
        "files": {"a.csv": "text,étiquette\none,x\ntwo,y\n".encode("cp1252")},
        "error": ("a.csv", "UTF-8", "encoding"),
    },
    # --- Whole files of another encoding
    "cp1252_when_it_is_said": {
        "files": {"a.csv": "text,label\n“café”: 5 €,x\nnaïve,y\n".encode("cp1252")},
        "options": {"encoding": "cp1252"},
        "rows": {"a.csv": 2},
        "kept": {"“café”: 5 €": "x", "naïve": "y"},
    },
    # Nobody said so: its rows wait in quarantine, but for those of plain ASCII.
    "cp1252_when_it_is_not_said": {
        "files": {"a.csv": "text,label\n“café”,x\nnaïve,y\nplain,x\nas plain,y\n".encode("cp1252")},
        "rows": {"a.csv": 4},
        "kept": {"plain": "x", "as plain": "y"},
        "quarantined": [
            ("a.csv", 2, "bad_encoding", "\\x93caf\\xe9\\x94,x"),
            ("a.csv", 3, "bad_encoding", "na\\xefve,y"),
        ],
    },
    # Byte 0x81 is nothing in cp1252.
    "bytes_that_cp1252_lacks": {
        "files": {"a.csv": b"text,label\n\x81,x\ncaf\xe9,y\ntwo,x\n"},
        "options": {"encoding": "cp1252"},
        "rows": {"a.csv": 3},
        "kept": {"café": "y", "two": "x"},
        "quarantined": [("a.csv", 2, "bad_encoding", "\\x81,x")],
    },
    "utf_16_with_a_mark": {
        "files": {"a.csv": "text,label\none,x\ntwo,y\n".encode("utf-16")},
        "error": ("a.csv", "UTF-8", "utf-16"),
        "command": True,
    },
    "utf_16_without_a_mark": {
        "files": {"a.csv": "text,label\none,x\ntwo,y\n".encode("utf-16-le")},
        "error": ("a.csv",),
    },
    "utf_16_in_jsonl": {
        "files": {"a.jsonl": '{"text":"one","label":"x"}\n'.encode("utf-16")},
        "error": ("a.jsonl", "UTF-8", "utf-16"),
    },
    "utf_16_when_it_is_said": {
        "files": {"a.csv": f'text,label\n"{LOOK_LIKE_SYNTAX}",x\r\n"a\nb",y\n,x\n'.encode("utf-16")},
        "options": {"encoding": "utf-16"},
        "rows": {"a.csv": 3},
        "kept": {LOOK_LIKE_SYNTAX: "x", "a\nb": "y"},
        "quarantined": [("a.csv", 5, "empty_text", {"text": "", "label": "x"})],
    },
    "utf_16_without_a_mark_when_it_is_said": {
        "files": {
            "a.jsonl": f'{{"text":"{LOOK_LIKE_SYNTAX}","label":"x"}}\n{{"text":"b","label":"y"}}'.encode("utf-16-be")
        },
        "options": {"encoding": "utf-16-be"},
        "rows": {"a.jsonl": 2},
        "kept": {LOOK_LIKE_SYNTAX: "x", "b": "y"},
    },
    # Its second bytes may be a pipe, a backslash or a brace.
    "shift_jis_when_it_is_said": {
        "files": {"a.csv": "text,label\nソ能表ポ,x\nゾ―十,y\n".encode("cp932")},
        "options": {"encoding": "cp932"},
        "rows": {"a.csv": 2},
        "kept": {"ソ能表ポ": "x", "ゾ―十": "y"},
    },
    "an_encoding_that_nobody_knows": {
        "files": {"a.csv": b"text,label\none,x\ntwo,y\n"},
        "options": {"encoding": "utf-9"},
        "error": ("encoding", "utf-9"),
    },
    # Python knows these "encodings", too: they turn bytes into bytes, or run into recursion.
    "an_encoding_that_is_none": {
        "files": {"a.csv": b"text,label\none,x\ntwo,y\n"},
        "options": {"encoding": "base64"},
        "error": ("encoding", "base64"),
    },
    # EBCDIC: not even its line feed is one.
    "an_encoding_without_ascii": {
        "files": {"a.csv": "text,label\none,x\ntwo,y\n".encode("cp037")},
        "options": {"encoding": "cp037"},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    # --- Files that are no text at all
    "a_png_named_csv": {
        "files": {"a.csv": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde"},
        "error": ("a.csv",),
    },
    "a_spreadsheet_named_csv": {
        "files": {"a.csv": b"PK\x03\x04\x14\0\x06\0" + bytes(range(256)) * 20},
        "error": ("a.csv",),
    },
    "every_byte_there_is": {"files": {"a.jsonl": bytes(range(256)) * 4}, "error": ("0 rows are left of 5",)},
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])
