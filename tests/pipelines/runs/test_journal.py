"""The journal: one row a run, written by several processes at once, and never half-read."""

import multiprocessing
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tunelane_pipelines.runs import journal as journal_module
from tunelane_pipelines.runs.journal import Journal, entry_of
from tunelane_pipelines.runs.record import Remote, RunRecord
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
        "resource": "",
        "console_url": "",
        "schedule": "",
        "service": "",
    }


def test_a_remote_run_has_its_place_at_the_service_beside_its_directory_here(record: RunRecord, tmp_path: Path) -> None:
    record.target, record.remote = (
        "vertex",
        Remote("projects/p/jobs/1", "https://console/run", "projects/p/schedules/2"),
    )
    record.service = "vertex p/europe-west4"
    Journal(tmp_path).enter(record, "")
    (entry,) = Journal(tmp_path).entries()
    assert (entry.resource, entry.console_url, entry.schedule) == tuple(
        getattr(record.remote, name) for name in Remote.__struct_fields__
    )
    assert (entry.place, entry.service) == (str(tmp_path / "runs" / record.run_id), "vertex p/europe-west4")


_FIRST = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL,
    started_at TEXT NOT NULL, wall_s REAL NOT NULL, model TEXT NOT NULL, decision TEXT NOT NULL,
    macro_f1 REAL, place TEXT NOT NULL,
    error TEXT NOT NULL
);
INSERT INTO runs VALUES ('old', 'train-classifier', 'local', 'failed', '2026-01-02T10:00:00+00:00', 12.5, 'tickets',
    'reject', 0.8, '/elsewhere/runs/old', 'It went wrong.');
PRAGMA user_version = 1;
"""


@pytest.fixture
def first_journal(tmp_path: Path) -> Journal:
    """A journal as version 1 wrote it."""
    journal = Journal(tmp_path)
    journal.path.parent.mkdir()
    connection = sqlite3.connect(journal.path)
    connection.executescript(_FIRST)
    connection.close()
    return journal


def test_a_journal_of_the_first_version_keeps_its_rows(first_journal: Journal, record: RunRecord) -> None:
    (entry,) = first_journal.entries()
    assert (entry.run_id, entry.state, entry.wall_s, entry.macro_f1) == ("old", "failed", 12.5, 0.8)
    assert entry.started_at == datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert (entry.resource, entry.console_url, entry.schedule, entry.service) == ("", "", "", "")
    assert entry.place == str(first_journal.place("old"))
    first_journal.enter(record, "")
    assert len(first_journal.entries()) == 2


_SECOND = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL,
    started_at TEXT NOT NULL, wall_s REAL NOT NULL, model TEXT NOT NULL, decision TEXT NOT NULL,
    macro_f1 REAL, place TEXT NOT NULL, error TEXT NOT NULL,
    resource TEXT NOT NULL DEFAULT '', console_url TEXT NOT NULL DEFAULT '', schedule TEXT NOT NULL DEFAULT ''
);
CREATE TABLE looks (target TEXT PRIMARY KEY, tried_at TEXT NOT NULL, looked_at TEXT);
INSERT INTO runs VALUES ('sent', 'convert', 'vertex', 'running', '2026-01-02T10:00:00+00:00', 12.5, '', '', NULL,
    '/elsewhere/runs/sent', '', 'projects/p/jobs/sent', 'https://console/sent', 'projects/p/schedules/2');
INSERT INTO looks VALUES ('vertex', '2026-01-02T10:00:00+00:00', '2026-01-02T10:00:00+00:00');
PRAGMA user_version = 2;
"""


def test_a_journal_of_the_second_version_keeps_its_rows_and_reads_the_lists_anew(
    record: RunRecord, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    journal.path.parent.mkdir()
    connection = sqlite3.connect(journal.path)
    connection.executescript(_SECOND)
    connection.close()
    assert journal.looked_at("vertex") is None, "of which service that look was is not known"
    (entry,) = journal.entries()
    assert (entry.run_id, entry.resource, entry.schedule) == ("sent", "projects/p/jobs/sent", "projects/p/schedules/2")
    assert (entry.service, entry.is_remote) == ("", True)
    journal.put([entry._replace(service="vertex p/europe-west4")])
    assert journal.entries()[0].service == "vertex p/europe-west4"


def test_a_change_of_version_that_fails_changes_nothing(
    first_journal: Journal, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = journal_module._CHANGES
    monkeypatch.setitem(changes, 1, (*changes[1], "ALTER TABLE nothing ADD COLUMN more TEXT"))
    with pytest.raises(TunelaneError):
        first_journal.enter(record, "")
    monkeypatch.undo()
    assert [entry.run_id for entry in first_journal.entries()] == ["old"]


def test_several_processes_bring_one_journal_to_this_version(first_journal: Journal, tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_ids, [tmp_path] * 8) == [["old"]] * 8


def _ids(root: Path) -> list[str]:
    return [entry.run_id for entry in Journal(root).entries()]


def test_rows_are_put_all_or_none(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    rows = [entry_of(record, "")._replace(run_id=name) for name in ("a", "b")]
    with pytest.raises(TunelaneError):
        journal.put([*rows, rows[0]._replace(run_id="c", pipeline=None)])  # type: ignore[arg-type]
    assert journal.entries() == []
    journal.put(rows)
    assert {entry.run_id for entry in journal.entries()} == {"a", "b"}


def test_when_a_list_was_last_read_is_kept_by_service(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.looked_at("vertex p/r") is None
    assert not journal.path.parent.exists(), "reading makes nothing"
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    journal.looked("vertex p/r", first)
    journal.looked("vertex p/r", second)
    assert journal.looked_at("vertex p/r") == second
    assert journal.looked_at("vertex p/other") is None


def test_a_root_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)

    def refuse(path: Path, **_named: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match=r"Cannot read the journal .*: Permission denied\. Choose another root"):
        journal.entries()


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
        connection.execute("PRAGMA user_version = 4")
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


def test_a_directory_whose_name_is_no_text_is_named_and_leaves_no_row(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(InputError, match=r"^'/data/caf\\udce9' is not UTF-8, as a journal is\. Rename it"):
        journal.enter(record, "/data/caf\udce9")
    assert journal.entries() == []


def test_a_row_that_fails_leaves_none(record: RunRecord, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.enter(record, "")
    record.run_id, record.pipeline = "second", None  # type: ignore[assignment]
    with pytest.raises(TunelaneError):
        journal.enter(record, "")
    assert len(journal.entries()) == 1
