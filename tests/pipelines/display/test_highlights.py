"""A run in words."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_pipelines.display.highlights import duration, highlight, next_command, summary
from tunelane_pipelines.runs.advice import short
from tunelane_pipelines.runs.record import LOG, REPORT, RunRecord, TaskRecord, read_record, write_record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run's directory with log and report."""
    directory = tmp_path / "root" / "runs" / "r"
    directory.mkdir(parents=True)
    for name in (LOG, REPORT):
        (directory / name).touch()
    return directory


def _rows(record: RunRecord, directory: Path) -> dict[str, str]:
    """The named rows; what stands below one goes on with it."""
    rows: dict[str, str] = {}
    for name, value in summary(record, directory):
        last = name or list(rows)[-1]
        rows[last] = f"{rows[last]} | {value}" if last in rows else value
    return rows


def test_each_task_has_one_thing_to_say(promoted: RunRecord) -> None:
    assert {task.name: highlight(task) for task in promoted.tasks} == {
        "resolve-champion": "none yet",
        "build-dataset": "1,177 train, 148 valid, 175 test",
        "train-lora": "validation macro-F1 0.872, best epoch 2",
        "export-onnx": "fp32 90.9 MB, int8 23.0 MB",
        "validate-parity": "int8 99.4 % of labels as PyTorch's",
        "evaluate-model": "macro-F1 0.886, floor 0.763",
        "gate-model": "promote",
        "register-candidate": "version 1",
        "report-verdict": "",
        "deploy": "",
        "smoke-test": "16 requests, slowest 6.7 ms",
        "confirm-champion": "",
    }


def test_a_fingerprint_is_told_from_another_by_its_beginning() -> None:
    task = TaskRecord("fingerprint-data", "Fingerprint data", "fingerprint_data", state="succeeded")
    assert highlight(task) == ""
    task.outputs = {"Output": "6c3aa8b27005" + 52 * "0"}
    assert highlight(task) == "6c3aa8b27005"


def test_a_task_without_its_figures_says_nothing(promoted: RunRecord) -> None:
    """Those of a run at a service are not known here: nor is whether there was a champion."""
    for task in promoted.tasks:
        task.metrics, task.outputs = {}, {}
    assert {highlight(task) for task in promoted.tasks} == {""}


def test_a_run_says_the_same_live_and_read_back(promoted: RunRecord, directory: Path) -> None:
    for task in promoted.tasks:
        task.metrics = dict(reversed(task.metrics.items()))
    write_record(directory, promoted)
    again = read_record(directory)
    assert [highlight(task) for task in again.tasks] == [highlight(task) for task in promoted.tasks]
    assert summary(again, directory) == summary(promoted, directory)


def test_a_promotion_is_summed_up(promoted: RunRecord, directory: Path) -> None:
    rows = _rows(promoted, directory)
    assert rows["Verdict"].startswith("promote | Macro-F1 0.886 on 175 rows")
    assert "State" not in rows
    assert rows["Macro-F1"].startswith("0.886") and "0.834 to 0.931" in rows["Macro-F1"]
    assert rows["Floor"].startswith("0.763") and "+12.3 points" in rows["Floor"]
    assert rows["Champion"] == "none yet"
    assert "99.4 %" in rows["Parity"] and "int8" in rows["Parity"]
    assert rows["Served"] == '"a bad film" → negative (0.92)'
    assert rows["Seconds"] == "152, 11.9 of them no stage's own work"
    assert rows["Taxonomy"].startswith("inferred; to keep it: --set taxonomy=")
    assert (rows["Report"], rows["Log"]) == (str(directory / REPORT), str(directory / LOG))


def test_a_rejection_names_the_champion_it_met(rejected: RunRecord, directory: Path) -> None:
    rows = _rows(rejected, directory)
    assert rows["Verdict"].startswith("reject | The two answer alike")
    assert rows["Champion"].startswith("0.900") and "-1.4 points" in rows["Champion"]
    assert "Served" not in rows


def test_a_conversion_has_neither_verdict_nor_f1(converted: RunRecord, directory: Path) -> None:
    rows = _rows(converted, directory)
    assert not {"Verdict", "Macro-F1", "Floor", "Champion", "Taxonomy", "Served"} & rows.keys()
    assert {"Parity", "Graph", "Package"} <= rows.keys()


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_a_run_that_did_not_get_through_says_why(
    state: str, ended: Callable[[str], RunRecord], directory: Path
) -> None:
    rows = _rows(ended(state), directory)
    # What the golden run had found later is not this run's.
    assert rows["State"] == f"{state} | It was {state}."


def test_a_run_that_failed_after_its_verdict_says_both(promoted: RunRecord, directory: Path) -> None:
    promoted.state, promoted.error = "failed", "confirm-champion: The champion moved"
    rows = _rows(promoted, directory)
    assert rows["Verdict"].startswith("promote")
    assert rows["State"] == "failed | confirm-champion: The champion moved"


def test_a_run_that_was_killed_has_no_report_to_look_at(promoted: RunRecord, directory: Path) -> None:
    (directory / REPORT).unlink()
    assert "Report" not in _rows(promoted, directory)


def test_the_next_command_serves_what_came_of_it(
    promoted: RunRecord, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = directory.parents[1]
    assert next_command(promoted, directory, root) == f"tunelane serve --model sentiment --root {root}"
    monkeypatch.chdir(root.parent)
    assert next_command(promoted, directory, root) == "tunelane serve --model sentiment --root root"
    assert next_command(promoted, directory, root.parent / ".tunelane") == "tunelane serve --model sentiment"
    promoted.parameters["model_name"] = "my model"
    assert next_command(promoted, directory, root.parent / "my root") == (
        "tunelane serve --model 'my model' --root 'my root'"
    )


def test_after_a_rejection_the_champion_that_stays_is_served(rejected: RunRecord, directory: Path) -> None:
    assert next_command(rejected, directory, Path.cwd() / ".tunelane") == "tunelane serve --model sentiment"


def test_without_a_champion_the_package_is_served(converted: RunRecord, directory: Path) -> None:
    package = converted.artifact("validate-parity", "package")
    assert package is not None
    command = next_command(converted, directory, Path.cwd() / ".tunelane")
    assert command == f"tunelane serve --package {directory / package.path}"


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_after_a_failure_the_next_thing_is_to_run_it_again_as_it_was(
    state: str, ended: Callable[[str], RunRecord], directory: Path
) -> None:
    record = ended(state)
    command = next_command(record, directory, Path.cwd() / ".tunelane")
    assert command == f"tunelane run train-classifier --config {directory}/parameters.yaml"


def test_a_path_with_a_space_can_be_pasted(promoted: RunRecord, tmp_path: Path) -> None:
    rows = _rows(promoted, tmp_path / "my runs" / "r")
    assert re.fullmatch(r"inferred; to keep it: --set 'taxonomy=/.*my runs/.*'", rows["Taxonomy"])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (4.24, "4.2 s"),
        (60, "1 min 00 s"),
        (65.4, "1 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_seconds_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_path_is_shortened_only_below_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short(tmp_path / "a" / "b") == Path("a/b")
    assert short(tmp_path.parent / "c") == tmp_path.parent / "c"
