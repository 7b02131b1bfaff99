import re
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunelane_components.etl.rows.personal_data import KINDS, mask_text, mask_values


def masked(text: str) -> str:
    return mask_text(text, Counter())


# Each text as it comes and as it goes.
MASKED = [
    # URLs
    ("see http://example.com", "see [URL]"),
    ("https://example.com/a/b?c=d&e=%20#f", "[URL]"),
    ("HTTPS://EXAMPLE.COM/A is down", "[URL] is down"),
    ("Is it https://example.com/a, or https://example.com/b?", "Is it [URL], or [URL]?"),
    ("(see https://example.com/Foo_(bar)).", "(see [URL])."),
    ("[docs](https://example.com/docs)", "[docs]([URL])"),
    ('<a href="http://example.com/x">x</a>', '<a href="[URL]">x</a>'),
    ("www.example.com/help!", "[URL]!"),
    ("Www.example.de ist weg", "[URL] ist weg"),
    ("http://user:secret@example.com/inbox", "[URL]"),
    ("https://example.com/@jane and http://t.co/0171-1234567", "[URL] and [URL]"),
    ("http://bücher.example/straße und http://例え.jp/パス。", "[URL] und [URL]。"),
    ("gs://bucket/jane.png s3://bucket/jane.png", "[URL] [URL]"),
    ("more:http://localhost:8080/x", "more:[URL]"),
    # e-mail addresses
    ("jane@example.com", "[EMAIL]"),
    ("Write to jane.doe+orders@mail.example.co.uk.", "Write to [EMAIL]."),
    ("<jane_doe@example.com>, bob%x@example.org;", "<[EMAIL]>, [EMAIL];"),
    ("mailto:Jane@Example.COM", "mailto:[EMAIL]"),
    ("jürgen@müller.de", "[EMAIL]"),
    ("почта@пример.рф", "[EMAIL]"),
    ("1234567@example.com", "[EMAIL]"),
    ("jane@sub-domain.example.museum?", "[EMAIL]?"),
    # @names
    ("@jane thanks", "[NAME] thanks"),
    ("RT @jane_doe99: see", "RT [NAME]: see"),
    ("cc @jane.doe, @bob-b.", "cc [NAME], [NAME]."),
    ("(@Jürgen)", "([NAME])"),
    (".@jane is right", ".[NAME] is right"),
    ("@bob@alice", "[NAME]"),
    ("medium.com/@jane", "medium.com/[NAME]"),
    # phone numbers with a country code
    ("+49 30 1234567", "[PHONE]"),
    ("+4915112345678", "[PHONE]"),
    ("+49 (0)30 1234567", "[PHONE]"),
    ("(+49) 30 1234567", "[PHONE]"),
    ("+49 (0) 30 / 123 45-67", "[PHONE]"),
    ("+49 89 1234-0, bitte", "[PHONE], bitte"),
    ("+1-800-555-0199", "[PHONE]"),
    ("+1 (555) 123-4567", "[PHONE]"),
    ("+44 20 7946 0958.", "[PHONE]."),
    ("+33\u00a01\u00a023\u00a045\u00a067\u00a089", "[PHONE]"),
    ("0049 30 1234567", "[PHONE]"),
    ("+49 30 1234567/+49 30 7654321", "[PHONE]/[PHONE]"),
    # and in national writing
    ("(555) 123-4567", "[PHONE]"),
    ("(555)123-4567", "[PHONE]"),
    ("555-123-4567", "[PHONE]"),
    ("call 555.123.4567 now", "call [PHONE] now"),
    ("call 1-555-123-4567 now", "call [PHONE] now"),
    ("423 521 0367", "[PHONE]"),
    ("0171/1234567", "[PHONE]"),
    ("Tel.:0171-1234567.", "Tel.:[PHONE]."),
    ("01711234567", "[PHONE]"),
    ("(030) 123 45 67", "[PHONE]"),
    ("030 / 123 45 67", "[PHONE]"),
    ("01 23 45 67 89", "[PHONE]"),
    ("01.23.45.67.89", "[PHONE]"),
    ("020 7946 0958", "[PHONE]"),
    ("8 (495) 123-45-67", "[PHONE]"),
    ("(11) 98765-4321", "[PHONE]"),
    ("0171 1234567, 0172 7654321", "[PHONE], [PHONE]"),
    ("0171 1234567,0172 7654321", "[PHONE],[PHONE]"),
    ("0171 1234567/0172 7654321", "[PHONE]/[PHONE]"),
    ("Name\n0171 1234567\nText", "Name\n[PHONE]\nText"),
    ("Called 0171 1234567 3 times.", "Called [PHONE] 3 times."),
    ("On 17.05.2024 call 0171 1234567.", "On 17.05.2024 call [PHONE]."),
    # several kinds at once
    ("jane@example.com / 0171 1234567 / www.example.com / @jane", "[EMAIL] / [PHONE] / [URL] / [NAME]"),
    ("jane@example.com,+49 30 1234567", "[EMAIL],[PHONE]"),
]

