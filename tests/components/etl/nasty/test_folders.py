"""Folders, globs and names: what stands beside the data, what it is called, and what is no file at all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ONE = b"text,label\none,x\n"
TWO = b"text,label\ntwo,y\n"
BOTH = {"one": "x", "two": "y"}
EMPTY_ROW = b"text,label\n,x\n"

CASES: dict[str, dict[str, Any]] = {
    # --- Names: each of them is a path first, whatever it means to a shell, a glob or a URI.
    "a_name_with_spaces": {
        "files": {" my data .csv": ONE + b"two,y\n,x\n"},
        "rows": {" my data .csv": 3},
        "kept": BOTH,
        "quarantined": [(" my data .csv", 4, "empty_text", {"text": "", "label": "x"})],
    },
    "a_name_of_emoji": {"files": {"📊 été.csv": ONE + b"two,y\n"}, "rows": {"📊 été.csv": 2}, "kept": BOTH},
    "a_name_with_a_dash_in_front": {
        "files": {"--rows=1.csv": ONE + b"two,y\n"},
        "rows": {"--rows=1.csv": 2},
        "kept": BOTH,
    },
    "a_name_like_a_pattern": {
        "files": {"a[1]*?.csv": ONE + b"two,y\n", "a1.csv": b"text,label\nthree,x\n"},
        "data": "a[1]*?.csv",
        "rows": {"a[1]*?.csv": 2},
        "kept": BOTH,
    },
    "names_with_percent_hash_and_a_question_mark": {
        "files": {"a%20#1.csv": ONE, "b?.csv": TWO + b",x\n"},
        "rows": {"a%20#1.csv": 1, "b?.csv": 2},
        "kept": BOTH,
        "quarantined": [("b?.csv", 3, "empty_text", {"text": "", "label": "x"})],
    },
    # Errors are one line, and terminals obey what is no text.
    "a_name_with_a_line_break": {"files": {"a.csv": ONE, "b\n.csv": TWO}, "error": ("b\\n.csv", "Rename")},
    "a_name_with_an_escape": {"files": {"\x1b[31m.csv": ONE + b"two,y\n"}, "error": ("\\x1b[31m.csv", "Rename")},
    "endings_in_capitals": {
        "files": {"A.CSV": ONE, "B.Jsonl": b'{"text":"two","label":"y"}\n'},
        "rows": {"A.CSV": 1, "B.Jsonl": 1},
        "kept": BOTH,
    },
    # --- What stands beside the data
    "hidden_files_and_others_beside_the_data": {
        "files": {
            "a.csv": ONE,
            "nested/deeper/b.csv": TWO,
            "README.md": b"text,label\nnot this,x\n",
            "LICENSE": b"text,label\nnor this,x\n",
            ".hidden.csv": b"text,label\nnor that,x\n",
            "._a.csv": b"\0\5\x16\7",
            ".git/c.csv": b"text,label\nnor those,x\n",
            "_SUCCESS": b"",
        },
        "rows": {"a.csv": 1, "nested/deeper/b.csv": 1},
        "kept": BOTH,
        "ignored": ("._a.csv", ".git/", ".hidden.csv", "LICENSE", "README.md", "_SUCCESS"),
    },
    # Files of one name in two folders are two files.
    "the_same_name_twice": {
        "files": {"a/part.csv": ONE + b",x\n", "b/part.csv": TWO + b"One,x\n,y\n"},
        "rows": {"a/part.csv": 2, "b/part.csv": 3},
        "kept": {"One": "x", "two": "y"},
        "merged": 1,
        "quarantined": [
            ("a/part.csv", 3, "empty_text", {"text": "", "label": "x"}),
            ("b/part.csv", 4, "empty_text", {"text": "", "label": "y"}),
        ],
    },
    "a_folder_named_like_a_file": {
        "files": {"x.csv/a.csv": ONE, "x.csv/b.csv": TWO},
        "data": "x.csv",
        "rows": {"x.csv/a.csv": 1, "x.csv/b.csv": 1},
        "kept": BOTH,
    },
    "a_folder_named_like_a_file_in_a_folder": {
        "files": {"a.csv": ONE, "x.csv/b.csv": TWO},
        "rows": {"a.csv": 1, "x.csv/b.csv": 1},
        "kept": BOTH,
    },
    # A job that had nothing to say leaves its part empty.
    "empty_parts": {
        "files": {"a.csv": ONE + b"two,y\n", "b.csv": b"", "c.csv": b"text,label\n", "d.jsonl": b"\n", "e.json": b"[]"},
        "rows": {"a.csv": 2, "b.csv": 0, "c.csv": 0, "d.jsonl": 0, "e.json": 0},
        "kept": BOTH,
    },
    # Each file has its own header, delimiter and order of columns.
    "files_of_every_form": {
        "files": {
            "a.csv": b"label;extra;text\nx;1;one\n",
            "b.tsv": b"text\tlabel\ntwo\ty\n",
            "c.json": b'[{"label":"x","text":"three"}]',
            "d.csv": b"text,label,another\n,y,\n",
        },
        "rows": {"a.csv": 1, "b.tsv": 1, "c.json": 1, "d.csv": 1},
        "kept": BOTH | {"three": "x"},
        "quarantined": [("d.csv", 2, "empty_text", {"text": "", "label": "y", "another": ""})],
    },
    # The rows of one file would be left out in silence.
    "one_file_without_the_column": {
        "files": {"a.csv": ONE + b"two,y\n", "b.csv": b"body,label\nthree,x\n"},
        "error": ("No column 'text' in b.csv", "body, label"),
        "command": True,
    },
    "one_file_cut_short": {
        "files": {"a.csv": ONE + b"two,y\n", "b.json": b'[{"text":"three","label":"x"}'},
        "error": ("b.json",),
    },
    "nothing_to_read": {
        "files": {"README.md": b"", ".a.csv": ONE},
        "data": "",
        "error": ("no file", "README.md", ".csv"),
    },
    # --- Globs
    "a_glob": {
        "files": {"a/part-1.csv": ONE, "b/part-2.csv": TWO, "b/other.csv": b"text,label\nthree,x\n"},
        "data": "*/part-*.csv",
        "rows": {"a/part-1.csv": 1, "b/part-2.csv": 1},
        "kept": BOTH,
    },
    "a_glob_that_matches_nothing": {"files": {"a.csv": ONE}, "data": "*.jsonl", "error": ("*.jsonl",)},
    "a_glob_that_matches_a_folder": {
        "files": {"a.csv": ONE + b"two,y\n", "b.csv/c.csv": b"text,label\nthree,x\n"},
        "data": "*.csv",
        "rows": {"a.csv": 2},
        "kept": BOTH,
        "ignored": ("b.csv/",),
    },
    # --- No files, or none that say what they are
    "no_such_file": {"files": {"a.csv": ONE}, "data": "b.csv", "error": ("b.csv",), "command": True},
    "no_ending": {
        "files": {"data": ONE + b"two,y\n"},
        "error": ("data: unknown kind of file", ".csv", "source_format"),
    },
    "no_ending_when_the_form_is_said": {
        "files": {"data": ONE + b"two,y\n"},
        "options": {"source_format": "csv"},
        "rows": {"data": 2},
        "kept": BOTH,
    },
    "a_form_that_nobody_knows": {
        "files": {"a.csv": ONE},
        "options": {"source_format": "cvs"},
        "error": ("'cvs'", "'csv'"),
    },
    "another_form_than_the_ending_says": {
        "files": {"a.csv": b'{"text":"one","label":"x"}\n{"text":"two","label":"y"}\n'},
        "options": {"source_format": "jsonl"},
        "rows": {"a.csv": 2},
        "kept": BOTH,
    },
    "a_spreadsheet": {"files": {"a.xlsx": b"PK\x03\x04"}, "error": ("a.xlsx: unknown kind of file", ".csv")},
    "a_file_as_a_folder": {"files": {"a.csv": ONE}, "data": "a.csv/b.csv", "error": ("a.csv/b.csv",)},
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files of a row each."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_bytes(ONE)
    (folder / "b.csv").write_bytes(TWO)
    return folder


def test_a_loop_of_links_ends(folder: Path, has_fates: Callable[..., None]) -> None:
    (folder / "nested").mkdir()
    (folder / "nested" / "loop").symlink_to(folder)
    (folder / "self").symlink_to(".")
    # Each of them leads to rows that are read already; that they are passed over is said.
    expected = {"rows": {"a.csv": 1, "b.csv": 1}, "kept": BOTH, "ignored": ("nested/loop/", "self/")}
    has_fates(str(folder), expected)


def test_a_link_to_a_file_is_that_file(folder: Path, tmp_path: Path, has_fates: Callable[..., None]) -> None:
    (tmp_path / "elsewhere.csv").write_bytes(b"text,label\nthree,x\n")
    (folder / "c.csv").symlink_to(tmp_path / "elsewhere.csv")
    has_fates(str(folder), {"rows": {"a.csv": 1, "b.csv": 1, "c.csv": 1}, "kept": BOTH | {"three": "x"}})


@pytest.mark.parametrize("target", ["gone.csv", "c.csv"])
def test_a_link_to_nothing_or_to_itself_is_a_file_that_is_missing(
    target: str, folder: Path, has_fates: Callable[..., None]
) -> None:
    (folder / "c.csv").symlink_to(target)
    has_fates(str(folder), {"error": ("c.csv",)})


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_not_waited_for(folder: Path, has_fates: Callable[..., None]) -> None:
    os.mkfifo(folder / "c.csv")
    (folder / "d.csv").symlink_to("c.csv")
    has_fates(str(folder), {"rows": {"a.csv": 1, "b.csv": 1}, "kept": BOTH, "ignored": ("c.csv", "d.csv")})


# As a shell gives for <(zcat old.csv.gz).
@pytest.mark.timeout(20)
def test_a_pipe_by_its_name_is_read(folder: Path, has_fates: Callable[..., None]) -> None:
    os.mkfifo(folder / "c.csv")
    threading.Thread(target=(folder / "c.csv").write_bytes, args=(ONE + b"two,y\n,x\n",), daemon=True).start()
    empty = ("c.csv", 4, "empty_text", {"text": "", "label": "x"})
    has_fates(str(folder / "c.csv"), {"rows": {"c.csv": 3}, "kept": BOTH, "quarantined": [empty]})


@pytest.mark.timeout(20)
def test_a_device_is_no_data(has_fates: Callable[..., None]) -> None:
    has_fates("/dev/zero", {"error": ("zero",), "options": {"source_format": "csv"}})


def test_a_name_that_is_no_text_is_read_or_refused(folder: Path, has_fates: Callable[..., None]) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv")).write_bytes(EMPTY_ROW)
    has_fates(str(folder), {"error": ("caf\\udce9.csv", "Rename")})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed", ["c.csv", "nested"])
def test_what_may_not_be_read_is_named(closed: str, folder: Path, has_fates: Callable[..., None]) -> None:
    (folder / "nested").mkdir()
    (folder / "c.csv").write_bytes(ONE)
    (folder / closed).chmod(0)
    has_fates(str(folder), {"error": (closed, "Permission denied")})
    (folder / closed).chmod(0o700)


def test_no_data_at_all(has_fates: Callable[..., None]) -> None:
    has_fates("", {"error": ("data",)})


def test_a_scheme_that_nobody_knows(has_fates: Callable[..., None]) -> None:
    has_fates("no-such-scheme://bucket/a.csv", {"error": ("no-such-scheme",)})
