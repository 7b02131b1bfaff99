import csv
import io
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_serving.errors import InputError

Written = Callable[..., Path]
Read = Callable[..., Any]

# Whatever a row's end may depend on, and what an ordinary field holds.
PIECES = ('"', '""', ",", ";", "\t", "\n", "\r", "\r\n", "a", " ", "é", "\u2028", "\x85", "\0", '"x"', '"a\nb"', "1,2")
tables = st.lists(st.sampled_from(PIECES), max_size=60).map(lambda parts: "a,b\n" + "".join(parts))


def malformed(line: int, detail: str, content: str) -> MalformedRow:
    return MalformedRow(line, "malformed_row", detail, content)


def parsed_at_once(text: str) -> list[tuple[int, Any]]:
    """The rows of a table with the header a,b as the csv module reads the whole: line and fields, or line and error."""
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, strict=True)
    next(reader)
    found: list[tuple[int, Any]] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if str(error) == "unexpected end of data":
                return [*found, (line, "unclosed")]
            found.append((line, "".join(lines[line - 1 : reader.line_num]).rstrip("\r\n")))
            continue
        if fields is None:
            return found
        if len(fields) == 2:
            found.append((line, fields))
        elif fields:
            found.append((line, "".join(lines[line - 1 : reader.line_num]).rstrip("\r\n")))