KEPT = [
    # dates and times
    "2024-05-17",
    "17.05.2024",
    "05/17/2024, 17/05/24",
    "01.02.2024 03.04.2024",
    "01.02.2024-05.02.2024",
    "01.02.24-05.02.24",
    "2024-05-17T10:20:30.123456Z",
    "2024-05-17 10:20:30",
    "10:05 30.12.2024",
    "05.30 - 06.45 Uhr",
    "1998-2004, 2010/2011",
    "in the years 2019 2020 2021",
    "20240517",
    # amounts
    "$1,234.56 or 1.234,56 €",
    "1 000 000 000",
    "1.000.000.000",
    "+100,000 points, +5 %",
    "0.123456789",
    "52.520008, 13.404954",
    "12 345 678",
    "100-200-300",
    "the 4th of 12 in 365 days",
    # versions, addresses in networks, codes
    "1.2.3 and 10.0.19041.1288",
    "192.168.100.200",
    "4111 1111 1111 1111",
    "order 20240517001, ticket 9876543210",
    "978-3-16-148410-0",
    "0-306-40615-2",
    "ISBN 9783161484100",
    "GMT+01:00",
    "PS5-0171-1234567-X",
    "A0171123456789",
    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "555-1234",
    "Smith (1999) 123-134",
    "+49",
    # @ without a name or an address
    "see you @ 5pm",
    "see you @5pm",
    "2 apples @ 1.50",
    "pip@24.2 and torch@2.13.0",
    "jane@localhost",
    "user @ example . com",
    "@",
    "@_@",
    "a@b",
    # nearly URLs
    "http:// is a scheme",
    "awww.cute",
    "Awww...so sweet",
    "the end.Next sentence, e.g.this",
    "and/or, 24/7, C:\\files",
    "www.",
    # nothing at all
    "",
    "\n",
    "The parcel came late. Nobody answers!",
    "[EMAIL] [PHONE] [URL] [NAME]",
    "Überraschung 🎉 で、す。",
]


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_personal_data_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    counts: Counter[str] = Counter()
    assert mask_text(text, counts) == text
    assert not counts


def test_what_is_masked_is_counted_by_kind() -> None:
    counts: Counter[str] = Counter()
    mask_text("@jane and @bob: jane@example.com, 0171 1234567, www.example.com", counts)
    mask_text("nothing here", counts)
    mask_text("http://example.com", counts)
    assert counts == {"name": 2, "email": 1, "phone": 1, "url": 2}
    assert set(counts) == set(KINDS)


def test_ten_digits_with_a_leading_0_are_taken_for_a_phone_number() -> None:
    # As documented: an ISBN-10 without hyphens is written no differently.
    assert masked("0306406152") == "[PHONE]"


def test_values_are_masked_however_deep_and_keys_stay() -> None:
    counts: Counter[str] = Counter()
    value = {
        "@jane": "@jane",
        "notes": ["call 0171 1234567", {"mail": ("jane@example.com", 1, None, True, 2.5)}],
        "room": {"name": "Blue"},
    }
    assert mask_values(value, counts) == {
        "@jane": "[NAME]",
        "notes": ["call [PHONE]", {"mail": ["[EMAIL]", 1, None, True, 2.5]}],
        "room": {"name": "Blue"},
    }
    assert counts == {"name": 1, "phone": 1, "email": 1}
    assert value["@jane"] == "@jane"  # the value passed in is as it was
    assert value["notes"][0] == "call 0171 1234567"
    assert mask_values("@jane", counts) == "[NAME]"
    assert mask_values(7, counts) == 7
    assert mask_values(None, counts) is None


