"""Masking of e-mail addresses, phone numbers, URLs and @names with typed placeholders, before anything is written.

Patterns find how such data is written, not what it means; names of people, addresses and account numbers stay. They
are applied in this order, each to what the one before left:

url    anything with `://`, and `www.` with what follows, up to white space, quotes, brackets and closing punctuation.
       A bare domain (example.com/jane) stays: too much text looks like one ("end.Next").
email  local part, @, and a domain with at least one dot whose last label begins with a letter: `pip@24.2` is none.
       International domains and local parts count. `jane@localhost` and "jane (at) example.com" stay.
name   @ and two or more letters, digits or `_`, the first no digit, with dots and hyphens inside; not after a letter
       or digit. `@ 5pm` and `@5pm` stay, `@home` does not. `@bob@alice` counts once.
phone  - + and a country code, 8 to 15 digits in all; also 00 and a country code, 11 digits or more;
       - a national number with a leading 0, 9 to 13 digits, with or without separators, which also holds for other
         numbers written so, such as a ten-digit ISBN that begins with 0;
       - an area code in brackets and 7 to 9 digits, with or without a trunk 8 or 1: (555) 123-4567, 8 (495) 123-45-67;
       - the North American 3-3-4 with hyphens, dots or spaces: 555-123-4567.
       Dates, times, prices, versions, IP addresses, card numbers, other ISBNs and plain runs of digits stay, and so do
       national numbers in other groups ("612 34 56 78"): nothing tells those from an amount or an order number.

Only the digits 0 to 9 count. Every pattern takes time in proportion to the text: what repeats without a bound is
possessive, and what may begin anywhere is bounded. Masking what is masked changes nothing.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

KINDS = ("email", "phone", "url", "name")

# Quotes, brackets, and what closes a Chinese or Japanese clause.
_NEVER_IN_URL = r"""\s<>"“”„«»()\[\]{}|\\^`\u3001\u3002\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"""
# Punctuation belongs to a URL only where more of it follows; brackets only as a pair.
_URL = re.compile(
    rf"""
    (?: [a-z][a-z0-9]{{1,15}}+ :// | (?<![^\W\d_]) www\. (?=\w) )      # not the end of "awww.cute"
    (?: [.,;:!?'*~]*+ (?: [^.,;:!?'*~{_NEVER_IN_URL}] | \([^{_NEVER_IN_URL}]*+\) ) )++
    """,
    re.VERBOSE | re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w.%+\-]{1,64}+@(?:[\w\-]++\.)+[^\W\d][\w\-]++")
_NAME = re.compile(r"(?<!\w)(?:@[^\W\d]\w++(?:[.\-]\w++)*+)++")

# A text without eight digits in reach of one another has no phone number.
_DIGITS_NEARBY = re.compile(r"[0-9](?:[^0-9a-zA-Z]{0,4}[0-9]){7}")
_SPACE = r"[ \u00a0\u2009\u202f]"
_BETWEEN = rf"(?:{_SPACE}?[-/()\u2010\u2011]{{1,2}}{_SPACE}?|{_SPACE}|\.)?"
_PHONE = re.compile(
    rf"""
    (?:
        (?: \((?=\+?{_SPACE}?[0-9]{{1,4}}\)) )? \+{_SPACE}?[1-9] (?:{_BETWEEN}[0-9]){{7,14}}
        (?<=[0-9][0-9]|-[0-9]) (?![0-9@])
    |
        (?:
            00[1-9] (?:{_BETWEEN}[0-9]){{8,12}}
        |
            (?! [0-9]{{2}}(?P<separator>[-./])[0-9]{{1,2}}(?P=separator)(?:[0-9]{{4}}|[0-9]{{2}})
                (?!(?P=separator)?[0-9]) )                                # a date
            (?: \((?=0[0-9]{{1,5}}\)) )? 0[1-9] (?:{_BETWEEN}[0-9]){{7,11}}
        |
            (?: [1-9][0-9]?[- ]? )? \([1-9][0-9]{{1,2}}\) (?:{_BETWEEN}[0-9]){{7,9}}
        |
            (?: 1[-. ] )? [2-9][0-9]{{2}}[-. ][0-9]{{3}}[-. ][0-9]{{4}}
        )
        (?<=[0-9][0-9]|-[0-9]) (?![\w@]) (?![-.][0-9])
    )
    """,
    re.VERBOSE,
)


def mask_text(text: str, counts: Counter[str]) -> str:
    """Return `text` with [URL], [EMAIL], [NAME] and [PHONE] for what it holds of them; add to `counts` by kind."""
    if "://" in text or "ww." in text or "WW." in text:
        text = _masked(_URL, "url", text, counts)
    if "@" in text:
        text = _masked(_EMAIL, "email", text, counts)
        text = _masked(_NAME, "name", text, counts)
    # Ten plain searches take a quarter of a microsecond together; one regular expression takes a whole one.
    if (
        "0" in text or "1" in text or "2" in text or "3" in text or "4" in text
        or "5" in text or "6" in text or "7" in text or "8" in text or "9" in text
    ) and _DIGITS_NEARBY.search(text):  # fmt: skip
        text = _mask_phones(text, counts)
    return text


def mask_values(value: Any, counts: Counter[str]) -> Any:
    """Return a copy of `value` with every text in it masked, however deep in lists and mappings; keys stay.

    Tuples become lists, as they do in JSON.
    """
    result = [value]
    unmasked: list[Any] = [result]  # lists and dicts made here whose items are still as they came
    while unmasked:
        container = unmasked.pop()
        for key, item in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(item, str):
                container[key] = mask_text(item, counts)
            elif isinstance(item, Mapping | list | tuple):
                container[key] = dict(item) if isinstance(item, Mapping) else list(item)
                unmasked.append(container[key])
    return result[0]


def _masked(pattern: re.Pattern[str], kind: str, text: str, counts: Counter[str]) -> str:
    text, found = pattern.subn(f"[{kind.upper()}]", text)
    if found:
        counts[kind] += found
    return text


def _mask_phones(text: str, counts: Counter[str]) -> str:
    """Mask phone numbers. One that continues a word or a number that stays is none: the 05 of 17.05.2024."""
    pieces = []
    end = 0  # of the last number masked
    match = _PHONE.search(text)
    while match:
        start = match.start()
        if _continues(text[max(end, start - 2) : start]):
            match = _PHONE.search(text, start + 1)
            continue
        pieces += [text[end:start], "[PHONE]"]
        counts["phone"] += 1
        end = match.end()
        match = _PHONE.search(text, end)
    return "".join([*pieces, text[end:]])


def _continues(before: str) -> bool:
    """Say whether a number is part of a longer word or number, by the two characters before it that stay."""
    last = before[-1:]
    return last.isalnum() or last in ("_", "+") or (last in ("-", ".", ":", "/") and before[0] in "0123456789")
