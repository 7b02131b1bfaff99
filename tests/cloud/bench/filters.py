"""Filters of List methods (https://google.aip.dev/160) and of Cloud Logging, as far as clients here write them.

Logging's language is nearly the same: https://cloud.google.com/logging/docs/view/logging-query-language
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from google.protobuf import timestamp_pb2

from tests.cloud.bench.errors import invalid

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*") |
    (?P<mark>[()]) |
    (?P<operator>!=|<=|>=|=~|=|<|>|:) |
    (?P<minus>-(?=[A-Za-z(])) |
    (?P<word>[^\s()"=<>!:]+)
    )""",
    re.VERBOSE,
)

Test = Callable[[Any], bool]
Values = Callable[[Any, list[str]], list[str]]


def parsed(expression: str, fields: frozenset[str], values: Values) -> Test:
    """Give the test that a filter is. Raises INVALID_ARGUMENT, for other fields than these too.

    `fields` are those that may be asked for (`labels`, `template_metadata.version`); `values` reads one.
    """
    if not expression.strip():
        return lambda _: True
    parser = _Parser(_tokens(expression), fields, values, expression)
    test = parser.any_of()
    if parser.left():
        raise invalid(f"Invalid filter: {expression}")
    return test


def values_of(message: Any, path: list[str]) -> list[str]:
    """Give the values of a field as text: none where it is not set, all of a repeated one."""
    for position, name in enumerate(path):
        if name not in message.DESCRIPTOR.fields_by_name:
            return []
        field = message.DESCRIPTOR.fields_by_name[name]
        value = getattr(message, name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key = ".".join(path[position + 1 :])
            return ([value[key]] if key in value else []) if key else list(value)
        if field.message_type is None:
            return [field.enum_type.values_by_number[value].name if field.enum_type else str(value)]
        if not message.HasField(name):
            return []
        message = value
        if isinstance(message, timestamp_pb2.Timestamp):
            return [message.ToJsonString()]
    return ["*"]


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    expression = expression.rstrip()
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            raise invalid(f"Invalid filter: {expression}")
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind]))
        position = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: Sequence[tuple[str, str]], fields: frozenset[str], values: Values, text: str) -> None:
        self._tokens = list(tokens)
        self._fields = fields
        self._values = values
        self._text = text

    def left(self) -> bool:
        return bool(self._tokens)

    def any_of(self) -> Test:
        # In AIP-160 OR binds tighter than AND: `a AND b OR c` is `a AND (b OR c)`.
        tests = [self._either()]
        while self._tokens and self._peek() != ("mark", ")"):
            if self._peek() == ("word", "AND"):
                self._next()
            tests.append(self._either())
        return lambda message: all(test(message) for test in tests)

    def _either(self) -> Test:
        tests = [self._one()]
        while self._tokens and self._peek() == ("word", "OR"):
            self._next()
            tests.append(self._one())
        return lambda message: any(test(message) for test in tests)

    def _one(self) -> Test:
        kind, text = self._next()
        if (kind, text) == ("word", "NOT") or kind == "minus":
            test = self._one()
            return lambda message: not test(message)
        if (kind, text) == ("mark", "("):
            test = self.any_of()
            if self._next() != ("mark", ")"):
                raise invalid(f"Invalid filter: {self._text}")
            return test
        if kind not in ("word", "string"):
            raise invalid(f"Invalid filter: {self._text}")
        return self._comparison(text)

    def _comparison(self, name: str) -> Test:
        # A label's key may be quoted: labels."my-key"
        while self._tokens and name.endswith(".") and self._peek()[0] == "string":
            name += _unquoted(self._next()[1])
        path = name.split(".")
        if not any(name == field or name.startswith(f"{field}.") for field in self._fields):
            raise invalid(f"Invalid filter: field {name} is not supported: {self._text}")
        operator_kind, operator = self._next()
        if operator_kind != "operator":
            raise invalid(f"Invalid filter: {self._text}")
        has_several = self._tokens and self._peek() == ("mark", "(")
        wanted = self._alternatives() if has_several else [self._value()]
        compare = _comparisons(operator, self._text)
        return lambda message: any(compare(self._values(message, path), value) for value in wanted)

    def _alternatives(self) -> list[str]:
        self._next()
        values = [self._value()]
        while self._next() == ("word", "OR"):
            values.append(self._value())
        return values

    def _value(self) -> str:
        kind, text = self._next()
        if kind not in ("word", "string"):
            raise invalid(f"Invalid filter: {self._text}")
        value = _unquoted(text)
        # A time without quotes has colons in it.
        while kind == "word" and self._tokens and self._peek() == ("operator", ":"):
            self._next()
            value += ":" + self._next()[1]
        return value

    def _peek(self) -> tuple[str, str]:
        return self._tokens[0]

    def _next(self) -> tuple[str, str]:
        if not self._tokens:
            raise invalid(f"Invalid filter: {self._text}")
        return self._tokens.pop(0)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _comparisons(operator: str, text: str) -> Callable[[list[str], str], bool]:
    if operator == "=":
        return lambda values, wanted: any(_same(value, wanted) for value in values)
    if operator == "!=":
        return lambda values, wanted: not any(_same(value, wanted) for value in values)
    if operator == ":":
        return lambda values, wanted: any(_has(value, wanted) for value in values)
    if operator == "=~":
        return lambda values, wanted: any(re.search(wanted, value) for value in values)
    signs: dict[str, Callable[[Any, Any], bool]] = {
        "<": lambda one, other: one < other,
        "<=": lambda one, other: one <= other,
        ">": lambda one, other: one > other,
        ">=": lambda one, other: one >= other,
    }
    compare = signs[operator]
    return lambda values, wanted: any(compare(_ranked(value, text), _ranked(wanted, text)) for value in values)


def _same(value: str, wanted: str) -> bool:
    if value == wanted or value.endswith(f"_STATE_{wanted}"):
        return True
    times = [_time(text) for text in (value, wanted)]
    return None not in times and times[0] == times[1]


def _has(value: str, wanted: str) -> bool:
    """`:` tells whether something is there (`*`), or holds the text, with `*` as a wildcard."""
    if "*" in wanted:
        return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), value, re.DOTALL) is not None
    return wanted.lower() in value.lower()


_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")


def _ranked(value: str, text: str) -> float:
    if value in _SEVERITIES:
        return _SEVERITIES.index(value)
    time = _time(value)
    if time is None:
        raise invalid(f"Invalid filter: {value} is no RFC 3339 time: {text}")
    return time.timestamp()


def _time(value: str) -> datetime | None:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", value):
        return None
    return datetime.fromisoformat(value.upper())