def test_values_nested_a_hundred_thousand_deep_are_masked() -> None:
    value: Any = "@jane"
    for _ in range(100_000):
        value = [value]
    result = mask_values(value, Counter())
    while isinstance(result, list):
        (result,) = result
    assert result == "[NAME]"
    while isinstance(value, list):  # taken apart from outside: freeing it at once would recurse
        (value,) = value


SIGNS = ["@", ".", "-", "+", "(", ")", "/", ":", "://", "[URL]", "]", "_", ",", " ", "\n"]
LETTERS = ["a", "jane", "b.de", "http", "www.", "jane@x.de", "ü"]
DIGITS = ["0", "00", "01", "49", "555", "1234", "171", "1234567", "2024", "05", "+49 30 1234567", "0171 12345"]
fragments = st.sampled_from([*SIGNS, *LETTERS, *DIGITS])
hostile = st.lists(fragments, max_size=25).map("".join)


@settings(max_examples=600)
@given(hostile)
@example("a@b.de.1x@y.de")
@example("0171 1234567,0172 7654321")
@example("@bob@alice@")
@example("+49301234567www.x.de")
@example("+49301234567+49301234567")
@example("jane@x.de@bob")
def test_masking_twice_is_masking_once(text: str) -> None:
    once = masked(text)
    counts: Counter[str] = Counter()
    assert mask_text(once, counts) == once
    assert not counts


@settings(max_examples=200)
@given(st.text())
def test_any_text_is_masked_without_a_crash(text: str) -> None:
    assert masked(masked(text)) == masked(text)


harmless = st.text(st.characters(exclude_characters="@0123456789", codec="utf-8"), max_size=80).filter(
    lambda text: "://" not in text and "www." not in text.lower()
)
few_digits = st.integers(min_value=0, max_value=9_999_999).map(str)


@settings(max_examples=300)
@given(st.lists(st.tuples(harmless, few_digits), max_size=4))
def test_text_without_personal_data_stays_byte_for_byte(parts: list[tuple[str, str]]) -> None:
    # Numbers of up to seven digits, parted by a letter at least: no phone number can be made of them.
    text = "".join(f"{words}x{number}x" for words, number in parts)
    assert masked(text) == text


@settings(max_examples=300)
@given(hostile)
def test_only_what_is_masked_changes(text: str) -> None:
    # What stands between the placeholders is found in the text, in that order.
    place = 0
    for piece in re.split(r"\[(?:EMAIL|PHONE|URL|NAME)\]", masked(text.replace("[URL]", ""))):
        place = text.replace("[URL]", "").find(piece, place)
        assert place >= 0
        place += len(piece)


HOSTILE = [
    "a",
    "a.",
    "a@",
    "@a",
    "@a.",
    "@",
    "a@b.",
    "a@b.c.1.",
    "%+-",
    "http://",
    "http://(",
    "http://!",
    "://",
    "www.",
    "www.(a",
    "0",
    "1",
    "01",
    "01 ",
    "0 - ",
    "+1",
    "+1 (",
    "(",
    "(1)",
    "(555) ",
    "555-123-",
    "01.02.2024 ",
    "0171 1234567,",
    "x0171 1234567",
    "1:0171 1234567",
    "1.",
    "[",
    " ",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("end", ["", "@", '"', "1"])
def test_hostile_text_takes_linear_time(piece: str, end: str) -> None:
    def seconds(length: int) -> float:
        text = "1://www.@a 12345678 " + piece * (length // len(piece)) + end
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            masked(text)
            best = min(best, time.process_time() - begin)
        return best

    # Eight times the text: a quadratic pattern takes 64 times as long.
    assert seconds(24_000) < 32 * max(seconds(3_000), 0.004)
