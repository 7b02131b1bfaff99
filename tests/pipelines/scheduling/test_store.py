"""The table of schedules beside that of runs."""

import threading
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.pipelines.added import add_run
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.scheduling.record import ScheduleRecord
from tunelane_pipelines.scheduling.store import ScheduleStore
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError, TunelaneError


@pytest.mark.parametrize("first", ["runs", "schedules"])
def test_runs_and_schedules_share_a_file_whichever_comes_first(
    first: str, store: ScheduleStore, hourly: Callable[..., ScheduleRecord]
) -> None:
    if first == "runs":
        add_run(store.root, "convert-1")
    store.add(hourly())
    if first == "schedules":
        add_run(store.root, "convert-1")
    assert [entry.run_id for entry in Journal(store.root).entries()] == ["convert-1"]
    assert store.records() == [hourly()]


def test_what_is_submitted_is_kept_until_the_schedule_is_made(
    store: ScheduleStore, hourly: Callable[..., ScheduleRecord]
) -> None:
    submission = Submission("a-1", "convert", "Convert", {"root": {"dag": [1]}}, {"rows": 3, "share": 1.0, "on": True})
    store.add(replace(hourly(), pending="create"), submission)
    assert store.submission("nightly") == submission
    store.change("nightly", lambda record: replace(record, error="lost"))
    assert store.submission("nightly") == submission
    store.change("nightly", lambda record: replace(record, pending=""))
    assert store.submission("nightly") is None


def test_changes_of_many_at_once_are_all_counted(store: ScheduleStore, hourly: Callable[..., ScheduleRecord]) -> None:
    store.add(hourly())

    def count() -> None:
        for _ in range(10):
            store.change("nightly", lambda record: replace(record, started_runs=record.started_runs + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.record("nightly").started_runs == 40


def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    store: ScheduleStore, hourly: Callable[..., ScheduleRecord]
) -> None:
    with pytest.raises(InputError, match="No schedules below"):
        store.record("nightly")
    assert not store.path.exists()
    store.add(hourly())
    with pytest.raises(InputError, match="Did you mean 'nightly'"):
        store.record("nihgtly")


def test_a_schedule_of_a_newer_release_is_named(store: ScheduleStore, hourly: Callable[..., ScheduleRecord]) -> None:
    store.add(hourly())
    import sqlite3

    with sqlite3.connect(store.path) as connection:
        connection.execute("""UPDATE schedules SET document = replace(document, '"version":1', '"version":2')""")
    with pytest.raises(TunelaneError, match="Upgrade tunelane"):
        store.records()
