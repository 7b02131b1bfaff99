"""The tree that redraws itself, in a terminal of a known size."""

import io

import pytest
from rich.console import Console

from tunelane_pipelines.display.live import LiveDisplay
from tunelane_pipelines.runs.record import RunRecord

_SHOW, _HIDE = "\x1b[?25h", "\x1b[?25l"


def _terminal(height: int = 40) -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    return file, Console(file=file, width=100, height=height, force_terminal=True, color_system=None)


def test_a_run_is_drawn_from_its_record_and_stays_as_it_ended(training: RunRecord) -> None:
    file, console = _terminal()
    with LiveDisplay(console) as display:
        display.run_started(training)
        trained, exported = training.task("train-lora"), training.task("export-onnx")
        assert trained is not None and exported is not None
        display.task_changed(trained)
        assert "30/74  loss 0.512" in file.getvalue()
        trained.state = "succeeded"
        display.task_said(trained, "done")
        training.finish("succeeded")
    last = file.getvalue().rpartition("Train classifier")[2]
    assert "succeeded" in last.splitlines()[0]
    assert "✓ Fine-tune with LoRA" in last and "· Export to ONNX" in last


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_it_the_cursor_comes_back(error: type[BaseException], training: RunRecord) -> None:
    file, console = _terminal()
    with pytest.raises(error), LiveDisplay(console) as display:
        display.run_started(training)
        raise error
    assert file.getvalue().count(_HIDE) == 1
    assert file.getvalue().rindex(_SHOW) > file.getvalue().rindex("Train classifier")


def test_a_low_terminal_shows_the_whole_tree_once_at_the_end(training: RunRecord) -> None:
    file, console = _terminal(height=8)
    with LiveDisplay(console) as display:
        display.run_started(training)
        for task in training.tasks[:3]:
            display.task_changed(task)
        assert "Resolve champion" in file.getvalue()
        assert "Report verdict" not in file.getvalue()
    assert file.getvalue().count("Report verdict") == 1
