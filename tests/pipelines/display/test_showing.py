"""`runs list` and `runs show`, as people and programs read them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tests.pipelines.service import no_target
from tunelane_pipelines.display.listing import print_list
from tunelane_pipelines.display.showing import print_run
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import LOCK, RECORD, RunRecord, write_record
from tunelane_pipelines.targets.clock import SystemClock
from tunelane_serving.errors import ContractError
from tunelane_serving.files import locked


@pytest.fixture
def root(promoted: RunRecord, tmp_path: Path) -> Path:
    """Two runs, the older a failed one, the newer the golden one."""
    add_run(tmp_path, "run-a", "failed")
    directory = tmp_path / "runs" / promoted.run_id
    directory.mkdir()
    write_record(directory, promoted)
    Journal(tmp_path).enter(promoted, str(directory))
    return tmp_path


def test_the_list_is_a_table_with_the_newest_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list(root, 20, as_json=False)
    head, newer, older = capsys.readouterr().out.splitlines()
    assert head.split() == ["RUN", "STATE", "STARTED", "TIME", "MODEL", "VERDICT", "MACRO-F1"]
    assert newer.split()[0] == "train-classifier-20261121-074248-16b9"
    assert "succeeded" in newer and "2 min 32 s" in newer and newer.endswith("sentiment  promote  0.886")
    assert older.startswith("run-a ") and "failed" in older and older.endswith("tickets")
    assert newer.index("succeeded") == older.index("failed") == head.index("STATE")


def test_the_list_stops_at_its_limit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list(root, 1, as_json=False)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_list_as_json_is_an_object_a_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list(root, 20, as_json=True)
    newer, older = map(json.loads, capsys.readouterr().out.splitlines())
    assert (newer["decision"], newer["macro_f1"]) == ("promote", 0.8856209150326797)
    assert (older["state"], older["macro_f1"], older["error"]) == ("failed", None, "It went wrong.")


def test_without_runs_it_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list(tmp_path, 20, as_json=False)
    assert "Start one: tunelane run train-classifier" in capsys.readouterr().out
    print_list(tmp_path, 20, as_json=True)
    assert capsys.readouterr().out == ""


def test_a_run_that_goes_on_is_counted_up_to_now(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(root, "live", "running")
    with locked(root / "runs" / "live" / LOCK):
        print_list(root, 20, as_json=False)
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("live")]
        assert " h " in line, "it started in the past"
        print_run(root, "live", no_target, SystemClock(), as_json=False)
        said = capsys.readouterr().out
    assert "● Build dataset" in said
    assert "State" not in said, "there is nothing to sum up yet"


def test_a_run_is_shown_as_its_tree_and_its_figures(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_run(root, "latest", no_target, SystemClock(), as_json=False)
    said = capsys.readouterr().out
    assert "✓ Fine-tune with LoRA    1 min 45 s  validation macro-F1 0.872" in said
    assert "\nVerdict" in said and "\nNext" in said
    assert "\x1b" not in said, "a pipe gets no colours"


def test_a_run_that_failed_says_why_and_how_to_run_it_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_run(root, "run-a", no_target, SystemClock(), as_json=False)
    said = capsys.readouterr().out
    assert "✗ Build dataset" in said and "It went wrong." in said
    assert f"\nNext   tunelane run train-classifier --config {root}/runs/run-a/parameters.yaml --root {root}" in said


def test_a_run_as_json_is_its_record(root: Path, promoted: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    print_run(root, "latest", no_target, SystemClock(), as_json=True)
    assert capsys.readouterr().out == (root / "runs" / promoted.run_id / RECORD).read_text()


def test_paths_are_shown_as_they_would_be_typed_here(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    print_run(root, "latest", no_target, SystemClock(), as_json=False)
    assert str(root) not in capsys.readouterr().out
    shutil.rmtree(root / "runs")
    print_list(root, 20, as_json=False)
    assert capsys.readouterr().out.startswith(f"No runs below {os.curdir} yet")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_without_its_record_is_named(as_json: bool, root: Path) -> None:
    (root / "runs" / "run-a" / RECORD).unlink()
    with pytest.raises(ContractError, match=r"run\.json: No such file"):
        print_run(root, "run-a", no_target, SystemClock(), as_json=as_json)
