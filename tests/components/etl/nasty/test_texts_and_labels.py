"""What texts, labels, ids and splits hold: characters that mislead, spellings that are equal, rows that contradict."""

# ruff: noqa: RUF001  letters that look like others are what some of the cases are about
import json
from collections.abc import Callable
from typing import Any

import pytest

TAXONOMY = b"[joy, {name: anger, aliases: [rage]}, 'calm, mostly', 'out|side']"
FAMILY = "👩\u200d👩\u200d👧\u200d👦"
RAINBOW = "🏳\ufe0f\u200d🌈"
# Hebrew and Arabic with marks that turn the direction, isolate it, and join or part letters.
HEBREW = "\u202bשלום \u2067(abc)\u2069 עולם\u202c"
ARABIC = "می\u200cخواهم \u061cالسلام"
LONG = "word " * 200_000 + "end"


def lines_of(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


CASES: dict[str, dict[str, Any]] = {
    # --- Texts
    "emoji": {
        "files": {
            "a.csv": f"text,label\n{FAMILY},x\n{RAINBOW} 👍🏽,y\n1\ufe0f\u20e3,x\n🇩🇪🇫🇷,y\n\U000e0041,x\n".encode()
        },
        "rows": {"a.csv": 5},
        "kept": {FAMILY: "x", f"{RAINBOW} 👍🏽": "y", "1\ufe0f\u20e3": "x", "🇩🇪🇫🇷": "y"},
        # A tag without the flag that it belongs to shows nothing.
        "quarantined": [("a.csv", 6, "empty_text", {"text": "\U000e0041", "label": "x"})],
    },
    # The text is kept as it is, marks and all.
    "right_to_left": {
        "files": {"a.csv": f"text,label\n{HEBREW},x\n{ARABIC},y\n\u200f\u202e,x\n".encode()},
        "rows": {"a.csv": 3},
        "kept": {HEBREW: "x", ARABIC: "y"},
        "quarantined": [("a.csv", 4, "empty_text", {"text": "\u200f\u202e", "label": "x"})],
    },
    # Nothing to be seen, though not all of it is white space to Python.
    "texts_of_spaces_alone": {
        "files": {
            "a.jsonl": lines_of(
                {"text": "one\u00a0two\u200b", "label": "x"},
                {"text": "three", "label": "y"},
                {"text": " \t\r\n", "label": "x"},
                {"text": "\u00a0\u3000\u2003\u2028\u0085", "label": "x"},
                {"text": "\u200b", "label": "x"},
                {"text": "\ufeff\u2060\u200d\u00ad", "label": "x"},
                {"text": " \u200b\u00a0", "label": "x"},
                {"text": "\x1b\x07", "label": "x"},
            )
        },
        "rows": {"a.jsonl": 8},
        "kept": {"one\u00a0two\u200b": "x", "three": "y"},
        "quarantined": [
            ("a.jsonl", 3, "empty_text", {"text": " \t\r\n", "label": "x"}),
            ("a.jsonl", 4, "empty_text", {"text": "\u00a0\u3000\u2003\u2028\u0085", "label": "x"}),
            ("a.jsonl", 5, "empty_text", {"text": "\u200b", "label": "x"}),
            ("a.jsonl", 6, "empty_text", {"text": "\ufeff\u2060\u200d\u00ad", "label": "x"}),
            ("a.jsonl", 7, "empty_text", {"text": " \u200b\u00a0", "label": "x"}),
            ("a.jsonl", 8, "empty_text", {"text": "\x1b\x07", "label": "x"}),
        ],
    },
    # One megabyte is more than a text may have; the row itself is not cut.
    "a_text_of_a_megabyte": {
        "files": {"a.csv": f"text,label\n{LONG},x\none,x\ntwo,y\n".encode()},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 2, "too_long", {"text": LONG, "label": "x"})],
    },
    "a_text_of_a_megabyte_where_any_length_may_be": {
        "files": {"a.csv": f"text,label\n{LONG},x\ntwo,y\n".encode()},
        "options": {"max_characters": 0},
        "rows": {"a.csv": 2},
        "kept": {LONG: "x", "two": "y"},
    },
    # Characters are counted, not bytes.
    "a_text_of_exactly_as_many_characters_as_may_be": {
        "files": {"a.csv": f"text,label\n{'😀' * 10},x\n{'é' * 11},y\ntwo,y\n".encode()},
        "options": {"max_characters": 10},
        "rows": {"a.csv": 3},
        "kept": {"😀" * 10: "x", "two": "y"},
        "quarantined": [("a.csv", 3, "too_long", {"text": "é" * 11, "label": "y"})],
    },
    # A thousand marks on one letter.
    "stacked_marks": {
        "files": {"a.csv": f"text,label\ne{chr(0x301) * 1000},x\ntwo,y\n".encode()},
        "rows": {"a.csv": 2},
        "kept": {"e" + "\u0301" * 1000: "x", "two": "y"},
    },
    # --- Duplicates: equal after NFKC, case and white space. The text that sorts first is the one that stays.
    "composed_and_decomposed": {
        "files": {"a.csv": "text,label\ncafe\u0301,x\ncaf\u00e9,x\nﬁne,y\nfine,y\nＷｉｄｅ,x\nwide,x\n".encode()},
        "rows": {"a.csv": 6},
        "kept": {"cafe\u0301": "x", "fine": "y", "wide": "x"},
        "merged": 3,
    },
    "duplicates_that_differ_in_case_and_spaces": {
        "files": {"a.csv": 'text,label\nOne Two,x\none  two,x\n" ONE\u00a0TWO ",x\n"one\ntwo",x\nthree,y\n'.encode()},
        "rows": {"a.csv": 5},
        "kept": {"ONE\u00a0TWO": "x", "three": "y"},
        "merged": 3,
    },
    # Not equal: NFKC and lower case know no sharp s, no dotless i, and no zero-width space.
    "what_only_looks_equal": {
        "files": {"a.csv": "text,label\nMaße,x\nMASSE,y\nAIR,x\naır,y\nа,x\na,y\nb\u200bc,x\nbc,y\n".encode()},
        "rows": {"a.csv": 8},
        "kept": {"Maße": "x", "MASSE": "y", "AIR": "x", "aır": "y", "а": "x", "a": "y", "b\u200bc": "x", "bc": "y"},
    },
    "the_same_text_under_two_labels": {
        "files": {"a.csv": b"text,label\none,x\nONE,y\n one ,x\ntwo,y\nthree,x\n"},
        "rows": {"a.csv": 5},
        "kept": {"two": "y", "three": "x"},
        "quarantined": [
            ("a.csv", 2, "conflicting_labels", {"text": "one", "label": "x"}),
            ("a.csv", 3, "conflicting_labels", {"text": "ONE", "label": "y"}),
            ("a.csv", 4, "conflicting_labels", {"text": " one ", "label": "x"}),
        ],
    },
    "the_same_text_under_two_labels_in_two_files": {
        "files": {
            "a.csv": "label,text\nx,café\ny,two\n".encode(),
            "b.jsonl": lines_of({"text": "three", "label": "x"}, {"label": "y", "text": "Cafe\u0301", "note": 1}),
        },
        "rows": {"a.csv": 2, "b.jsonl": 2},
        "kept": {"two": "y", "three": "x"},
        "quarantined": [
            ("a.csv", 2, "conflicting_labels", {"label": "x", "text": "café"}),
            ("b.jsonl", 2, "conflicting_labels", {"label": "y", "text": "Cafe\u0301", "note": 1}),
        ],
    },
    # The second row means the same label; the third has none and cannot contradict.
    "the_same_text_under_a_label_its_alias_and_none": {
        "files": {"a.csv": b"text,label\none,anger\none,rage\none,\ntwo,joy\n"},
        "beside": {"labels.yaml": TAXONOMY},
        "options": {"taxonomy": "labels.yaml"},
        "rows": {"a.csv": 4},
        "kept": {"one": "anger", "two": "joy"},
        "merged": 1,
        "quarantined": [("a.csv", 4, "missing_label", {"text": "one", "label": ""})],
    },
    # --- Labels
    "labels_with_spaces_commas_and_quotes": {
        "files": {
            "a.csv": b'text,label\none,"calm, mostly"\ntwo," calm, mostly "\nthree,"the ""best"""\nfour,"a\nb"\n'
        },
        "rows": {"a.csv": 4},
        "kept": {"one": "calm, mostly", "two": "calm, mostly", "three": 'the "best"', "four": "a\nb"},
    },
    "labels_that_differ_in_case_where_none_are_given": {
        "files": {"a.csv": b"text,label\none,Joy\ntwo,joy\nthree,JOY\n"},
        "rows": {"a.csv": 3},
        "kept": {"one": "Joy", "two": "joy", "three": "JOY"},
    },
    "labels_that_the_taxonomy_lacks": {
        "files": {
            "a.csv": "text,label\none,Joy\ntwo,joy\nthree,joy\u200b\nfour,\u00a0rage\nfive,jоy\nsix,calm\n"
            "seven,-\n".encode()
        },
        "beside": {"labels.yaml": TAXONOMY},
        "options": {"taxonomy": "labels.yaml"},
        "rows": {"a.csv": 7},
        "kept": {"two": "joy", "four": "anger"},
        "quarantined": [
            ("a.csv", 2, "unknown_label", {"text": "one", "label": "Joy"}),
            ("a.csv", 4, "unknown_label", {"text": "three", "label": "joy\u200b"}),
            ("a.csv", 6, "unknown_label", {"text": "five", "label": "jоy"}),
            ("a.csv", 7, "unknown_label", {"text": "six", "label": "calm"}),
            ("a.csv", 8, "unknown_label", {"text": "seven", "label": "-"}),
        ],
    },
    # The separator stands inside quotes, around nothing, twice, and within a label of the taxonomy.
    "labels_with_separators_inside_quotes": {
        "files": {
            "a.csv": b'text,label\none,"joy,anger"\ntwo," rage , joy,rage "\n'
            b'three,"joy,,"\nfour,","\nfive,"calm, mostly"\n'
        },
        "beside": {"labels.yaml": TAXONOMY},
        "options": {"taxonomy": "labels.yaml", "multi_label": True, "label_separator": ","},
        "rows": {"a.csv": 5},
        "kept": {"one": ("joy", "anger"), "two": ("joy", "anger"), "three": "joy"},
        "quarantined": [
            ("a.csv", 5, "missing_label", {"text": "four", "label": ","}),
            ("a.csv", 6, "unknown_label", {"text": "five", "label": "calm, mostly"}),
        ],
    },
    # A separator that means something to regular expressions.
    "a_separator_that_is_no_pattern": {
        "files": {"a.csv": b"text,label\none,b|a\ntwo,a.b\nthree,a||b\n"},
        "options": {"multi_label": True, "label_separator": "|"},
        "rows": {"a.csv": 3},
        "kept": {"one": ("a", "b"), "two": "a.b", "three": ("a", "b")},
    },
    # The order of the labels contradicts nothing; another set does.
    "the_same_text_under_sets_of_labels": {
        "files": {"a.csv": b"text,label\none,a;b\none,b;a\ntwo,a;b\ntwo,a\nthree,b\n"},
        "options": {"multi_label": True, "label_separator": ";"},
        "rows": {"a.csv": 5},
        "kept": {"one": ("a", "b"), "three": "b"},
        "merged": 1,
        "quarantined": [
            ("a.csv", 4, "conflicting_labels", {"text": "two", "label": "a;b"}),
            ("a.csv", 5, "conflicting_labels", {"text": "two", "label": "a"}),
        ],
    },
    "a_label_of_ten_thousand_characters": {
        "files": {"a.csv": b"text,label\none," + b"x" * 10_000 + b"\ntwo,y\n"},
        "rows": {"a.csv": 2},
        "kept": {"one": "x" * 10_000, "two": "y"},
    },
    "one_label_alone": {
        "files": {"a.csv": b"text,label\none,x\ntwo,x\n"},
        "error": ("label 'x'", "at least two"),
        "command": True,
    },
    # --- Ids
    "ids_repeated_missing_and_numbers": {
        "files": {
            "a.jsonl": lines_of(
                {"id": 7, "text": "one", "label": "x"},
                {"id": "7", "text": "two", "label": "y"},
                {"id": 7.5, "text": "three", "label": "x"},
                {"id": None, "text": "four", "label": "x"},
                {"text": "five", "label": "x"},
                {"id": "  ", "text": "six", "label": "x"},
                {"id": 12345678901234567890123, "text": "seven", "label": "x"},
                {"id": ["a"], "text": "eight", "label": "x"},
                {"id": "a\0", "text": "nine", "label": "x"},
            )
        },
        "options": {"id_field": "id"},
        "rows": {"a.jsonl": 9},
        "kept": {"one": "x", "two": "y", "three": "x", "four": "x", "five": "x", "six": "x", "seven": "x"},
        # Each text's own digest makes an id, and tells apart those that share one.
        "ids": {
            "one": "7-7692c3ad3540bb80",
            "two": "7-3fc4ccfe745870e2",
            "three": "7.5",
            "four": "04efaf080f5a3e74",
            "five": "222b0bd51fcef7e6",
            "six": "44778d82365e4af6",
            "seven": "12345678901234567890123",
        },
        "quarantined": [
            ("a.jsonl", 8, "malformed_row", {"id": ["a"], "text": "eight", "label": "x"}),
            ("a.jsonl", 9, "malformed_row", {"id": "a\0", "text": "nine", "label": "x"}),
        ],
    },
    # --- Splits
    "a_given_split_that_no_one_knows": {
        "files": {
            "a.csv": b"text,label,split\none,x,train\ntwo,y,test\nthree,x,valid\n"
            b"four,y,dev\nfive,x,TRAIN!\nsix,y, test \n"
        },
        "options": {"split_field": "split"},
        "rows": {"a.csv": 6},
        "kept": {"one": "x", "two": "y", "three": "x", "six": "y"},
        "splits": {"one": "train", "two": "test", "three": "valid", "six": "test"},
        "quarantined": [
            ("a.csv", 5, "unknown_split", {"text": "four", "label": "y", "split": "dev"}),
            ("a.csv", 6, "unknown_split", {"text": "five", "label": "x", "split": "TRAIN!"}),
        ],
    },
    # What is to be tested on must not be trained on: of a text in several splits the held-out row stays, whatever
    # label the other has.
    "leaks_between_given_splits": {
        "files": {
            "a.csv": b"text,label,split\none,x,train\nONE,x,test\ntwo,y,train\ntwo,y,train\n two,y,valid\n"
            b"three,x,train\nfour,y,train\nfour,x,test\n"
        },
        "options": {"split_field": "split"},
        "rows": {"a.csv": 8},
        "kept": {"ONE": "x", "two": "y", "three": "x", "four": "x"},
        "splits": {"ONE": "test", "two": "valid", "three": "train", "four": "test"},
        "leaked": 4,
    },
    "leaks_between_test_and_valid": {
        "files": {"a.csv": b"text,label,split\none,x,test\none,x,valid\none,x,test\ntwo,y,train\nthree,x,train\n"},
        "options": {"split_field": "split"},
        "rows": {"a.csv": 5},
        "kept": {"one": "x", "two": "y", "three": "x"},
        "splits": {"one": "test", "two": "train", "three": "train"},
        "leaked": 1,
        "merged": 1,
    },
    # A row that says no split goes where its hash puts it, unless its text was given a place.
    "a_row_without_a_split_beside_its_twin_with_one": {
        "files": {"a.csv": b"text,label,split\none,x,\nOne,x,test\ntwo,y,train\nthree,x,train\n"},
        "options": {"split_field": "split"},
        "rows": {"a.csv": 4},
        "kept": {"One": "x", "two": "y", "three": "x"},
        "splits": {"One": "test", "two": "train", "three": "train"},
        "leaked": 1,
    },
    "leaks_into_given_test_rows": {
        "files": {"a.csv": b"text,label\none,x\ntwo,y\nthree,x\n"},
        "beside": {"held.jsonl": lines_of({"text": "ONE", "label": "x"}, {"text": "four", "label": "y"}, {"text": ""})},
        "options": {"test_data": "held.jsonl"},
        "rows": {"a.csv": 3, "held.jsonl": 3},
        "kept": {"two": "y", "three": "x", "ONE": "x", "four": "y"},
        "leaked": 1,
        "quarantined": [("held.jsonl", 3, "empty_text", {"text": ""})],
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])
