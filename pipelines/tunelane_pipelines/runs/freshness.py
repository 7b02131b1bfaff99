"""How old the rows of services are, in words."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.journal import Entry, Journal
from tunelane_pipelines.runs.record import ENDED


def freshness(
    root: Path, entries: Sequence[Entry], now: datetime, *, asked: bool = False, profile: Path | None = None
) -> list[str]:
    """Say of each service that may know more than the journal how old its rows are, and how to see newer ones.

    Services without runs that go on, and without schedules, have nothing new to say.

    Args:
        root: where the journal is.
        entries: what is in it, without those of services that have just been asked.
        now: the time.
        asked: whether every service that the settings in force name was asked just now.
        profile: the profile in force.
    """
    journal = Journal(root)
    lines = []
    for service in sorted({_service(entry) for entry in entries if _may_change(entry)}):
        looked_at = journal.looked_at(service)
        age = "this machine last saw them" if looked_at is None else f"they were {_ago(now - looked_at)} ago"
        advice = (
            "Ask with the --profile that they were submitted with."
            if asked
            else f"Ask it: {again('runs list --refresh', root, profile)}"
        )
        lines.append(f"{service}: its runs are as {age}. {advice}")
    return lines


def _may_change(entry: Entry) -> bool:
    return entry.is_remote and (entry.state not in ENDED or bool(entry.schedule))


def _service(entry: Entry) -> str:
    return entry.service or entry.target


def _ago(age: timedelta) -> str:
    minutes = round(age.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
