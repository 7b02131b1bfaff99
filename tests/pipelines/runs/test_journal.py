"""The journal: one row a run, written by several processes at once, and never half-read."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import RunRecord
from tunelane_serving.errors import InputError, TunelaneError

_WRITER = """
import sys
from pathlib import Path
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import RunRecord
from tunelane_serving.contract import read

root, golden, name = sys.argv[1:]
record = read(Path(golden), RunRecord)
for number in range(25):
    record.run_id = f"{name}-{number}"
    record.state = "running"
    Journal(Path(root)).enter(record, "")
    record.state = "succeeded"
    Journal(Path(root)).enter(record, "")
"""


def test_a_run_has_one_row_that_says_what_its_record_says(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.entries() == []
    assert not journal.path.parent.exists(), "reading makes nothing"
    record.state = "running"
    journal.enter(record, "elsewhere")
    record.state = "succeeded"
    journal.enter(record, "elsewhere")
    (entry,) = journal.entries()
    assert entry._asdict() == {
        "run_id": record.run_id,
        "pipeline": "train-classifier",
        "target": "local",
        "state": "succeeded",
        "started_at": record.started_at,
        "wall_s": record.wall_s,
        "model": "sentiment",
        "decision": "promote",
        "macro_f1": 0.8856209150326797,
        "place": str(tmp_path / "runs" / record.run_id),
        "error": "",
    }


def test_a_remote_run_keeps_the_place_that_it_was_given(record: RunRecord, tmp_path: Path) -> None:
    record.target = "vertex"
    Journal(tmp_path).enter(record, "https://console/run")
    assert Journal(tmp_path).entries()[0].place == "https://console/run"


def test_a_run_without_an_evaluation_or_a_task_has_no_figure(record: RunRecord, tmp_path: Path) -> None:
    record.tasks = ()
    Journal(tmp_path).enter(record, "")
    (entry,) = Journal(tmp_path).entries()
    assert (entry.macro_f1, entry.decision) == (None, "")


def test_the_newest_run_stands_first(tmp_path: Path) -> None:
    for minute in (5, 30, 0):
        add_run(tmp_path, f"run-{minute}", minute=minute)
    # One that started at a whole second, and one within it.
    late = add_run(tmp_path, "run-late", minute=5)
    late.started_at = late.started_at.replace(microsecond=1)
    Journal(tmp_path).enter(late, "")
    assert [entry.run_id for entry in Journal(tmp_path).entries()] == ["run-30", "run-late", "run-5", "run-0"]


def test_a_run_that_is_forgotten_leaves_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_run(tmp_path, name)
    Journal(tmp_path).forget("a")
    Journal(tmp_path).forget("never-there")
    assert [entry.run_id for entry in Journal(tmp_path).entries()] == ["b"]


def test_two_processes_write_at_once_and_lose_nothing(golden: Path, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), str(golden), name]) for name in ("a", "b")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    entries = Journal(tmp_path).entries()
    assert {entry.run_id for entry in entries} == {f"{name}-{number}" for name in ("a", "b") for number in range(25)}
    assert {entry.state for entry in entries} == {"succeeded"}


def test_a_journal_of_a_newer_release_says_upgrade(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.enter(record, "")
    with sqlite3.connect(journal.path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    for call in (journal.entries, lambda: journal.enter(record, ""), lambda: journal.forget("a")):
        with pytest.raises(TunelaneError, match=r"journal\.db was written by a newer release\. Upgrade tunelane"):
            call()


def test_a_file_that_is_no_journal_is_left_as_it_is(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.path.parent.mkdir()
    journal.path.write_text("notes of mine, longer than a header" * 30)
    before = journal.path.read_bytes()
    for call in (journal.entries, lambda: journal.enter(record, "")):
        with pytest.raises(TunelaneError, match=r"journal\.db is no journal of runs .*Move it away"):
            call()
    assert journal.path.read_bytes() == before


@pytest.mark.parametrize("blocked", ["runs", "runs/journal.db"])
def test_a_journal_that_cannot_be_written_is_the_user_s_to_move(
    blocked: str, record: RunRecord, tmp_path: Path
) -> None:
    """A directory stands where the file should be, and the other way round."""
    place = tmp_path / blocked
    if blocked == "runs":
        place.write_text("a file")
    else:
        place.mkdir(parents=True)
    with pytest.raises(InputError, match=r"Cannot write the journal .*--root"):
        Journal(tmp_path).enter(record, "")


def test_a_row_that_fails_leaves_none(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.enter(record, "")
    record.run_id, record.pipeline = "second", None  # type: ignore[assignment]
    with pytest.raises(TunelaneError):
        journal.enter(record, "")
    assert len(journal.entries()) == 1
