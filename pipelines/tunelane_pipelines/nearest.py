"""What to say where a name is not known: the nearest one that is."""

from collections.abc import Iterable
from difflib import get_close_matches
from zoneinfo import available_timezones


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """One line: there is no `what` called `name`, and the nearest of `known`, or all of them where none is near."""
    names = sorted(known)
    near = get_close_matches(name.strip().lower().replace("-", "_"), names, n=1)
    if near:
        return f"No {what} {name!r}. Did you mean {near[0]!r}?"
    return f"No {what} {name!r}. There are: {', '.join(names)}."


def no_such_zone(name: str) -> str:
    """One line: there is no time zone called `name`, and the nearest there is, if any; they are too many to list."""
    by_name = {zone.lower(): zone for zone in available_timezones()}
    near = get_close_matches(name.strip().lower(), sorted(by_name), n=1)
    return f"No time zone {name!r}." + (f" Did you mean {by_name[near[0]]!r}?" if near else "")
