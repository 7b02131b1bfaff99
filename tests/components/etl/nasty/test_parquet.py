"""Parquet files: types that are no text, values that Python cannot hold, and files that are damaged."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest

DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.UTC)


def parquet(*columns: tuple[str, Any, Any], rows_a_group: int | None = None) -> bytes:
    """A file of `columns`: name, values, type (None: as pyarrow takes it)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [values if isinstance(values, pa.Array) else pa.array(values, kind) for _, values, kind in columns]
    sink = BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, [name for name, _, _ in columns]), sink, row_group_size=rows_a_group)
    return sink.getvalue()


def arrow(name: str, *arguments: Any) -> Any:
    """A type of pyarrow by its name: the import takes a moment that other tests need not wait for."""
    import pyarrow as pa

    return getattr(pa, name)(*arguments)


def parquet_of_bad_utf_8() -> bytes:
    """Texts that say they are UTF-8 and are not, as writers that do not look leave them."""
    import pyarrow as pa

    claimed = pa.array([b"caf\xe9", b"one", b"two"], pa.binary()).view(pa.string())
    return parquet(("text", claimed, None), ("label", ["x", "x", "y"], None))


def parquet_of_one_struct(names: tuple[str, str]) -> bytes:
    import pyarrow as pa

    struct = pa.StructArray.from_arrays([pa.array(["a", "b"]), pa.array(["c", "d"])], names=list(names))
    return parquet(("text", ["one", "two"], None), ("label", ["x", "y"], None), ("both", struct, None))


def plain() -> bytes:
    return parquet(("text", ["one", "two"], None), ("label", ["x", "y"], None))


def without_middle(content: bytes) -> bytes:
    """The same length, and its first half overwritten behind the magic number: pages that cannot be read."""
    return content[:4] + b"\xff" * 60 + content[64:]


