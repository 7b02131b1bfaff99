"""Names of schedules: a label's value on every service, a unit's and a directory's name."""

import re
from collections.abc import Collection
from itertools import count

from tunelane_serving.errors import InputError

# Of a label's 63 characters 21 are for the time.
_MAX_CHARACTERS = 42
_NAME = re.compile(rf"[a-z]([a-z0-9-]{{0,{_MAX_CHARACTERS - 2}}}[a-z0-9])?")


def check_name(name: str) -> str:
    """Give the name of a new schedule.

    Raises:
        InputError: it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"Cannot use --name {name!r}. Write up to 42 of a-z, 0-9 and -, a letter first and no - last.")
    return name


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Give the name for a schedule that somebody made elsewhere under another one: as near to that as can be."""
    base = re.sub("[^a-z0-9]+", "-", wanted.lower()).strip("-")
    base = base if base[:1].isalpha() else f"schedule-{base}".rstrip("-")
    names = (_suffixed(base, "" if number == 1 else f"-{number}") for number in count(1))
    return next(name for name in names if name not in taken)


def _suffixed(base: str, suffix: str) -> str:
    return f"{base[: _MAX_CHARACTERS - len(suffix)].rstrip('-')}{suffix}"
