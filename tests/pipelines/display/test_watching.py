"""A run that another process carries on, followed to its end."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tests.pipelines.service import no_target
from tunelane_pipelines.display.watching import watch_run
from tunelane_pipelines.targets.clock import SystemClock
from tunelane_serving.errors import InputError

# Holds the run's lock, as its command does; each line that it reads is the next thing that happens.
_CARRIER = """
import sys, time
from pathlib import Path
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import LOCK, Progress, read_record, write_record
from tunelane_serving.files import locked

root, run_id, end = sys.argv[1:]
directory = Path(root) / "runs" / run_id
with locked(directory / LOCK):
    record = read_record(directory)
    second, third = record.tasks[1:]
    print("ready", flush=True)
    time.sleep(1)
    second.last_line = "reading rows"
    write_record(directory, record)
    time.sleep(1)
    if end == "killed":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    second.state, second.wall_s = "succeeded", 2.0
    third.state, third.wall_s, third.outputs = "succeeded", 0.5, {"Output": "promote"}
    if end == "failed":
        third.state, third.error = "failed", "No verdict."
    record.finish(end, "" if end == "succeeded" else "gate-model: No verdict")
    write_record(directory, record)
    Journal(Path(root)).enter(record, str(directory))
"""


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Give what starts a run in another process, which ends as it is told."""
    carriers: list[subprocess.Popen[str]] = []

    def start(end: str) -> None:
        add_run(tmp_path, "live", "running")
        command = [sys.executable, "-c", _CARRIER, str(tmp_path), "live", end]
        carriers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stdout = carriers[0].stdout
        assert stdout is not None and stdout.readline() == "ready\n"

    yield start
    for carrier in carriers:
        carrier.kill()
        carrier.communicate()


def test_a_run_is_watched_to_its_end(
    carried: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried("succeeded")
    assert watch_run(tmp_path, "latest", no_target, SystemClock())
    assert capsys.readouterr().out.splitlines() == [
        "live",
        "✓ resolve-champion 1.0 s  none yet",
        "▸ build-dataset",
        "    reading rows",
        "✓ build-dataset 2.0 s",
        "✓ gate-model 0.5 s  promote",
    ]


def test_a_run_that_fails_says_so(
    carried: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried("failed")
    assert not watch_run(tmp_path, "live", no_target, SystemClock())
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "✗ gate-model 0.5 s"
    assert said.err == "tunelane: gate-model: No verdict\n"


def test_a_run_that_is_killed_ends_the_watch(
    carried: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried("killed")
    assert not watch_run(tmp_path, "live", no_target, SystemClock())
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("✗ build-dataset")
    assert "✗ gate-model" not in said.out, "what never started did not fail"
    assert said.err == "tunelane: The command was killed; the run's tasks ended with it.\n"


@pytest.mark.parametrize(("state", "succeeded"), [("succeeded", True), ("failed", False), ("interrupted", False)])
def test_a_run_that_has_ended_is_shown_and_not_waited_for(state: str, succeeded: bool, tmp_path: Path) -> None:
    add_run(tmp_path, "past", state)
    assert watch_run(tmp_path, "past", no_target, SystemClock()) is succeeded


def test_a_run_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No runs below"):
        watch_run(tmp_path, "latest", no_target, SystemClock())
