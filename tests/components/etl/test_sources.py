import json
from pathlib import Path

import pytest

from tunelane_components.etl.sources import MalformedRow, Row, read_rows
from tunelane_serving.errors import InputError


def rows_of(path: Path) -> list[Row | MalformedRow]:
    return list(read_rows(path))


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(path)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_csv_rows_keep_quotes_commas_and_line_breaks_and_know_their_first_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text,label\r\n"one, ""two""\r\nthree",x\r\n\r\nfour,y\r\n')
    assert rows_of(path) == [
        Row(2, {"text": 'one, "two"\r\nthree', "label": "x"}),
        Row(5, {"text": "four", "label": "y"}),
    ]


def test_tsv_rows_split_at_tabs_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.TSV", "text\tlabel\none, two\tx\n")
    assert rows_of(path) == [Row(2, {"text": "one, two", "label": "x"})]


def test_jsonl_rows_keep_types_and_skip_blank_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text":"one\u2028two","label":1}\r\n\n{"text":null}\n')
    assert rows_of(path) == [Row(1, {"text": "one\u2028two", "label": 1}), Row(3, {"text": None})]
    assert rows_of(written(tmp_path, "a.ndjson", path.read_bytes())) == rows_of(path)


def test_json_rows_know_their_line(tmp_path: Path) -> None:
    items = [{"text": "one"}, {"text": "one"}, {"text": "two\nlines", "label": "x"}]
    path = written(tmp_path, "a.json", json.dumps(items, indent=2))
    assert rows_of(path) == [Row(2, items[0]), Row(5, items[1]), Row(8, items[2])]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    content = {"a.csv": "text\ncafé\n", "a.tsv": "text\ncafé\n", "a.json": '[{"text":"café"}]'}.get(
        name, '{"text":"café"}'
    )
    [row] = rows_of(written(tmp_path, name, b"\xef\xbb\xbf" + content.encode()))
    assert isinstance(row, Row)
    assert row.values == {"text": "café"}


def test_csv_rows_with_a_wrong_number_of_fields_are_malformed(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label\nfine,x\nno comma\na,b,c\nfine too,y\n")
    assert rows_of(path) == [
        Row(2, {"text": "fine", "label": "x"}),
        MalformedRow(3, "1 fields where the header has 2", "no comma"),
        MalformedRow(4, "3 fields where the header has 2", "a,b,c"),
        Row(5, {"text": "fine too", "label": "y"}),
    ]


def test_a_csv_row_with_text_after_its_closing_quote_is_malformed_and_the_next_one_is_read(tmp_path: Path) -> None:
    broken, fine = rows_of(written(tmp_path, "a.csv", 'text,label\n"one" two,x\nthree,y\n'))
    assert broken == MalformedRow(2, "',' expected after '\"'", '"one" two,x')
    assert fine == Row(3, {"text": "three", "label": "y"})


def test_a_csv_quote_that_is_never_closed_stops_instead_of_swallowing_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'label,text\nx,fine\ny,"never closed\n' + "z,more\n" * 50)
    assert message_of(path) == "a.csv:3: a quote is opened and never closed. Close or double it."


def test_csv_fields_may_be_long_and_may_hold_nul(tmp_path: Path) -> None:
    long, nul = rows_of(written(tmp_path, "a.csv", f"text,label\n{'a' * 300_000},x\nb\0c,y\n"))
    assert isinstance(long, Row)
    assert isinstance(nul, Row)
    assert len(long.values["text"]) == 300_000
    assert nul.values["text"] == "b\0c"


def test_an_unnamed_csv_column_is_fine_and_a_doubled_one_is_not(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, "a.csv", ",text,\n0,one,\n")) == [Row(2, {"": "", "text": "one"})]
    assert message_of(written(tmp_path, "b.csv", "text,text\na,b\n")) == (
        "b.csv: the header names column 'text' twice. Rename one."
    )


def test_jsonl_lines_that_hold_no_object_are_malformed(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a.jsonl", '{"text":"one"}\n{"text":\n[1]\n{"text":"\\ud800"}\n{"text":NaN}\n' + "[" * 100_000 + "\n"
    )
    fine, *broken = rows_of(path)
    assert isinstance(fine, Row)
    assert [row.line for row in broken] == [2, 3, 4, 5, 6]
    assert all(isinstance(row, MalformedRow) for row in broken)
    assert broken[1] == MalformedRow(3, "not a JSON object", "[1]")


def test_json_items_that_are_no_objects_are_malformed(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, "a.json", '[{"text":"one"},\n 7]')) == [
        Row(1, {"text": "one"}),
        MalformedRow(2, "not a JSON object", "7"),
    ]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\n"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_an_empty_file_says_so(tmp_path: Path, content: bytes, suffix: str) -> None:
    assert (
        message_of(written(tmp_path, f"a{suffix}", content)) == f"a{suffix} is empty. Pass a file with labelled rows."
    )


def test_what_is_not_utf_8_is_named_by_byte_and_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label\none,x\ncafé,y\n".encode("latin-1"))
    assert message_of(path) == (
        "a.csv is not UTF-8: byte 0xe9 on line 3. Convert it: iconv -f ENCODING -t UTF-8 a.csv > converted.csv"
    )
    assert "byte 0xff on line 1" in message_of(written(tmp_path, "b.jsonl", '{"text":"a"}'.encode("utf-16")))


def test_an_unknown_kind_of_file_names_the_known_ones(tmp_path: Path) -> None:
    assert message_of(written(tmp_path, "a.xlsx", "PK")) == (
        "a.xlsx: unknown kind of file. Pass one that ends in .csv, .tsv, .json, .jsonl, .ndjson."
    )


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    assert message_of(tmp_path / "no.csv") == f"Cannot read {tmp_path / 'no.csv'}: No such file or directory."
    assert message_of(tmp_path).startswith(f"{tmp_path.name} is a directory. Pass one file")


def test_a_json_file_that_is_no_array_or_no_json_stops(tmp_path: Path) -> None:
    assert message_of(written(tmp_path, "a.json", '{"rows":[]}')) == (
        "a.json: not an array of objects. Write [{…}, …], or one object a line as .jsonl."
    )
    assert message_of(written(tmp_path, "b.json", '[{"text":"one"},')) == (
        "b.json is not valid JSON: Input data was truncated."
    )
