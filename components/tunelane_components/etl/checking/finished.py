"""What is wrong with a finished dataset file, in any renderer's form: every fault, with its line.

One pass; of each row 56 bytes are kept: digests of its id and text, a hash of its labels, and its line.
"""

import codecs
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from tunelane_components.etl.checking.digest_table import DigestTable
from tunelane_components.etl.checking.forms import FORMS, check_form, detect_form, opened
from tunelane_components.etl.checking.row_checks import LabelChecker, faults_of
from tunelane_components.etl.record import normalized
from tunelane_serving.taxonomy import Taxonomy

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One fault: the line it stands on (from 1), a code for programs and a sentence for people."""

    line: int
    code: str
    message: str


def validate_file(path: Path, *, taxonomy: Taxonomy | None = None, form: str = "") -> Iterator[Fault]:
    """Yield all that is wrong with a JSONL file: first row by row, then ids and texts that stand twice.

    The codes: empty_file, bad_encoding, byte_order_mark, blank_line, truncated, not_json, not_a_number, too_deep,
    not_an_object, missing_field, unknown_field, empty_field, wrong_type, wrong_version, wrong_role, unsupported_image,
    missing_label, repeated_label, unknown_label, repeated_id, repeated_text, conflicting_labels.

    Args:
        path: the file.
        taxonomy: the labels that there are; None leaves labels unchecked.
        form: a key of `forms.FORMS`; empty takes the one that the first rows have.

    Raises:
        InputError: the file cannot be read, or its form is not known.
    """
    form = form or detect_form(path)
    check_form(form)
    question, labels_in = FORMS[form].question, FORMS[form].labels
    labels = LabelChecker(taxonomy)
    questions, question_lines, answers = DigestTable(), array("Q"), array("q")
    ids, id_lines = DigestTable(), array("Q")
    line = 0
    for line, row in _rows(path):
        if isinstance(row, Fault):
            yield row
            continue
        for code, message in faults_of(row, form, labels):
            yield Fault(line, code, message)
        try:
            asked, answered = normalized(question(row)), hash(frozenset(labels_in(row)))
        except (LookupError, TypeError, AttributeError):
            asked, answered = "", 0  # the row has faults, and asks nothing that can be compared
        if asked:
            questions.add(asked)
            question_lines.append(line)
            answers.append(answered)
        identity = row.get("id")
        if identity and isinstance(identity, str):
            ids.add(identity)
            id_lines.append(line)
    if not line:
        yield Fault(1, "empty_file", "the file holds no rows")
    for first, later in ids.repeats():
        yield Fault(id_lines[later], "repeated_id", f"the id of line {id_lines[first]} again")
    for first, later in questions.repeats():
        if answers[first] == answers[later]:
            yield Fault(question_lines[later], "repeated_text", f"the text of line {question_lines[first]} again")
        else:
            message = f"the text of line {question_lines[first]} again, with other labels"
            yield Fault(question_lines[later], "conflicting_labels", message)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """Yield each row with its line, or what keeps it from being read."""
    decode = msgspec.json.Decoder().decode
    blank_from = 0
    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith(_UTF_16_MARKS):
                message = "the file is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE > CONVERTED"
                yield number, Fault(number, "bad_encoding", message)
                return
            if number == 1 and line.startswith(codecs.BOM_UTF8):
                yield (
                    number,
                    Fault(number, "byte_order_mark", "the file starts with a byte order mark; save it without"),
                )
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                blank_from = blank_from or number
                continue
            if blank_from:
                # Those at the end are no fault, and are never said.
                yield blank_from, Fault(blank_from, "blank_line", _blank_lines(number - blank_from))
                blank_from = 0
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield number, Fault(number, *_why_unreadable(line, error))
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                yield number, Fault(number, "not_an_object", "the row is no JSON object; write {…}")


def _blank_lines(count: int) -> str:
    return "a blank line between rows" if count == 1 else f"{count} blank lines between rows"


def _why_unreadable(line: bytes, error: Exception) -> tuple[str, str]:
    """Give code and message for a row that is no JSON."""
    if isinstance(error, UnicodeDecodeError):
        return "bad_encoding", f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
    if isinstance(error, RecursionError):
        return "too_deep", "values are nested too deeply to be read"
    if not line.endswith(b"\n") and str(error) == "Input data was truncated":
        return "truncated", "the file ends in the middle of this row; write it anew"
    try:
        # Python's own reader says more than msgspec's, and takes what JSON does not have.
        json.loads(line, parse_constant=_refuse)
    except _NotANumberError as found:
        return "not_a_number", f"{found} is no JSON; write null or a number"
    except UnicodeDecodeError:
        return "bad_encoding", "not UTF-8; save the file as UTF-8"
    except json.JSONDecodeError as found:
        return "not_json", f"not valid JSON: {found.msg} at character {found.pos + 1}"
    except (ValueError, RecursionError):
        pass
    return "not_json", "not valid JSON: half of a surrogate pair (\\ud800 to \\udfff), or a number out of range"


class _NotANumberError(Exception):
    """JSON holds NaN, Infinity or -Infinity."""


def _refuse(constant: str) -> NoReturn:
    raise _NotANumberError(constant)
