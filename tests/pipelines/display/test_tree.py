"""The tree: every state, at any width, live or still."""

import io
from collections.abc import Callable
from datetime import datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from tunelane_pipelines.display.tree import tree
from tunelane_pipelines.runs.record import RunRecord


def _drawn(record: RunRecord, width: int = 100, *, now: datetime | None = None, is_live: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(tree(record, now=now, is_live=is_live))
    return [line.rstrip() for line in captured.get().splitlines()]


def _line(lines: list[str], word: str) -> str:
    (found,) = (line for line in lines if word in line)
    return found


def test_a_past_run_is_drawn_with_its_figures_and_branches(promoted: RunRecord) -> None:
    lines = _drawn(promoted)
    head = "Train classifier  train-classifier-20261121-074248-16b9  succeeded  2 min 32 s"
    assert lines[0] == head
    assert lines[1].startswith("✓ Resolve champion") and lines[1].endswith("none yet")
    assert _line(lines, "Fine-tune with LoRA").split("  ")[0] == "✓ Fine-tune with LoRA"
    assert "1 min 45 s  validation macro-F1 0.872, best epoch 2" in _line(lines, "Fine-tune")
    start = lines.index("├─ promote")
    assert [line[:23].rstrip() for line in lines[start:]] == [
        "├─ promote",
        "│  ✓ Register candidate",
        "│  ✓ Deploy",
        "│  ✓ Smoke test",
        "│  ✓ Confirm champion",
        "└─ otherwise",
        "   · Report verdict",
    ]


def test_a_training_shows_how_far_it_is_and_what_it_says(training: RunRecord, now: datetime) -> None:
    lines = _drawn(training, now=now)
    assert lines[0].endswith("running  30.0 s")
    line = _line(lines, "Fine-tune")
    assert line.startswith("● Fine-tune with LoRA    28.2 s")
    assert "30/74  loss 0.512  F1 0.812  about 1 min 01 s left" in line
    assert lines[lines.index(line) + 1].strip() == "step 30/74 loss 0.512, about 61 s left"
    assert _line(lines, "Export") == "○ Export to ONNX"
    assert "○ Deploy" in _line(lines, "Deploy")


def test_what_runs_turns_while_the_drawing_is_repeated(training: RunRecord, now: datetime) -> None:
    later = now.replace(microsecond=(now.microsecond + 250_000) % 1_000_000)
    first, second = (_line(_drawn(training, now=at, is_live=True), "Fine-tune")[0] for at in (now, later))
    assert first != second and not {first, second} & set("●✓")


def test_without_a_progress_the_last_line_stands_beside_the_task(training: RunRecord, now: datetime) -> None:
    trained = training.task("train-lora")
    assert trained is not None
    trained.progress, trained.last_line = None, "loading the encoder"
    assert _line(_drawn(training, now=now), "Fine-tune").endswith("28.2 s  loading the encoder")


@pytest.mark.parametrize(("state", "glyph"), [("failed", "✗"), ("interrupted", "◼")])
def test_a_run_that_did_not_get_through_shows_where(state: str, glyph: str, ended: Callable[[str], RunRecord]) -> None:
    lines = _drawn(ended(state))
    assert lines[0].endswith(f"{state}  40.0 s")
    assert f"{glyph} Fine-tune with LoRA    38.2 s" in _line(lines, "Fine-tune")
    assert ("OutOfMemoryError" in _line(lines, "Fine-tune")) is (state == "failed")
    assert _line(lines, "Export") == "· Export to ONNX"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("state", ["succeeded", "running", "failed", "interrupted"])
def test_no_line_is_wider_than_the_terminal(
    width: int, state: str, training: RunRecord, now: datetime, ended: Callable[[str], RunRecord]
) -> None:
    trained = training.task("train-lora")
    assert trained is not None
    trained.last_line = "日本語の行 " * 30
    if state == "succeeded":
        trained.state = "succeeded"
        training.finish("succeeded")
    elif state != "running":
        ended(state)
    lines = _drawn(training, width, now=now, is_live=True)
    assert max(cell_len(line) for line in lines) <= width
    # The head may wrap; a task never does.
    assert len([line for line in lines if "Fine-tune" in line]) == 1
    assert len(lines) <= len(training.tasks) + 2 + 1 + 1 + (width < 100)


def test_what_a_task_says_is_no_markup(training: RunRecord, now: datetime) -> None:
    trained = training.task("train-lora")
    assert trained is not None
    trained.progress, trained.last_line = None, "[red]shape [4, 7][/red] :tick:"
    assert _line(_drawn(training, now=now), "Fine-tune").endswith("[red]shape [4, 7][/red] :tick:")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_honoured(no_color: str, promoted: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=True).print(tree(promoted))
    assert ("\x1b[32m" in file.getvalue()) is (not no_color)
