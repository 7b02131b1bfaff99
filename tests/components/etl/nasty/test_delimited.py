"""Delimited files: quotes, line ends, headers and delimiters as no writer should leave them, and many do."""

from collections.abc import Callable
from typing import Any

import pytest

# What is compared with all that came before it takes minutes.
pytestmark = pytest.mark.timeout(60)

CASES: dict[str, dict[str, Any]] = {
    # --- Quotes
    # A lenient reader glues what follows onto the field.
    "text_after_a_closing_quote": {
        "files": {"a.csv": b'text,label\n"one" two,x\nthree,y\nfour,x\n'},
        "rows": {"a.csv": 3},
        "kept": {"three": "y", "four": "x"},
        "quarantined": [("a.csv", 2, "malformed_row", '"one" two,x')],
    },
    # Whoever looks for row ends by counting quotes is out of step for the rest of the file.
    "an_odd_number_of_quotes_in_a_broken_row": {
        "files": {"a.csv": b'text,label\n"one" tw"o,x\nthree,y\nfour,x\n'},
        "rows": {"a.csv": 3},
        "kept": {"three": "y", "four": "x"},
        "quarantined": [("a.csv", 2, "malformed_row", '"one" tw"o,x')],
    },
    # A lenient reader takes the rest of the file for one field.
    "a_quote_that_is_never_closed": {
        "files": {"a.csv": b'label,text\nx,fine\ny,"never closed\n' + b"x,more\n" * 50},
        "error": ("a.csv:3", "never closed"),
        "command": True,
    },
    "a_header_whose_quote_is_never_closed": {
        "files": {"a.csv": b'"text,label\none,x\ntwo,y\n'},
        "error": ("a.csv:1", "never closed"),
    },
    # Inches and speech: a quote that does not begin the field is a character like any other.
    "quotes_inside_unquoted_fields": {
        "files": {"a.csv": b'text,label\n6" nails,x\nshe said "yes" twice,y\nthe end"",x\n'},
        "rows": {"a.csv": 3},
        "kept": {'6" nails': "x", 'she said "yes" twice': "y", 'the end""': "x"},
    },
    # The space makes the quote a character, so the comma within splits the field.
    "a_space_before_the_quote": {
        "files": {"a.csv": b'text,label\n "one, two",x\nthree,y\nfour,x\n'},
        "rows": {"a.csv": 3},
        "kept": {"three": "y", "four": "x"},
        "quarantined": [("a.csv", 2, "malformed_row", ' "one, two",x')],
    },
    # As programming languages escape, not as CSV does.
    "backslash_before_quotes": {
        "files": {"a.csv": b'text,label\n"a \\"b\\" c",x\nthree,y\nfour,x\n'},
        "rows": {"a.csv": 3},
        "kept": {"three": "y", "four": "x"},
        "quarantined": [("a.csv", 2, "malformed_row", '"a \\"b\\" c",x')],
    },
    "nothing_but_doubled_quotes": {
        "files": {"a.csv": b'text,label\n"""",x\n"""a""",y\n"",x\n""""""""\n'},
        "rows": {"a.csv": 4},
        "kept": {'"': "x", '"a"': "y"},
        "quarantined": [
            ("a.csv", 4, "empty_text", {"text": "", "label": "x"}),
            ("a.csv", 5, "malformed_row", '""""""""'),
        ],
    },
    # Every field quoted, the header too.
    "everything_quoted": {
        "files": {"a.csv": b'"text","label"\n"one","x"\n"two","y"'},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    # --- Line ends
    "line_breaks_inside_quotes": {
        "files": {"a.csv": b'text,label\n"one\ntwo\n\nthree",x\n"four\r\nfive",y\nsix,\n"se\rven",x\n'},
        "rows": {"a.csv": 4},
        "kept": {"one\ntwo\n\nthree": "x", "four\r\nfive": "y", "se\rven": "x"},
        "quarantined": [("a.csv", 8, "missing_label", {"text": "six", "label": ""})],
    },
    # The words of a whole file in one field: its lines look like rows, header and all.
    "a_csv_inside_a_field": {
        "files": {"a.csv": b'text,label\n"text,label\n""one"",x\n""two"",y\n",x\nthree,y\n,x\n'},
        "rows": {"a.csv": 3},
        "kept": {'text,label\n"one",x\n"two",y': "x", "three": "y"},
        "quarantined": [("a.csv", 7, "empty_text", {"text": "", "label": "x"})],
    },
    "crlf": {
        "files": {"a.csv": b"text,label\r\none,x\r\ntwo,y\r\n,x\r\n"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "empty_text", {"text": "", "label": "x"})],
    },
    # As spreadsheets on old Macs write.
    "lone_cr": {
        "files": {"a.csv": b"text,label\rone,x\rtwo,y\r,x\r"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "empty_text", {"text": "", "label": "x"})],
    },
    "mixed_line_ends": {
        "files": {"a.csv": b"text,label\r\none,x\ntwo,y\rthree,x\r\n\r\nfour,y\n,x"},
        "rows": {"a.csv": 5},
        "kept": {"one": "x", "two": "y", "three": "x", "four": "y"},
        "quarantined": [("a.csv", 7, "empty_text", {"text": "", "label": "x"})],
    },
    # A file that was moved through a wrong text mode: every row is followed by an empty line.
    "cr_cr_lf": {
        "files": {"a.csv": b"text,label\r\r\none,x\r\r\ntwo,y\r\r\n"},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    # What Python's splitlines takes for line ends, and CSV does not.
    "other_line_separators_are_text": {
        "files": {"a.csv": "text,label\na\vb\fc,x\nd\u0085e\u2028f\u2029g,y\nh\x1ci\x1dj\x1ek,x\n,y\n".encode()},
        "rows": {"a.csv": 4},
        "kept": {"a\vb\fc": "x", "d\u0085e\u2028f\u2029g": "y", "h\x1ci\x1dj\x1ek": "x"},
        "quarantined": [("a.csv", 5, "empty_text", {"text": "", "label": "y"})],
    },
    "blank_lines_before_between_and_after": {
        "files": {"a.csv": b"\n\r\ntext,label\n\n\none,x\n\ntwo,y\n,x\n\n\n"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 9, "empty_text", {"text": "", "label": "x"})],
    },
    "no_line_end_after_the_last_row": {
        "files": {"a.csv": b'text,label\none,x\n"two\n2",y'},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two\n2": "y"},
    },
    # A copy that was cut short.
    "half_a_last_row": {
        "files": {"a.csv": b"text,label\none,x\ntwo,y\nthr"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "malformed_row", "thr")],
    },
    # Ctrl-Z, the end of a file on DOS.
    "a_dos_end_of_file": {
        "files": {"a.csv": b"text,label\r\none,x\r\ntwo,y\r\n\x1a"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "malformed_row", "\x1a")],
    },
    # --- NUL
    "nul_in_text_label_and_elsewhere": {
        "files": {"a.csv": b"text,label,note\na\0b,x,\none,x\0,\ntwo,y,n\0te\nthree,x,\n"},
        "rows": {"a.csv": 4},
        "kept": {"two": "y", "three": "x"},
        "quarantined": [
            ("a.csv", 2, "malformed_row", {"text": "a\0b", "label": "x", "note": ""}),
            ("a.csv", 3, "malformed_row", {"text": "one", "label": "x\0", "note": ""}),
        ],
    },
    # What is left of a file after a crash of its disk.
    "nothing_but_nul": {"files": {"a.csv": b"\0" * 5000}, "error": ("a.csv",)},
    # --- Headers and columns
    "a_header_alone": {"files": {"a.csv": b"text,label\n"}, "error": ("a.csv has no rows",)},
    "an_empty_file": {"files": {"a.csv": b""}, "error": ("a.csv is empty",), "command": True},
    "blank_lines_alone": {"files": {"a.csv": b"\n\r\n\n"}, "error": ("a.csv is empty",)},
    "no_header": {"files": {"a.csv": b"good film,x\nbad film,y\n"}, "error": ("No column 'text'", "good film, x")},
    "a_column_named_twice": {
        "files": {"a.csv": b"text,label,text\none,x,1\ntwo,y,2\n"},
        "error": ("a.csv", "column 'text' twice"),
        "command": True,
    },
    # Nobody asked for it, but one of its values would be lost from the quarantine.
    "another_column_named_twice": {
        "files": {"a.csv": b"text,label,note,note\none,x,1,2\ntwo,y,3,4\n"},
        "error": ("a.csv", "column 'note' twice"),
    },
    # An index without a name in front, an empty column behind, as spreadsheets and pandas write.
    "unnamed_and_empty_columns": {
        "files": {"a.csv": b",text,label,empty,\n0,one,x,,\n1,two,y,,\n2,,x,,\n"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "empty_text", {"": "", "text": "", "label": "x", "empty": ""})],
    },
    "columns_that_differ_in_case": {
        "files": {"a.csv": b"Text,text,LABEL,label\nnot this,one,no,x\nnor this,two,no,y\n"},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    "more_and_fewer_fields_than_the_header": {
        "files": {"a.csv": b"text,label\none,x\ntwo\nthree,x,y\nfour,y,\n,\n \n,,\nfive,y\n"},
        "rows": {"a.csv": 8},
        "kept": {"one": "x", "five": "y"},
        "quarantined": [
            ("a.csv", 3, "malformed_row", "two"),
            ("a.csv", 4, "malformed_row", "three,x,y"),
            ("a.csv", 5, "malformed_row", "four,y,"),
            ("a.csv", 6, "empty_text", {"text": "", "label": ""}),
            ("a.csv", 7, "malformed_row", " "),
            ("a.csv", 8, "malformed_row", ",,"),
        ],
    },
    "one_column_alone": {"files": {"a.csv": b"text\none\ntwo\n"}, "error": ("No column 'label'", "text")},
    # One line that was meant to be many, or JSON by its content.
    "two_hundred_thousand_columns": {
        "files": {
            "a.csv": lambda: b"\n".join(
                [
                    b"text,label," + b",".join(b"c%d" % column for column in range(200_000)),
                    b"one,x" + b"," * 200_000,
                    b"two,y" + b"," * 200_000,
                    b"three,x" + b"," * 199_999,
                ]
            )
        },
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 4, "malformed_row", "three,x" + "," * 199_999)],
    },
    # Two files joined by cat: the second header is a row like any other, and no label of the taxonomy.
    "a_header_in_the_middle": {
        "files": {"a.csv": b"text,label\none,x\ntext,label\ntwo,y\n"},
        "beside": {"labels.yaml": b"[x, y]"},
        "options": {"taxonomy": "labels.yaml"},
        "rows": {"a.csv": 3},
        "kept": {"one": "x", "two": "y"},
        "quarantined": [("a.csv", 3, "unknown_label", {"text": "text", "label": "label"})],
    },
    # --- Delimiters
    "semicolons": {
        "files": {"a.csv": b'text;label\none, two, three;x\n"four; five";y\n1,5 stars;x\n'},
        "rows": {"a.csv": 3},
        "kept": {"one, two, three": "x", "four; five": "y", "1,5 stars": "x"},
    },
    "pipes": {
        "files": {"a.csv": b"text|label|note\none, two|x|\nthree; four|y|\n"},
        "rows": {"a.csv": 2},
        "kept": {"one, two": "x", "three; four": "y"},
    },
    "tabs_in_a_csv": {
        "files": {"a.csv": b"text\tlabel\none, two\tx\nthree\ty\n"},
        "rows": {"a.csv": 2},
        "kept": {"one, two": "x", "three": "y"},
    },
    "commas_in_a_tsv": {
        "files": {"a.tsv": b'text\tlabel\none, "two"\tx\n"three\tfour"\ty\n'},
        "rows": {"a.tsv": 2},
        "kept": {'one, "two"': "x", "three\tfour": "y"},
    },
    # More semicolons than commas below, but the header says what separates.
    "semicolons_in_the_texts_of_a_comma_file": {
        "files": {"a.csv": b"text,label\na;b;c;d,x\ne;f;g;h,y\n"},
        "rows": {"a.csv": 2},
        "kept": {"a;b;c;d": "x", "e;f;g;h": "y"},
    },
    # More commas than semicolons in the header, all of them inside quotes.
    "commas_in_the_quoted_header_of_a_semicolon_file": {
        "files": {"a.csv": b'"a,b,c,d";text;label\n1;one;x\n2;two;y\n'},
        "rows": {"a.csv": 2},
        "kept": {"one": "x", "two": "y"},
    },
    "a_delimiter_that_was_said": {
        "files": {"a.csv": b"text~label\none,1;2|3~x\ntwo~y\n"},
        "options": {"delimiter": "~"},
        "rows": {"a.csv": 2},
        "kept": {"one,1;2|3": "x", "two": "y"},
    },
    # A tab is hard to type on a command line.
    "a_delimiter_in_words": {
        "files": {"a.csv": b"text\tlabel\none,two;three\tx\nfour\ty\n"},
        "options": {"delimiter": "tab"},
        "rows": {"a.csv": 2},
        "kept": {"one,two;three": "x", "four": "y"},
    },
    "a_delimiter_that_is_none": {
        "files": {"a.csv": b"text,label\none,x\n"},
        "options": {"delimiter": ",,"},
        "error": ("Delimiter ',,'", "one ASCII character"),
    },
    # What a spreadsheet writes for itself above the header.
    "a_line_that_names_the_separator": {
        "files": {"a.csv": b"sep=;\ntext;label\none;x\ntwo;y\n"},
        "error": ("No column 'text'", "sep="),
    },
    # --- What texts hold: nothing of it is a command here.
    "spreadsheet_formulas": {
        "files": {
            "a.csv": b'text,label\n"=HYPERLINK(""http://a.example"",""b"")",x\n+49 30 1234,y\n-2+3,x\n@SUM(A1),y\n'
        },
        "rows": {"a.csv": 4},
        "kept": {'=HYPERLINK("http://a.example","b")': "x", "+49 30 1234": "y", "-2+3": "x", "@SUM(A1)": "y"},
    },
    "sql_html_and_templates": {
        "files": {
            "a.csv": b"text,label\n"
            b"'; DROP TABLE rows;--,x\n<script>alert(1)</script>,y\n{{7*7}},x\n${HOME} `id` $(id),y\n"
            b"{% for a in b %},x\n%s %(text)s {0} {text},y\n</textarea><!--,x\n"
        },
        "rows": {"a.csv": 7},
        "kept": {
            "'; DROP TABLE rows;--": "x",
            "<script>alert(1)</script>": "y",
            "{{7*7}}": "x",
            "${HOME} `id` $(id)": "y",
            "{% for a in b %}": "x",
            "%s %(text)s {0} {text}": "y",
            "</textarea><!--": "x",
        },
    },
    # What other readers take for a missing value, a number, a date or a boolean.
    "texts_and_labels_that_look_like_other_types": {
        "files": {"a.csv": b"text,label\nNA,null\nNone,NaN\n1e5,no\n2024-01-01,true\n007,1.0\n-,N/A\n"},
        "rows": {"a.csv": 6},
        "kept": {"NA": "null", "None": "NaN", "1e5": "no", "2024-01-01": "true", "007": "1.0", "-": "N/A"},
    },
    # Comment signs are no comments.
    "number_signs": {
        "files": {"a.csv": b"text,label\n#one,x\n//two,y\n"},
        "rows": {"a.csv": 2},
        "kept": {"#one": "x", "//two": "y"},
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])
