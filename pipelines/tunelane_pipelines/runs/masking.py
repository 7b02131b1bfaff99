"""Passwords that must not get into records, logs and reports."""

import re
from collections.abc import Mapping
from typing import Any

# A password may hold ":", "/" or "@" where its writer did not escape them (SQLAlchemy takes such URIs): it ends at the
# last "@" before the host. A port, with nothing or a path behind it, is none.
_PASSWORD = re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s:/@]*):(?!\d+(?:[/?#\s\"',]|$))[^\s@]+@(?:[^\s/?#@]*@)*")


def mask(text: str) -> str:
    """`text` with the password of every URI in it (`scheme://user:password@host`) replaced by `***`."""
    return _PASSWORD.sub(r"\1:***@", text)


def mask_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping, with the passwords in its texts masked, however deep they stand."""
    return {name: _masked(value) for name, value in values.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return mask_values(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value