CASES: dict[str, dict[str, Any]] = {
    "several_row_groups": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two", "", "three", None], None),
                ("label", ["x", "y", "x", "x", "y"], None),
                rows_a_group=2,
            )
        },
        "rows": {"a.parquet": 5},
        "kept": {"one": "x", "two": "y", "three": "x"},
        "quarantined": [
            ("a.parquet", 3, "empty_text", {"text": "", "label": "x"}),
            ("a.parquet", 5, "empty_text", {"text": None, "label": "y"}),
        ],
    },
    "dictionary_large_and_view_strings": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two", "three"], arrow("large_string")),
                ("label", ["x", "y", "x"], arrow("dictionary", arrow("int8"), arrow("string"))),
                ("note", ["a", None, "c"], arrow("string_view")),
            )
        },
        "rows": {"a.parquet": 3},
        "kept": {"one": "x", "two": "y", "three": "x"},
    },
    "numbers_and_booleans_as_labels": {
        "files": {
            "a.parquet": lambda: parquet(("text", ["one", "two"], None), ("label", [1, 2], arrow("uint8"))),
            "b.parquet": lambda: parquet(("text", ["three", "four"], None), ("label", [True, None], None)),
            "c.parquet": lambda: parquet(
                ("text", ["five", "six"], None),
                ("label", [Decimal("1.50"), Decimal("-0.25")], arrow("decimal128", 9, 2)),
            ),
        },
        "rows": {"a.parquet": 2, "b.parquet": 2, "c.parquet": 2},
        "kept": {"one": "1", "two": "2", "three": "true", "five": "1.50", "six": "-0.25"},
        "quarantined": [("b.parquet", 2, "missing_label", {"text": "four", "label": None})],
    },
    # Types that JSON has no form for, in rows that are kept and in rows that the quarantine must hold.
    "types_that_json_lacks": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two", ""], None),
                ("label", ["x", "y", "x"], None),
                ("price", [Decimal("1.50")] * 3, arrow("decimal128", 9, 2)),
                ("when", [NOON] * 3, arrow("timestamp", "us", "UTC")),
                ("day", [DAY] * 3, arrow("date32")),
                ("time", [NOON.time()] * 3, arrow("time64", "us")),
            )
        },
        "options": {"metadata_fields": "price,when,day,time"},
        "rows": {"a.parquet": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [
            (
                *("a.parquet", 3, "empty_text"),
                {
                    "text": "",
                    "label": "x",
                    "price": "1.50",
                    "when": "2024-02-29T12:30:15.000000Z",
                    "day": "2024-02-29",
                    "time": "12:30:15.000000",
                },
            )
        ],
    },
    # Beyond what Python's types hold: nanoseconds, the year 300,000, a duration, and floats that are no numbers.
    "values_that_python_cannot_hold": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two"], None),
                ("label", ["x", "y"], None),
                ("nanoseconds", [1, 1_709_210_001_000_000_001], arrow("timestamp", "ns")),
                ("far", [10**13, -(10**13)], arrow("timestamp", "ms")),
                ("farther", [9_404_000_000_000_000, 0], arrow("timestamp", "ms")),
                ("took", [10**15, 1], arrow("duration", "ns")),
                ("number", [float("nan"), float("inf")], None),
            )
        },
        "rows": {"a.parquet": 2},
        "kept": {"one": "x", "two": "y"},
    },
    "binary_that_is_text_and_binary_that_is_not": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", [b"one", b"caf\xc3\xa9", b"caf\xe9", b"\xff\xd8\xff"], arrow("binary")),
                ("label", ["x", "y", "x", "y"], None),
            )
        },
        "rows": {"a.parquet": 4},
        "kept": {"one": "x", "café": "y"},
        "quarantined": [
            ("a.parquet", 3, "bad_encoding", '{"text": "caf\\xe9", "label": "x"}'),
            ("a.parquet", 4, "bad_encoding", '{"text": "\\xff\\xd8\\xff", "label": "y"}'),
        ],
    },
    # An image's bytes beside the text are no reason to refuse the row.
    "binary_in_another_column": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two"], None),
                ("label", ["x", "y"], None),
                ("image", [b"\xff\xd8\xff", b"\0"], arrow("binary")),
            )
        },
        "rows": {"a.parquet": 2},
        "kept": {"one": "x", "two": "y"},
    },
    "strings_that_are_no_utf_8": {
        "files": {"a.parquet": parquet_of_bad_utf_8},
        "rows": {"a.parquet": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.parquet", 1, "bad_encoding", '{"text": "caf\\xe9", "label": "x"}')],
    },
    "lists_of_structs": {
        "files": {
            "a.parquet": lambda: parquet(
                ("note", [{"body": "one"}, {"body": "two"}, {"body": "three"}, None], None),
                (
                    "domains",
                    [[{"name": "y"}, {"name": "x"}], [{"name": "x"}, None, {"name": None}], [], [{"name": "x"}]],
                    None,
                ),
            )
        },
        "options": {"text_field": "note.body", "label_field": "domains[].name", "multi_label": True},
        "rows": {"a.parquet": 4},
        "kept": {"one": ("x", "y"), "two": "x"},
        "quarantined": [
            ("a.parquet", 3, "missing_label", {"note": {"body": "three"}, "domains": []}),
            ("a.parquet", 4, "empty_text", {"note": None, "domains": [{"name": "x"}]}),
        ],
    },
    "lists_as_labels": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two", "three", "four"], None), ("label", [["x"], ["y", None], ["x", "y"], None], None)
            )
        },
        "rows": {"a.parquet": 4},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [
            ("a.parquet", 3, "several_labels", {"text": "three", "label": ["x", "y"]}),
            ("a.parquet", 4, "missing_label", {"text": "four", "label": None}),
        ],
    },
    "maps": {
        "files": {
            "a.parquet": lambda: parquet(
                ("text", ["one", "two", ""], None),
                ("label", ["x", "y", "x"], None),
                ("tags", [[("a", 1)], [], [("b", 2)]], arrow("map_", arrow("string"), arrow("int64"))),
            )
        },
        "rows": {"a.parquet": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.parquet", 3, "empty_text", {"text": "", "label": "x", "tags": [["b", 2]]})],
    },
    # Python's mapping would lose one of the two.
    "a_struct_with_one_name_twice": {
        "files": {"a.parquet": lambda: parquet_of_one_struct(("a", "a"))},
        "error": ("a.parquet", "duplicate field names"),
    },
    "a_column_of_nulls_as_the_text": {
        "files": {
            "a.parquet": lambda: parquet(("text", [None, None], arrow("null")), ("label", ["x", "y"], None)),
            "b.parquet": plain,
        },
        "rows": {"a.parquet": 2, "b.parquet": 2},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [
            ("a.parquet", 1, "empty_text", {"text": None, "label": "x"}),
            ("a.parquet", 2, "empty_text", {"text": None, "label": "y"}),
        ],
    },
    "a_column_named_twice": {
        "files": {"a.parquet": lambda: parquet(("text", ["a"], None), ("label", ["x"], None), ("text", ["b"], None))},
        "error": ("a.parquet", "column 'text' stands twice"),
    },
    "a_column_that_is_not_there": {
        "files": {"a.parquet": lambda: parquet(("body", ["a"], None), ("label", ["x"], None))},
        "error": ("No column 'text'", "body, label"),
    },
    "no_rows": {
        "files": {"a.parquet": lambda: parquet(("text", [], arrow("string")), ("label", [], arrow("string")))},
        "error": ("a.parquet has no rows",),
    },
    "no_columns": {"files": {"a.parquet": parquet}, "error": ("a.parquet",)},
    "cut_short": {"files": {"a.parquet": lambda: plain()[:-30]}, "error": ("a.parquet",), "command": True},
    "the_magic_number_alone": {"files": {"a.parquet": b"PAR1PAR1"}, "error": ("a.parquet",)},
    "no_bytes": {
        "files": {"a.parquet": b""},
        "error": (
            "a.parquet",
            "0 bytes",
        ),
    },
    "csv_named_parquet": {"files": {"a.parquet": b"text,label\none,x\ntwo,y\n"}, "error": ("a.parquet",)},
    "parquet_named_csv": {"files": {"a.csv": plain}, "error": ("a.csv",)},
    # The footer is whole, so that the damage shows only when the rows are read.
    "pages_overwritten": {"files": {"a.parquet": lambda: without_middle(plain())}, "error": ("a.parquet",)},
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])
