"""A run line by line."""

from collections.abc import Callable

import pytest

from tunelane_pipelines.display.plain import PlainDisplay
from tunelane_pipelines.display.rows import print_rows
from tunelane_pipelines.runs.record import RunRecord


def test_a_run_is_told_line_by_line(training: RunRecord, capsys: pytest.CaptureFixture[str]) -> None:
    display = PlainDisplay()
    display.run_started(training)
    built, trained = training.task("build-dataset"), training.task("train-lora")
    assert built is not None and trained is not None
    display.task_changed(built)
    display.task_changed(trained)
    display.task_said(trained, "step 1/74 loss 0.7, about 9 s left")
    assert capsys.readouterr().out.splitlines() == [
        "train-classifier-20261121-074248-16b9",
        "✓ build-dataset 0.4 s  1,177 train, 148 valid, 175 test",
        "▸ train-lora",
        "    step 1/74 loss 0.7, about 9 s left",
    ]


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_a_task_that_did_not_get_through_is_crossed(
    state: str, ended: Callable[[str], RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    trained = ended(state).task("train-lora")
    assert trained is not None
    PlainDisplay().task_changed(trained)
    assert capsys.readouterr().out == "✗ train-lora 38.2 s\n"


def test_rows_stand_in_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 80
    rows = [("Verdict", "promote"), ("", long), ("Macro-F1", "0.9 [bold]")]
    print_rows(rows, is_plain=True)
    assert capsys.readouterr().out.splitlines() == [
        "Verdict   promote",
        f"          {long}",
        "Macro-F1  0.9 [bold]",
    ]
    print_rows(rows, is_plain=False)
    wrapped = capsys.readouterr().out.splitlines()
    assert wrapped[0].rstrip() == "Verdict   promote"
    assert wrapped[-1].rstrip() == "Macro-F1  0.9 [bold]"
    assert len(wrapped) > 4 and all(line.startswith(" " * 10) for line in wrapped[1:-1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Console", "https://console.cloud.google.com/vertex-ai/" + "runs/" * 40),
        ("Next", "tunelane submit train-classifier --target vertex --config " + "runs/" * 40 + "parameters.yaml"),
    ],
)
def test_what_is_copied_from_a_terminal_stays_in_one_piece(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_rows([("State", "failed"), (name, value)], is_plain=False)
    _, said = capsys.readouterr().out.splitlines()
    assert said.removeprefix(name).strip() == value
