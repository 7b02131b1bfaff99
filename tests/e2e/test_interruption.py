"""Runs that are killed or race each other."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.e2e.place import SMALL, Place

pytestmark = pytest.mark.slow


def _start(place: Place, token: str, *arguments: str) -> "subprocess.Popen[str]":
    place.root.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [
            sys.executable, "-m", "tunelane_pipelines.cli", "run", "train-classifier", "--config", "sentiment", *SMALL,
            *arguments, "--root", str(place.root),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TUNELANE_TEST_TOKEN": token},
    )  # fmt: skip


def _wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"the run ended before it said {word!r}")


def _alive(token: str) -> list[int]:
    """Processes that inherited the token: the run and everything it started."""
    marked = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"TUNELANE_TEST_TOKEN={token}".encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                marked += [int(entry.name)] if state != "Z" else []
        except OSError:
            continue
    return marked


def _gone(token: str, within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while _alive(token):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_killed_during_training_leaves_no_process_and_the_next_one_works(
    place: Place, number: signal.Signals
) -> None:
    token = uuid.uuid4().hex
    process = _start(place, token)
    _wait_for(process, "step ")
    assert len(_alive(token)) >= 3
    # The whole group of the command line, as a terminal or a supervisor does it.
    os.killpg(process.pid, number)
    code = process.wait(timeout=60)
    assert _gone(token, within_s=30)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    assert place.champion() is None
    again = place.tunelane("run", "train-classifier", "--config", "sentiment", *SMALL)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Verdict   promote" in again.stdout


def test_of_two_runs_that_race_one_becomes_champion_and_the_other_says_so(place: Place) -> None:
    tokens = uuid.uuid4().hex, uuid.uuid4().hex
    runs = [_start(place, token, "--set", f"seed={seed}") for seed, token in enumerate(tokens)]
    outputs = [run.communicate(timeout=600)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], outputs
    winner = next(output for run, output in zip(runs, outputs, strict=True) if run.returncode == 0)
    loser = next(output for run, output in zip(runs, outputs, strict=True) if run.returncode == 1)
    assert "Verdict   promote" in winner
    assert "The champion of 'sentiment' moved" in loser
    champion, active = place.champion(), place.active()
    assert champion is not None and active is not None
    assert champion.digest == active.digest
