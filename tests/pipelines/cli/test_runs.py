"""`tunelane runs …` as a user types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.added import add_run

_IDS = ("train-classifier-1-aa", "train-classifier-2-bb", "convert-3-cc")


@pytest.fixture
def runs(place: Path) -> Path:
    """Three runs below `.tunelane`, the newest last: the second failed, the third was killed."""
    root = place / ".tunelane"
    for minute, (run_id, state) in enumerate(zip(_IDS, ("succeeded", "failed", "running"), strict=True)):
        add_run(root, run_id, state, minute=minute)
    return root / "runs"


def test_the_newest_runs_are_listed(runs: Path, here: Callable[..., tuple[object, str, str]]) -> None:
    assert runs.is_dir()
    code, said, _ = here("runs", "list")
    assert code == 0
    lines = [line.split()[:2] for line in said.splitlines()]
    assert lines == [
        ["RUN", "STATE"],
        [_IDS[2], "interrupted"],
        [_IDS[1], "failed"],
        [_IDS[0], "succeeded"],
    ]
    _, said, _ = here("runs", "list", "--limit", "1")
    assert len(said.splitlines()) == 2
    _, said, _ = here("runs", "list", "--json", "--limit", "2")
    assert [json.loads(line)["run_id"] for line in said.splitlines()] == [_IDS[2], _IDS[1]]


def test_a_run_is_shown_by_the_part_of_its_id_that_is_typed(
    runs: Path, here: Callable[..., tuple[object, str, str]]
) -> None:
    code, said, _ = here("runs", "show", "bb")
    assert code == 0
    assert _IDS[1] in said and "It went wrong." in said
    code, said, _ = here("runs", "show", "--json")
    assert json.loads(said)["run_id"] == _IDS[2]
    assert json.loads((runs / _IDS[2] / "run.json").read_text())["state"] == "interrupted"


def test_a_watch_ends_with_how_the_run_ended(runs: Path, here: Callable[..., tuple[object, str, str]]) -> None:
    assert runs.is_dir()
    assert here("runs", "watch", "aa")[0] == 0
    code, _, complaint = here("runs", "watch", "bb")
    assert (code, complaint) == (1, "tunelane: It went wrong.\n")
    assert here("runs", "watch")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "train"], "2 runs are called 'train': train-classifier-2-bb, train-classifier-1-aa. Type more."),
        (["show", "convert-3-cd"], "No run 'convert-3-cd'. Did you mean 'convert-3-cc'?"),
        (["watch", "zzz"], "No run 'zzz'. There are: convert-3-cc"),
        (["show", "--root", "elsewhere"], "No runs below"),
        (["list", "--limit", "0"], "'--limit'"),
        (["lst"], "No such command 'lst'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_is_one_line(
    arguments: list[str], words: str, runs: Path, here: Callable[..., tuple[object, str, str]]
) -> None:
    assert runs.is_dir()
    code, said, complaint = here("runs", *arguments)
    assert (code, said) == (2, "")
    assert len(complaint.splitlines()) == 1
    assert words in complaint


def test_a_run_that_was_removed_by_hand_is_gone(runs: Path, here: Callable[..., tuple[object, str, str]]) -> None:
    shutil.rmtree(runs / _IDS[2])
    assert _IDS[1] in here("runs", "show")[1]
    assert _IDS[2] not in here("runs", "list")[1]


@pytest.mark.parametrize("content", ["{", '{"version": 3}'])
def test_a_record_that_cannot_be_read_is_named_in_one_line(
    content: str, runs: Path, here: Callable[..., tuple[object, str, str]]
) -> None:
    (runs / _IDS[0] / "run.json").write_text(content)
    code, _, complaint = here("runs", "show", _IDS[0])
    assert code == 1
    assert len(complaint.splitlines()) == 1
    assert f"{_IDS[0]}/run.json: " in complaint


def test_a_journal_that_is_none_is_named_in_one_line(runs: Path, here: Callable[..., tuple[object, str, str]]) -> None:
    (runs / "journal.db").write_text("no journal, but long enough to be taken for one" * 40)
    code, said, complaint = here("runs", "list")
    assert (code, said) == (1, "")
    assert complaint == (f"tunelane: {runs}/journal.db is no journal of runs (file is not a database). Move it away.\n")