@settings(max_examples=600)
@given(text=tables, chunk_bytes=st.integers(1, 40), block_bytes=st.sampled_from([None, 200]))
def test_rows_from_chunks_of_any_size_are_the_rows_of_the_whole(
    read: Read, text: str, chunk_bytes: int, block_bytes: int | None
) -> None:
    expected = parsed_at_once(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(text.encode())
        if expected and expected[-1][1] == "unclosed":
            with pytest.raises(InputError, match=f"^a.csv:{expected[-1][0]}: a quote is opened and never closed"):
                read(path, delimiter=",", chunk_bytes=block_bytes or chunk_bytes)
            return
        rows, _ = read(path, delimiter=",", chunk_bytes=block_bytes or chunk_bytes, allow_empty=True)
    assert [(row.line, list(row.values.values()) if isinstance(row, Row) else row.content) for row in rows] == expected


@settings(max_examples=100)
@given(
    rows=st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=30),
    chunk_bytes=st.integers(1, 300),
    delimiter=st.sampled_from(",;\t|"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"]),
)
def test_what_the_csv_module_writes_reads_back(
    read: Read, rows: list[tuple[str, str]], chunk_bytes: int, delimiter: str, line_end: str, encoding: str
) -> None:
    rows = [(first or "-", second) for first, second in rows]
    stream = io.StringIO(newline="")
    # The module quotes a lone carriage return only where that is a part of its own line end.
    quoting = csv.QUOTE_MINIMAL if line_end == "\r\n" else csv.QUOTE_ALL
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([("text", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(stream.getvalue().encode(encoding))
        asked = "utf-8" if encoding == "utf-8-sig" else encoding
        found, facts = read(path, encoding=asked, wanted_columns=("text", "label"), chunk_bytes=chunk_bytes)
    assert [(row.values["text"], row.values["label"]) for row in found] == rows
    assert (facts.delimiter, facts.encoding, facts.columns) == (delimiter, encoding, ("text", "label"))


def test_quotes_keep_commas_and_line_breaks_and_rows_know_their_first_line(written: Written, read: Read) -> None:
    rows, _ = read(written("a.csv", 'text,label\r\n"one, ""two""\r\nthree",x\r\n\r\nfour,y\r\n'))
    assert rows == [Row(2, {"text": 'one, "two"\r\nthree', "label": "x"}), Row(5, {"text": "four", "label": "y"})]


def test_lone_carriage_returns_end_rows(written: Written, read: Read) -> None:
    rows, _ = read(written("a.csv", 'text,label\rone,x\r"two\rlines",y\r'), chunk_bytes=5)
    assert rows == [Row(2, {"text": "one", "label": "x"}), Row(3, {"text": "two\rlines", "label": "y"})]


def test_tsv_rows_split_at_tabs_alone(written: Written, read: Read) -> None:
    rows, facts = read(written("a.TSV", "text,label\ttopic\none, two\tx\n"), wanted_columns=("text", "label"))
    assert rows == [Row(2, {"text,label": "one, two", "topic": "x"})]
    assert facts.delimiter == "\t"


def test_a_wrong_number_of_fields_is_malformed(written: Written, read: Read) -> None:
    rows, _ = read(written("a.csv", "text,label\nfine,x\nno comma\na,b,c\nfine too,y\n"))
    assert rows == [
        Row(2, {"text": "fine", "label": "x"}),
        malformed(3, "1 fields where the header has 2", "no comma"),
        malformed(4, "3 fields where the header has 2", "a,b,c"),
        Row(5, {"text": "fine too", "label": "y"}),
    ]


def test_text_after_a_closing_quote_is_malformed_and_the_next_row_is_read(written: Written, read: Read) -> None:
    rows, _ = read(written("a.csv", 'text,label\n"one" two,x\nthree,y\n'))
    assert rows == [malformed(2, "',' expected after '\"'", '"one" two,x'), Row(3, {"text": "three", "label": "y"})]


def test_a_quote_that_is_never_closed_stops_instead_of_swallowing_the_file(
    written: Written, read: Read, message_of: Any
) -> None:
    path = written("a.csv", 'label,text\nx,fine\ny,"never closed\n' + "z,more\n" * 50)
    for chunk_bytes in (7, 2**20):
        with message_of() as message:
            read(path, chunk_bytes=chunk_bytes)
        assert message == ["a.csv:3: a quote is opened and never closed. Close or double it."]


def test_a_quote_that_stays_open_over_64_mib_stops_before_memory_does(
    written: Written, read: Read, message_of: Any
) -> None:
    path = written("a.csv", b'label,text\nx,fine\ny,"open\n' + b"z,more more more more more\n" * 2_700_000)
    with message_of() as message:
        read(path)
    assert message == ["a.csv:3: the row is longer than 64 MiB. Is a quote opened there and never closed?"]


def test_one_line_of_50_mb_is_a_row(written: Written, read: Read) -> None:
    [row], _ = read(written("a.csv", "text,label\n" + "a" * 50_000_000 + ",x\n"))
    assert isinstance(row, Row)
    assert len(row.values["text"]) == 50_000_000


def test_fields_may_be_long_and_may_hold_nul(written: Written, read: Read) -> None:
    [long, quoted, nul], _ = read(written("a.csv", f'text,label\n{"a" * 300_000},x\n"{"a" * 300_000}",x\nb\0c,y\n'))
    assert len(long.values["text"]) == len(quoted.values["text"]) == 300_000
    assert nul.values["text"] == "b\0c"


def test_an_unnamed_column_is_fine_and_a_doubled_one_is_not(written: Written, read: Read, message_of: Any) -> None:
    assert read(written("a.csv", ",text,\n0,one,\n"))[0] == [Row(2, {"": "", "text": "one"})]
    with message_of() as message:
        read(written("b.csv", "text,text\na,b\n"))
    assert message == ["b.csv: the header names column 'text' twice. Rename one."]


def test_a_header_that_cannot_be_read_is_named_with_its_line(written: Written, read: Read, message_of: Any) -> None:
    with message_of() as message:
        read(written("a.csv", '\n"text"x,label\na,b\n'))
    assert message == ["a.csv:2: the header cannot be read: ',' expected after '\"'."]
    with message_of() as message:
        read(written("b.csv", "tëxt,label\na,b\n".encode("latin-1")))
    assert message == ["b.csv:1: the header cannot be read: byte 0xeb is not UTF-8. Pass --set encoding=…"]


def test_blank_lines_before_the_header_are_passed_over(written: Written, read: Read) -> None:
    path = written("a.csv", ' \n\r\n\n"te\nxt",label\none,x\n')
    for chunk_bytes in (1, 2**20):
        assert read(path, chunk_bytes=chunk_bytes)[0] == [Row(6, {"te\nxt": "one", "label": "x"})]


def test_a_row_of_spaces_in_a_single_column_is_a_row(written: Written, read: Read) -> None:
    assert read(written("a.csv", "text\n  \n\n"))[0] == [Row(2, {"text": "  "})]


@pytest.mark.parametrize(
    ("header", "row", "delimiter"),
    [
        ("text;label;note, or none", "a, b, and c;x;n", ";"),
        ("text\tlabel", "one, two\tx", "\t"),
        ("id|text|label", "1|one; two|x", "|"),
        ("text", "one; two, three", ","),
        ("note;when,text,label", "a,one,x", ","),
    ],
)
def test_the_delimiter_is_the_one_under_which_the_wanted_columns_stand(
    written: Written, read: Read, header: str, row: str, delimiter: str
) -> None:
    _, facts = read(written("a.csv", f"{header}\n" + f"{row}\n" * 5), wanted_columns=("text", "label"))
    assert facts.delimiter == delimiter


def test_without_wanted_columns_the_rows_decide_the_delimiter(written: Written, read: Read) -> None:
    path = written("a.csv", "body;topic, sub\none, two, three;x\nfour;y\n")
    assert read(path)[1].delimiter == ";"


def test_a_delimiter_can_be_given(written: Written, read: Read, message_of: Any) -> None:
    path = written("a.csv", "text~label,x\none~1\n")
    assert read(path, delimiter="~")[0] == [Row(2, {"text": "one", "label,x": "1"})]
    assert read(written("b.csv", "text\tlabel\none\tx\n"), delimiter="\\t")[1].delimiter == "\t"
    for delimiter in ("ab", '"', "¦", "\n"):
        with message_of() as message:
            read(path, delimiter=delimiter)
        assert message == [f"Delimiter {delimiter!r} cannot be used. Pass one ASCII character, as , or ; or tab."]


def test_bytes_that_are_no_utf_8_take_only_their_rows(written: Written, read: Read) -> None:
    content = b'text,label\none,x\ncaf\xe9,y\n"two\n\xff lines",z\nna\xc3\xafve,w\n\xe9,too,many\n'
    for chunk_bytes in (3, 2**20):
        rows, facts = read(written("a.csv", content), chunk_bytes=chunk_bytes)
        assert rows == [
            Row(2, {"text": "one", "label": "x"}),
            MalformedRow(3, "bad_encoding", "byte 0xe9 is not UTF-8", "caf\\xe9,y"),
            MalformedRow(4, "bad_encoding", "byte 0xff is not UTF-8", '"two\n\\xff lines",z'),
            Row(6, {"text": "naïve", "label": "w"}),
            MalformedRow(7, "bad_encoding", "byte 0xe9 is not UTF-8", "\\xe9,too,many"),
        ]
        assert facts.encoding == "utf-8"


def test_another_encoding_is_read_when_asked_for_and_what_it_does_not_have_takes_only_its_rows(
    written: Written, read: Read
) -> None:
    path = written("a.csv", b"text,label\ncaf\xe9,x\nbad \x81\x8d,y\nfine \x80,z\n")
    for chunk_bytes in (1, 2**20):
        rows, facts = read(path, encoding="cp1252", chunk_bytes=chunk_bytes)
        assert rows == [
            Row(2, {"text": "café", "label": "x"}),
            MalformedRow(3, "bad_encoding", "byte 0x81 is not cp1252", "bad \\x81\\x8d,y"),
            Row(4, {"text": "fine €", "label": "z"}),
        ]
        assert facts.encoding == "cp1252"


def test_ascii_is_not_taken_for_utf_8(written: Written, read: Read) -> None:
    rows, _ = read(written("a.csv", "text\ncafé\n"), encoding="ascii")
    assert rows == [MalformedRow(2, "bad_encoding", "byte 0xc3 is not ascii", "caf\\xc3\\xa9")]


def test_utf_16_with_half_a_pair_takes_only_its_row(written: Written, read: Read) -> None:
    content = "text\nok\n".encode("utf-16") + b"\x00\xd8" + "\nalso ok\n".encode("utf-16-le")
    rows, _ = read(written("a.csv", content), encoding="utf-16")
    assert [row.line if isinstance(row, Row) else row.reason for row in rows] == [2, "bad_encoding", 4]


def test_quoted_and_plain_rows_read_alike_in_large_chunks(written: Written, read: Read) -> None:
    parts = itertools.cycle(("plain", 'a "quote"', "a, comma", "two\nlines", "more", '"'))
    rows = [(" ".join(itertools.islice(parts, number % 7 + 1)), "xyz"[number % 3]) for number in range(3000)]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    path = written("a.csv", stream.getvalue())
    found, _ = read(path, chunk_bytes=10_000)
    assert [(row.values["text"], row.values["label"]) for row in found] == rows
    assert found == read(path)[0]
