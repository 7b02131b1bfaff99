"""Runs by what a user types, each in the state that it is really in."""

import multiprocessing
import shutil
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import LOCK, RECORD, Remote, RunRecord, read_record, write_record
from tunelane_serving.errors import InputError
from tunelane_serving.files import locked

_IDS = (
    "train-classifier-20260102-100000-aa11",
    "train-classifier-20260102-110000-bb22",
    "convert-20260102-120000-cc22",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with three runs, the newest last."""
    for minute, run_id in enumerate(_IDS):
        add_run(tmp_path, run_id, minute=minute)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        ("latest", _IDS[2]),
        (_IDS[0], _IDS[0]),
        ("train-classifier-20260102-11", _IDS[1]),
        ("convert", _IDS[2]),
        ("aa11", _IDS[0]),
        ("b22", _IDS[1]),
    ],
)
def test_a_run_is_found_by_its_id_its_beginning_or_its_end(name: str, run_id: str, root: Path) -> None:
    entry = find_run(root, name)
    assert (entry.run_id, entry.place) == (run_id, str(root / "runs" / run_id))


def test_a_whole_id_counts_before_the_beginning_of_another(root: Path) -> None:
    add_run(root, f"{_IDS[0]}-again", minute=9)
    assert find_run(root, _IDS[0]).run_id == _IDS[0]


@pytest.mark.parametrize("name", ["train", "22"])
def test_a_name_of_several_runs_is_refused(name: str, root: Path) -> None:
    with pytest.raises(InputError, match=r"[23] runs are called .*: .*bb22.* Type more\."):
        find_run(root, name)


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_an_empty_name_is_refused_however_many_runs_there_are(runs: int, tmp_path: Path) -> None:
    for run_id in _IDS[:runs]:
        add_run(tmp_path, run_id)
    with pytest.raises(InputError, match=r"^The run's id is empty\. Pass one, its beginning or end, or latest\.$"):
        find_run(tmp_path, "")


def test_of_many_runs_three_are_named(root: Path) -> None:
    for number in range(4):
        add_run(root, f"more-{number}", minute=10 + number)
    with pytest.raises(InputError, match=r"4 runs are called 'more': more-3, more-2, more-1, …\. Type more\."):
        find_run(root, "more")


def test_an_unknown_run_names_the_nearest(root: Path) -> None:
    with pytest.raises(InputError, match=f"No run 'convert-20260102-120000-cc33'. Did you mean '{_IDS[2]}'"):
        find_run(root, "convert-20260102-120000-cc33")
    with pytest.raises(InputError, match=f"No run 'zzz'. There are: .*{_IDS[0]}"):
        find_run(root, "zzz")


def test_without_runs_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No runs below .* yet\. Start one: tunelane run train-classifier"):
        find_run(tmp_path, "latest")
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_lock_is_held_runs(root: Path) -> None:
    add_run(root, "live", "running", minute=30)
    with locked(root / "runs" / "live" / LOCK):
        assert list_runs(root)[0].state == "running"
        assert read_record(root / "runs" / "live").state == "running"


def test_a_run_whose_lock_is_free_was_killed(root: Path) -> None:
    for number in range(2):
        add_run(root, f"killed-{number}", "running", minute=30 + number)
    entries = list_runs(root)
    assert [entry.state for entry in entries] == ["interrupted", "interrupted", "succeeded", "succeeded", "succeeded"]
    assert entries[0].error == "The command was killed; the run's tasks ended with it."
    record = read_record(root / "runs" / "killed-1")
    assert (record.state, record.error) == ("interrupted", entries[0].error)
    assert [task.state for task in record.tasks] == ["succeeded", "interrupted", "skipped"]
    assert [task.wall_s for task in record.tasks] == [1.0, 10.0, 0.0], "up to the record's last words"
    assert list_runs(root) == entries


def test_a_run_that_ended_between_its_record_and_its_row_keeps_its_state(root: Path) -> None:
    record = add_run(root, "ended", "failed", minute=30)
    record.state = "running"
    Journal(root).enter(record, "")
    entry = list_runs(root)[0]
    assert (entry.state, entry.error) == ("failed", "It went wrong.")


@pytest.mark.parametrize("state", ["running", "succeeded", "failed"])
def test_a_run_whose_directory_was_removed_is_forgotten(state: str, root: Path) -> None:
    add_run(root, "removed", state, minute=30)
    shutil.rmtree(root / "runs" / "removed")
    assert find_run(root, "latest").run_id == _IDS[2]
    assert "removed" not in [entry.run_id for entry in Journal(root).entries()]


def test_a_run_that_was_killed_before_its_first_record_is_forgotten(root: Path) -> None:
    add_run(root, "early", "running", minute=30)
    (root / "runs" / "early" / RECORD).unlink()
    assert [entry.run_id for entry in list_runs(root)] == list(reversed(_IDS))


def test_a_record_of_a_newer_release_hides_no_other_run(root: Path) -> None:
    add_run(root, "newer", "running", minute=30)
    (root / "runs" / "newer" / RECORD).write_text('{"version": 3}')
    assert [entry.run_id for entry in list_runs(root)] == ["newer", *reversed(_IDS)]


def test_a_remote_run_is_none_of_this_machine_s(root: Path, record: RunRecord) -> None:
    record.target, record.state = "vertex", "running"
    Journal(root).enter(record, "")
    assert list_runs(root)[0].state == "running"


def test_a_submission_whose_lock_is_held_goes_on(root: Path) -> None:
    _submitting(root)
    with locked(root / "runs" / "sent" / LOCK):
        assert list_runs(root)[0].state == "submitting"


def test_a_submission_whose_command_was_killed_needs_a_resume(root: Path) -> None:
    _submitting(root)
    entry = list_runs(root)[0]
    assert (entry.run_id, entry.state) == ("sent", "needs-resume")
    assert entry.error == "The submission was cut short. Whether the run started is not known."
    assert read_record(root / "runs" / "sent").state == "needs-resume"


def test_a_submission_that_was_killed_between_its_record_and_its_row_has_its_state(root: Path) -> None:
    record = _submitting(root)
    record.state, record.remote = "pending", Remote("projects/p/jobs/sent")
    write_record(root / "runs" / "sent", record)
    entry = list_runs(root)[0]
    assert (entry.state, entry.resource) == ("pending", "projects/p/jobs/sent")


def test_a_submission_that_was_killed_while_it_was_taken_back_is_forgotten(root: Path) -> None:
    _submitting(root)
    shutil.rmtree(root / "runs" / "sent")
    assert "sent" not in [entry.run_id for entry in list_runs(root)]


def _submitting(root: Path) -> RunRecord:
    record = add_run(root, "sent", "running", minute=40)
    record.target, record.state = "vertex", "submitting"
    write_record(root / "runs" / "sent", record)
    Journal(root).enter(record, "")
    return record


def test_a_root_that_was_moved_has_its_runs(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (root / "runs").rename(tmp_path / "aside")
    moved.mkdir()
    (tmp_path / "aside").rename(moved / "runs")
    entry = find_run(moved, "latest")
    assert entry.run_id == _IDS[2]
    assert read_record(Path(entry.place)).run_id == _IDS[2]


def test_several_who_look_at_once_agree(root: Path) -> None:
    for number in range(5):
        add_run(root, f"killed-{number}", "running", minute=30 + number)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(_states, [root] * 8)
    assert found == [["interrupted"] * 5 + ["succeeded"] * 3] * 8


def _states(root: Path) -> list[str]:
    # Who looks while another marks a run may see it run still.
    while "running" in (states := [entry.state for entry in list_runs(root)]):
        pass
    return states
