"""JSON lines and JSON arrays: what parsers forgive, overflow on, or take for something else."""

import json
from collections.abc import Callable
from typing import Any

import pytest

DEEP = 100_000
GOOD = b'{"text":"one","label":"x"}\n{"text":"two","label":"y"}\n'
BOTH = {"one": "x", "two": "y"}


def lines_of(*lines: bytes) -> bytes:
    """Two rows that are fine, then `lines`: the first of them is line 3."""
    return GOOD + b"\n".join(lines) + b"\n"


CASES: dict[str, dict[str, Any]] = {
    # --- JSON lines
    # A parser that calls itself runs out of stack.
    "deep_brackets": {
        "files": {"a.jsonl": lines_of(b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP)},
        "rows": {"a.jsonl": 5},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", "[" * DEEP),
            ("a.jsonl", 4, "malformed_row", "[" * DEEP + "]" * DEEP),
            ("a.jsonl", 5, "malformed_row", '{"a":' * DEEP + "1" + "}" * DEEP),
        ],
    },
    # Deep below a field that nobody asked for.
    "deep_brackets_in_another_field": {
        "files": {"a.jsonl": lines_of(b'{"text":"a","label":"x","b":' + b"[" * DEEP + b"]" * DEEP + b"}")},
        "rows": {"a.jsonl": 3},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", '{"text":"a","label":"x","b":' + "[" * DEEP + "]" * DEEP + "}")
        ],
    },
    # Shallow enough to read, deep enough to break what walks it afterwards.
    "a_few_hundred_brackets_in_a_rejected_row": {
        "files": {"a.jsonl": lines_of(b'{"text":"","label":"x","b":' + b"[" * 300 + b"]" * 300 + b"}")},
        "rows": {"a.jsonl": 3},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "empty_text", {"text": "", "label": "x", "b": json.loads("[" * 300 + "]" * 300)})
        ],
    },
    "lines_that_hold_no_object": {
        "files": {"a.jsonl": lines_of(b"1", b"null", b'"text"', b"true", b"[]", b'[{"text":"a","label":"x"}]', b"{}")},
        "rows": {"a.jsonl": 9},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", "1"),
            ("a.jsonl", 4, "malformed_row", "null"),
            ("a.jsonl", 5, "malformed_row", '"text"'),
            ("a.jsonl", 6, "malformed_row", "true"),
            ("a.jsonl", 7, "malformed_row", "[]"),
            ("a.jsonl", 8, "malformed_row", '[{"text":"a","label":"x"}]'),
            ("a.jsonl", 9, "empty_text", {}),
        ],
    },
    # What JavaScript and Python write, and JSON has not.
    "almost_json": {
        "files": {
            "a.jsonl": lines_of(
                b"{'text':'a','label':'x'}",
                b'{"text":"a","label":"x",}',
                b'{text:"a",label:"x"}',
                b'{"text":"a","label":"x"} // note',
                b'{"text":"a","label":"x"}{"text":"b","label":"y"}',
                b'{"text":"a","label":"x"},',
                b'{"text":"a","label":None}',
                b'{"text":"a","label":"x"',
                b'{"text":"a\tb","label":"x"}',
                b'{"text":"\\x41","label":"x"}',
                b'{"text":"a","label":01}',
            )
        },
        "rows": {"a.jsonl": 13},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", "{'text':'a','label':'x'}"),
            ("a.jsonl", 4, "malformed_row", '{"text":"a","label":"x",}'),
            ("a.jsonl", 5, "malformed_row", '{text:"a",label:"x"}'),
            ("a.jsonl", 6, "malformed_row", '{"text":"a","label":"x"} // note'),
            ("a.jsonl", 7, "malformed_row", '{"text":"a","label":"x"}{"text":"b","label":"y"}'),
            ("a.jsonl", 8, "malformed_row", '{"text":"a","label":"x"},'),
            ("a.jsonl", 9, "malformed_row", '{"text":"a","label":None}'),
            ("a.jsonl", 10, "malformed_row", '{"text":"a","label":"x"'),
            ("a.jsonl", 11, "malformed_row", '{"text":"a\tb","label":"x"}'),
            ("a.jsonl", 12, "malformed_row", '{"text":"\\x41","label":"x"}'),
            ("a.jsonl", 13, "malformed_row", '{"text":"a","label":01}'),
        ],
    },
    # Numbers that JSON has not, or that no float holds; Python's reader takes the first three.
    "numbers_that_are_none": {
        "files": {
            "a.jsonl": lines_of(
                b'{"text":NaN,"label":"x"}',
                b'{"text":"a","label":"x","b":Infinity}',
                b'{"text":"a","label":-Infinity}',
                b'{"text":"a","label":"x","b":1e999}',
            )
        },
        "rows": {"a.jsonl": 6},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", '{"text":NaN,"label":"x"}'),
            ("a.jsonl", 4, "malformed_row", '{"text":"a","label":"x","b":Infinity}'),
            ("a.jsonl", 5, "malformed_row", '{"text":"a","label":-Infinity}'),
            ("a.jsonl", 6, "malformed_row", '{"text":"a","label":"x","b":1e999}'),
        ],
    },
    # Beyond 64 bits, and beyond what Python turns into text.
    "huge_integers": {
        "files": {
            "a.jsonl": lines_of(
                b'{"text":"three","label":123456789012345678901234567890}',
                b'{"text":98765432109876543210,"label":"x"}',
                b'{"text":"","label":"x","b":123456789012345678901234567890}',
                b'{"text":"a","label":' + b"9" * 5000 + b"}",
            )
        },
        "rows": {"a.jsonl": 6},
        "kept": BOTH | {"three": "123456789012345678901234567890", "98765432109876543210": "x"},
        "quarantined": [
            ("a.jsonl", 5, "empty_text", {"text": "", "label": "x", "b": 123456789012345678901234567890}),
            ("a.jsonl", 6, "malformed_row", '{"text":"a","label":' + "9" * 5000 + "}"),
        ],
    },
    # Half a character, which no UTF-8 file can hold; a whole pair is fine.
    "lone_surrogates": {
        "files": {
            "a.jsonl": lines_of(
                b'{"text":"\\ud83d","label":"x"}',
                b'{"text":"a","label":"\\ude00"}',
                b'{"text":"a","label":"x","b":"\\ude00\\ud83d"}',
                b'{"text":"\\ud83d\\ude00","label":"x"}',
            )
        },
        "rows": {"a.jsonl": 6},
        "kept": BOTH | {"😀": "x"},
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", '{"text":"\\ud83d","label":"x"}'),
            ("a.jsonl", 4, "malformed_row", '{"text":"a","label":"\\ude00"}'),
            ("a.jsonl", 5, "malformed_row", '{"text":"a","label":"x","b":"\\ude00\\ud83d"}'),
        ],
    },
    "nul_escaped_and_raw": {
        "files": {
            "a.jsonl": lines_of(
                b'{"text":"a\\u0000b","label":"x"}',
                b'{"text":"a","label":"x\\u0000"}',
                b'{"text":"three","label":"x","b":"\\u0000"}',
                b'{"text":"a\0b","label":"x"}',
                b"\0",
            )
        },
        "rows": {"a.jsonl": 7},
        "kept": BOTH | {"three": "x"},
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", {"text": "a\0b", "label": "x"}),
            ("a.jsonl", 4, "malformed_row", {"text": "a", "label": "x\0"}),
            ("a.jsonl", 6, "malformed_row", '{"text":"a\0b","label":"x"}'),
            ("a.jsonl", 7, "malformed_row", "\0"),
        ],
    },
    "texts_that_are_no_text": {
        "files": {
            "a.jsonl": lines_of(
                b'{"text":{"body":"a"},"label":"x"}',
                b'{"text":["a"],"label":"x"}',
                b'{"text":null,"label":"x"}',
                b'{"label":"x"}',
                b'{"text":42,"label":"x"}',
                b'{"text":4.50,"label":"x"}',
                b'{"text":false,"label":"x"}',
            )
        },
        "rows": {"a.jsonl": 9},
        "kept": BOTH | {"42": "x", "4.5": "x", "false": "x"},
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", {"text": {"body": "a"}, "label": "x"}),
            ("a.jsonl", 4, "malformed_row", {"text": ["a"], "label": "x"}),
            ("a.jsonl", 5, "empty_text", {"text": None, "label": "x"}),
            ("a.jsonl", 6, "empty_text", {"label": "x"}),
        ],
    },
    "labels_that_are_no_text": {
        "files": {
            "a.jsonl": lines_of(
                b'{"text":"three","label":3}',
                b'{"text":"four","label":0}',
                b'{"text":"five","label":true}',
                b'{"text":"six","label":false}',
                b'{"text":"seven","label":["x"]}',
                b'{"text":"a","label":null}',
                b'{"text":"b"}',
                b'{"text":"c","label":[]}',
                b'{"text":"d","label":["x","y"]}',
                b'{"text":"e","label":{"name":"x"}}',
                b'{"text":"f","label":[["x"]]}',
                b'{"text":"g","label":[{"name":"x"}]}',
                b'{"text":"h","label":[null,""]}',
            )
        },
        "rows": {"a.jsonl": 15},
        "kept": BOTH | {"three": "3", "four": "0", "five": "true", "six": "false", "seven": "x"},
        "quarantined": [
            ("a.jsonl", 8, "missing_label", {"text": "a", "label": None}),
            ("a.jsonl", 9, "missing_label", {"text": "b"}),
            ("a.jsonl", 10, "missing_label", {"text": "c", "label": []}),
            ("a.jsonl", 11, "several_labels", {"text": "d", "label": ["x", "y"]}),
            ("a.jsonl", 12, "malformed_row", {"text": "e", "label": {"name": "x"}}),
            ("a.jsonl", 13, "malformed_row", {"text": "f", "label": [["x"]]}),
            ("a.jsonl", 14, "malformed_row", {"text": "g", "label": [{"name": "x"}]}),
            ("a.jsonl", 15, "missing_label", {"text": "h", "label": [None, ""]}),
        ],
    },
    # The last one counts, as in every common reader; nothing warns of it, but the row is there.
    "duplicate_keys": {
        "files": {"a.jsonl": b'{"text":"a","text":"one","label":"x"}\n{"text":"two","label":"a","label":"y"}\n'},
        "rows": {"a.jsonl": 2},
        "kept": BOTH,
    },
    "odd_keys": {
        "files": {"a.jsonl": lines_of(b'{"":1,"text ":"a","TEXT":"b","text":"three","label":"x","__proto__":{}}')},
        "rows": {"a.jsonl": 3},
        "kept": BOTH | {"three": "x"},
    },
    "escaped_keys_and_texts": {
        "files": {"a.jsonl": b'{"\\u0074ext":"\\u006fne","label":"x"}\n{"text":"t\\nw\\"o\\\\","l\\u0061bel":"y"}\n'},
        "rows": {"a.jsonl": 2},
        "kept": {"one": "x", 't\nw"o\\': "y"},
    },
    "line_separators_inside_texts": {
        "files": {
            "a.jsonl": lines_of('{"text":"a\u2028b\u2029c\u0085d","label":"x"}'.encode(), b'{"text":"","label":"y"}')
        },
        "rows": {"a.jsonl": 4},
        "kept": BOTH | {"a\u2028b\u2029c\u0085d": "x"},
        "quarantined": [("a.jsonl", 4, "empty_text", {"text": "", "label": "y"})],
    },
    "crlf_and_blank_lines": {
        "files": {"a.jsonl": b'\r\n \t\r\n{"text":"one","label":"x"}\r\n\n{"text":"two","label":"y"}\r\n{"text":""}'},
        "rows": {"a.jsonl": 3},
        "kept": BOTH,
        "quarantined": [("a.jsonl", 6, "empty_text", {"text": ""})],
    },
    # An object over several lines is no JSON line; none of the lines is lost.
    "a_pretty_printed_object": {
        "files": {"a.jsonl": lines_of(b"{", b'  "text": "a",', b'  "label": "x"', b"}")},
        "rows": {"a.jsonl": 6},
        "kept": BOTH,
        "quarantined": [
            ("a.jsonl", 3, "malformed_row", "{"),
            ("a.jsonl", 4, "malformed_row", '  "text": "a",'),
            ("a.jsonl", 5, "malformed_row", '  "label": "x"'),
            ("a.jsonl", 6, "malformed_row", "}"),
        ],
    },
    "csv_named_jsonl": {"files": {"a.jsonl": b"text,label\none,x\ntwo,y\n"}, "error": ("0 rows are left of 3",)},
    "a_field_that_no_row_has": {
        "files": {"a.jsonl": GOOD},
        "options": {"text_field": "body"},
        "error": ("'body'", "text, label"),
    },
    # --- JSON arrays
    "an_array_of_everything": {
        "files": {
            "a.json": b'[1, "a", null, true,\n[],\n{"text":"one","label":"x"},'
            b'{"text":"two",\n"label":"y"}, {"text":""}]\n'
        },
        "rows": {"a.json": 8},
        "kept": BOTH,
        "quarantined": [
            ("a.json", 1, "malformed_row", "1"),
            ("a.json", 1, "malformed_row", '"a"'),
            ("a.json", 1, "malformed_row", "null"),
            ("a.json", 1, "malformed_row", "true"),
            ("a.json", 2, "malformed_row", "[]"),
            ("a.json", 4, "empty_text", {"text": ""}),
        ],
    },
    # Brackets, braces, commas and quotes inside of texts end nothing.
    "syntax_inside_texts": {
        "files": {
            "a.json": b'[{"text":"]}],[{\\"","label":"x"},\n'
            b'{"text":"\\\\","label":"y"},{"text":"\\\\\\"]","label":"x"}]'
        },
        "rows": {"a.json": 3},
        "kept": {']}],[{"': "x", "\\": "y", '\\"]': "x"},
    },
    "an_array_cut_short": {
        "files": {"a.json": b'[{"text":"one","label":"x"},\n{"text":"two","label":"y"},\n{"text":"thr'},
        "error": ("a.json",),
        "command": True,
    },
    "an_array_cut_between_items": {
        "files": {"a.json": b'[{"text":"one","label":"x"},\n{"text":"two","label":"y"}\n'},
        "error": ("a.json",),
    },
    "a_comma_after_the_last_item": {
        "files": {"a.json": b'[{"text":"one","label":"x"},\n{"text":"two","label":"y"},\n]'},
        "error": ("a.json",),
    },
    "a_comma_too_few": {
        "files": {"a.json": b'[{"text":"one","label":"x"}\n{"text":"two","label":"y"}]'},
        "error": ("a.json",),
    },
    "something_after_the_array": {
        "files": {"a.json": b'[{"text":"one","label":"x"},{"text":"two","label":"y"}]\n[{"text":"three","label":"x"}]'},
        "error": ("a.json",),
    },
    "an_item_that_is_no_json": {
        "files": {"a.json": b'[{"text":"one","label":"x"},\n{"text":NaN,"label":"x"},\n{"text":"two","label":"y"}]'},
        "rows": {"a.json": 3},
        "kept": BOTH,
        "quarantined": [("a.json", 2, "malformed_row", '{"text":NaN,"label":"x"}')],
    },
    "an_empty_array": {"files": {"a.json": b"[ ]\n"}, "error": ("a.json has no rows",)},
    "an_object_of_rows": {
        "files": {"a.json": b'{"rows":[{"text":"one","label":"x"}]}'},
        "error": ("a.json", "array"),
    },
    "a_scalar": {"files": {"a.json": b"42"}, "error": ("a.json", "array")},
    "deep_brackets_in_an_array": {"files": {"a.json": b"[" * DEEP}, "error": ("a.json",), "command": True},
    "a_deep_item_in_an_array": {
        "files": {"a.json": b"[" + b",\n".join(GOOD.splitlines()) + b",\n" + b"[" * DEEP + b"]" * DEEP + b"]"},
        "rows": {"a.json": 3},
        "kept": BOTH,
        "quarantined": [("a.json", 3, "malformed_row", "[" * DEEP + "]" * DEEP)],
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])
