from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tunelane_components.etl.sources.find import Found, find_sources

Written = Callable[..., Path]


def names(found: Found) -> list[str]:
    return [file.name for file in found.files]


@pytest.mark.parametrize(
    ("name", "file_format", "compression"),
    [
        ("a.csv", "csv", ""),
        ("A.CSV.GZ", "csv", "gz"),
        ("a.b.tsv.zst", "tsv", "zst"),
        ("a.json", "json", ""),
        ("a.ndjson.gz", "jsonl", "gz"),
        ("a.jsonl", "jsonl", ""),
        ("a.parquet", "parquet", ""),
    ],
)
def test_a_name_tells_format_and_compression(written: Written, name: str, file_format: str, compression: str) -> None:
    path = written(name, "text")
    [file] = find_sources(str(path)).files
    assert (file.name, file.uri, file.size_bytes) == (name, str(path), 4)
    assert (file.format, file.compression) == (file_format, compression)
    assert find_sources(path.as_uri()).files == [file]


def test_a_folder_is_read_with_its_folders_and_what_is_passed_over_is_named(tmp_path: Path, written: Written) -> None:
    for name in ("b.csv", "a/z.jsonl", "a.csv", "a/b/c.parquet", "README.md", ".hidden.csv", ".git/x.csv", "x.csv.bz2"):
        written(name, "text")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    found = find_sources(str(tmp_path))
    assert names(found) == ["a.csv", "a/b/c.parquet", "a/z.jsonl", "b.csv"]
    assert found.ignored == [".git/", ".hidden.csv", "README.md", "linked/", "x.csv.bz2"]


def test_a_glob_names_files_below_its_fixed_part(tmp_path: Path, written: Written) -> None:
    for name in ("2024/a.csv", "2024/b.jsonl", "2025/a.csv", "2025/deep/a.csv", "other/a.csv"):
        written(name, "text")
    assert names(find_sources(f"{tmp_path}/202?/*.csv")) == ["2024/a.csv", "2025/a.csv"]
    assert names(find_sources(f"{tmp_path}/2025/**/*.csv")) == ["a.csv", "deep/a.csv"]
    found = find_sources(f"{tmp_path}/2025/*")
    assert (names(found), found.ignored) == (["a.csv"], ["deep/"])


def test_a_name_with_a_bracket_is_a_name_first(written: Written) -> None:
    path = written("a[1].csv", "text")
    assert names(find_sources(str(path))) == ["a[1].csv"]


def test_a_format_that_is_given_holds_for_every_ending_but_those_of_other_formats(
    tmp_path: Path, written: Written
) -> None:
    for name in ("part-0", "part-1.gz", "part-2.txt", "b.csv", "c.json"):
        written(name, "text")
    found = find_sources(str(tmp_path), source_format="csv")
    assert [(file.name, file.format, file.compression) for file in found.files] == [
        ("b.csv", "csv", ""),
        ("part-0", "csv", ""),
        ("part-1.gz", "csv", "gz"),
        ("part-2.txt", "csv", ""),
    ]
    assert found.ignored == ["c.json"]
    [single] = find_sources(str(tmp_path / "c.json"), source_format="jsonl").files
    assert single.format == "jsonl"


def test_remote_files_folders_and_globs_are_found(remote: fsspec.AbstractFileSystem) -> None:
    for name in ("day=1/a.csv", "day=2/a.csv.gz", "day=2/.hidden.csv", "notes.txt"):
        remote.pipe_file(f"/bucket/{name}", b"text\n")
    found = find_sources("memory://bucket")
    assert [(file.uri, file.name) for file in found.files] == [
        ("memory:///bucket/day=1/a.csv", "day=1/a.csv"),
        ("memory:///bucket/day=2/a.csv.gz", "day=2/a.csv.gz"),
    ]
    assert found.ignored == ["day=2/.hidden.csv", "notes.txt"]
    assert find_sources("memory://bucket/").files == found.files
    assert find_sources("memory://bucket/**/*.csv*").files == found.files
    [single] = find_sources("memory://bucket/day=1/a.csv").files
    assert (single.name, single.size_bytes) == ("a.csv", 5)


def test_what_is_not_there_is_named(tmp_path: Path, remote: object, message_of: Callable[..., Any]) -> None:
    for data in (str(tmp_path / "no.csv"), "memory://bucket/no.csv"):
        with message_of() as message:
            find_sources(data, what="test_data")
        assert message == [f"No such file or directory: {data}. Pass --set test_data=PATH or a gs:// URI that exists."]
    with message_of() as message:
        find_sources(" ")
    assert message == ["No data was given. Pass --set data=PATH or a gs:// URI."]
    with message_of() as message:
        find_sources("nowhere://bucket/a.csv")
    assert message[0].startswith("Cannot read data nowhere://bucket/a.csv: Protocol not known: nowhere")


def test_a_folder_or_glob_with_nothing_to_read_says_what_it_holds(
    tmp_path: Path, written: Written, message_of: Callable[..., Any], remote: fsspec.AbstractFileSystem
) -> None:
    for number in range(7):
        written(f"folder/{number}.txt", "text")
    with message_of() as message:
        find_sources(str(tmp_path / "folder"))
    assert message[0].startswith(
        f"{tmp_path}/folder holds no file to read (only 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, …). Pass --set data=…"
    )
    for data in (f"{tmp_path}/*.csv", "memory://bucket/*.csv"):
        with message_of() as message:
            find_sources(data)
        assert message[0].startswith(f"{data} holds no file to read. Pass --set data=…")


def test_an_unknown_kind_of_file_names_the_known_ones(written: Written, message_of: Callable[..., Any]) -> None:
    for name in ("a.xlsx", "a", ".csv", "a.parquet.gz"):
        with message_of() as message:
            find_sources(str(written(name, "PK")))
        assert message == [
            f"{name}: unknown kind of file. Pass one that ends in .csv, .tsv, .json, .jsonl, .ndjson, .parquet "
            "(text also as .gz or .zst), or --set source_format=…"
        ]


def test_an_unknown_format_names_the_nearest(written: Written, message_of: Callable[..., Any]) -> None:
    with message_of() as message:
        find_sources(str(written("a.csv", "text")), source_format="jsnl")
    assert message == [
        "Unknown source_format 'jsnl'. Did you mean 'jsonl'? Formats: csv, tsv, json, jsonl, parquet. "
        "Transformers: none is installed."
    ]


def test_a_link_to_nothing_is_no_file_lost_in_silence(tmp_path: Path, message_of: Callable[..., Any]) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    with message_of() as message:
        find_sources(str(tmp_path))
    assert message == [f"Cannot read {tmp_path / 'a.csv'}: No such file or directory."]
