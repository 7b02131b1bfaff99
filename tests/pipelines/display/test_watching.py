"""A run that another process carries on, followed to its end."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.pipelines.added import add_run
from tests.pipelines.service import no_target
from tunelane_pipelines.display.watching import watch_run
from tunelane_pipelines.targets.clock import SystemClock
from tunelane_serving.errors import InputError

# Holds the run's lock, as its command does; each line that it reads is the next thing that happens.
_CARRIER = """
import os, signal, sys
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
    input()
    second.last_line = "reading rows"
    write_record(directory, record)
    print("ready", flush=True)
    input()
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    second.state, second.wall_s = "succeeded", 2.0
    third.state, third.wall_s, third.outputs = "succeeded", 0.5, {"Output": "promote"}
    if end == "failed":
        third.state, third.error = "failed", "No verdict."
    record.finish(end, "" if end == "succeeded" else "gate-model: No verdict")
    write_record(directory, record)
    Journal(Path(root)).enter(record, str(directory))
"""


class InStep:
    """A clock for who watches: while that sleeps, the next thing happens in the run's process."""

    def __init__(self, carrier: "subprocess.Popen[str]") -> None:
        assert carrier.stdin is not None and carrier.stdout is not None
        self._carrier, self._asked, self._said = carrier, carrier.stdin, carrier.stdout

    def wait(self) -> None:
        """Until the process is ready for the next thing, or gone with all that it held."""
        if self._said.readline() != "ready\n":
            self._carrier.wait()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, _seconds: float) -> None:
        print(file=self._asked, flush=True)
        self.wait()


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Callable[[str], InStep]]:
    """Give what starts a run in another process, which ends as it is told; gives the clock that it goes by."""
    carriers: list[subprocess.Popen[str]] = []

    def start(end: str) -> InStep:
        add_run(tmp_path, "live", "running")
        command = [sys.executable, "-c", _CARRIER, str(tmp_path), "live", end]
        carrier = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        carriers.append(carrier)
        clock = InStep(carrier)
        clock.wait()
        return clock

    yield start
    for carrier in carriers:
        carrier.kill()
        carrier.communicate()


def test_a_run_is_watched_to_its_end(
    carried: Callable[[str], InStep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = carried("succeeded")
    assert watch_run(tmp_path, "latest", no_target, clock)
    assert capsys.readouterr().out.splitlines() == [
        "live",
        "✓ resolve-champion 1.0 s",
        "▸ build-dataset",
        "    reading rows",
        "✓ build-dataset 2.0 s",
        "✓ gate-model 0.5 s  promote",
    ]


def test_a_run_that_fails_says_so(
    carried: Callable[[str], InStep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = carried("failed")
    assert not watch_run(tmp_path, "live", no_target, clock)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "✗ gate-model 0.5 s"
    assert said.err == "tunelane: gate-model: No verdict\n"


def test_a_run_that_is_killed_ends_the_watch(
    carried: Callable[[str], InStep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = carried("killed")
    assert not watch_run(tmp_path, "live", no_target, clock)
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
