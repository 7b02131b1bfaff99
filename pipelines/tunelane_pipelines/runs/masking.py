"""Secrets that must not get into records, logs and reports."""

import re
from collections.abc import Mapping
from typing import Any

# A password may hold ":", "/" or "@" where its writer did not escape them (SQLAlchemy takes such URIs): it ends at the
# last "@" before the host. A port, with nothing or a path behind it, is none.
_PASSWORD = re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s:/@]*):(?!\d+(?:[/?#\s\"',]|$))[^\s@]+@(?:[^\s/?#@]*@)*")

# A name alone before the host of a web address is a token; before that of a database it is a user's name.
_TOKEN = re.compile(r"(\bhttps?://)[^\s/?#\"]+@", re.IGNORECASE)
# A value in a query ends at the next one, at the fragment or at white space: whatever else stands there may be its own.
_IN_QUERY = re.compile(
    r"([?&;](?:[\w.-]*(?:password|passwd|pwd|token|secret|signature|apikey)|(?:[\w.-]*[_.-])?(?:key|sig))=)([^&#\s]+)",
    re.IGNORECASE,
)
_MASKED = re.compile(r"\*\*\*[).,:;'\"]*")


def mask(text: str) -> str:
    """`text` with the secrets of every URI in it replaced by `***`.

    They are its password (`scheme://user:password@host`), the token of a web address (`https://token@host`), and in a
    query what is called a password, token, secret, key or signature (`?access_token=…`, `&X-Goog-Signature=…`).
    """
    masked = _PASSWORD.sub(r"\1:***@", text)
    # What has a user and a password keeps the user.
    masked = _TOKEN.sub(lambda found: found[0] if found[0].endswith(":***@") else f"{found[1]}***@", masked)
    # What is masked already may stand in a sentence, whose marks are no secret.
    return _IN_QUERY.sub(lambda found: found[0] if _MASKED.fullmatch(found[2]) else f"{found[1]}***", masked)


def mask_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping, with the secrets in its texts masked, however deep they stand."""
    return {name: _masked(value) for name, value in values.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return mask_values(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value
