"""`tunelane run`: what it passes on, and what it says at the end."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_pipelines.local.runner import LocalRun
from tunelane_pipelines.runs.record import LOG, RunRecord
from tunelane_serving.contract import read

_GOLDEN = Path(__file__).parents[1] / "runs" / "golden" / "run_v1.json"


@pytest.fixture
def ran(place: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunRecord, dict[str, Any]]:
    """A run that takes no time: the record it ends with, and what it was given."""
    (place / "rows.csv").write_text("text,label\n")
    (place / "encoder").mkdir()
    record, given = read(_GOLDEN, RunRecord), dict[str, Any]()

    def run_locally(pipeline: str, parameters: dict[str, Any], root: Path, **options: Any) -> LocalRun:
        given.update(pipeline=pipeline, parameters=parameters, root=root, **options)
        directory = root / "runs" / record.run_id
        directory.mkdir(parents=True)
        (directory / LOG).touch()
        options["display"].run_started(record)
        for task in record.tasks:
            if task.state == "succeeded":
                options["display"].task_changed(task)
        return LocalRun(directory, record)

    monkeypatch.setattr("tunelane_pipelines.local.run.run_locally", run_locally)
    return record, given


_ARGUMENTS = ("run", "train-classifier", "--set", "data=rows.csv", "--set", "base_model=encoder")


def test_a_run_is_given_what_was_typed(
    ran: tuple[RunRecord, dict[str, Any]], here: Callable[..., tuple[object, str, str]], place: Path
) -> None:
    code, _, complaint = here(*_ARGUMENTS, "--set", "rows=7", "--set", "text_field=the text", "--root", "my root")
    assert (code, complaint) == (0, "")
    given = ran[1]
    assert (given["pipeline"], given["root"]) == ("train-classifier", place / "my root")
    assert given["parameters"]["data"] == str(place / "rows.csv")
    assert (given["parameters"]["rows"], given["parameters"]["text_field"]) == (7, "the text")
    assert given["command"] == (
        "tunelane run train-classifier --set data=rows.csv --set base_model=encoder --set rows=7"
        " --set 'text_field=the text' --root 'my root'"
    )
    assert given["started_s"] > 0


def test_the_tasks_and_what_came_of_them_are_told_line_by_line(
    ran: tuple[RunRecord, dict[str, Any]], here: Callable[..., tuple[object, str, str]]
) -> None:
    record, _ = ran
    _, said, _ = here(*_ARGUMENTS)
    lines = said.splitlines()
    assert lines[0] == record.run_id
    assert lines[1] == "✓ resolve-champion 0.1 s  none yet"
    after = lines[lines.index("") + 1 :]
    assert after[0].split() == ["Verdict", "promote"]
    assert after[-1].split(maxsplit=1) == ["Next", "tunelane serve --model sentiment"]
    assert any(line.split() == ["Log", f".tunelane/runs/{record.run_id}/{LOG}"] for line in after)
    assert "\x1b" not in said


@pytest.mark.parametrize(("promoted", "code"), [(True, 0), (False, 3)])
def test_only_a_promotion_satisfies_who_requires_one(
    promoted: bool,
    code: int,
    ran: tuple[RunRecord, dict[str, Any]],
    here: Callable[..., tuple[object, str, str]],
) -> None:
    confirmed = ran[0].task("confirm-champion")
    assert confirmed is not None
    confirmed.state = "succeeded" if promoted else "skipped"
    found, said, _ = here(*_ARGUMENTS, "--require-promotion")
    assert (found, "Verdict" in said) == (code, True)


def test_a_terminal_gets_the_tree_unless_lines_are_asked_for(
    ran: tuple[RunRecord, dict[str, Any]],
    here: Callable[..., tuple[object, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    _, tree, _ = here(*_ARGUMENTS)
    assert "Resolve champion" in tree and "▸" not in tree and "\x1b[?25h" in tree
    _, lines, _ = here(*_ARGUMENTS, "--plain", "--root", str(tmp_path / "other"))
    assert "✓ resolve-champion 0.1 s" in lines and "\x1b" not in lines
