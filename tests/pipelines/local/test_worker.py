"""The worker: what it makes of kfp's log, and that it never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.local.worker import TaskEvent, read_parameters, task_event, write_parameters
from tunelane_pipelines.runs.record import PARAMETERS


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("Executing task \x1b[96m'build-dataset'\x1b[0m", TaskEvent("build-dataset", "running", 7.5)),
        (
            "Task \x1b[96m'train-lora'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m",
            TaskEvent("train-lora", "succeeded", 7.5),
        ),
        (
            "Task \x1b[96m'train-lora'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m",
            TaskEvent("train-lora", "failed", 7.5),
        ),
        # As kfp writes them to what is no terminal.
        ("Executing task 'gate-model'", TaskEvent("gate-model", "running", 7.5)),
        ("Task 'gate-model' finished with status SUCCESS", TaskEvent("gate-model", "succeeded", 7.5)),
        ("Task \x1b[96m'gate-model'\x1b[0m outputs:", None),
        ("Running pipeline: \x1b[95m'train-classifier'\x1b[0m", None),
        ("Pipeline \x1b[95m'train-classifier'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m", None),
        ("Streamed logs:\n", None),
        ("the text says: Executing task 'x'", None),
        ("", None),
    ],
)
def test_a_line_of_the_runner_is_an_event_or_none(line: str, event: TaskEvent | None) -> None:
    assert task_event(line, 7.5) == event


@given(
    st.dictionaries(
        st.from_regex("[a-z_]{1,9}", fullmatch=True),
        st.text(st.characters(codec="utf-8"), max_size=20)
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.booleans()
        | st.sampled_from(["0", "true", "null", "1e-3", "no", "~", "2026-01-01", "a: b", "x\n  y", "", " "]),
        max_size=5,
    )
)
def test_parameters_reach_the_worker_with_their_types(
    tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, Any]
) -> None:
    directory = tmp_path_factory.mktemp("run")
    write_parameters(directory, parameters)
    read = read_parameters(directory)
    assert read == parameters
    assert {name: type(value) for name, value in read.items()} == {
        name: type(value) for name, value in parameters.items()
    }


_FAMILY = """
import subprocess, sys, time
from tunelane_pipelines.local.worker import end_with_parent

end_with_parent(sys.stdin.fileno())
# As kfp starts a task: a shell, and in it an interpreter.
subprocess.Popen(["sh", "-c", f"{sys.executable} -c 'import time; time.sleep(60)' & wait"])
print("ready", flush=True)
time.sleep(60)
"""


def test_when_the_parent_s_pipe_closes_the_whole_group_ends() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert worker.stdin is not None and worker.stdout is not None
    try:
        assert worker.stdout.readline() == b"ready\n"
        _wait_until(lambda: len(_group(worker.pid)) == 3)
        worker.stdin.close()
        assert worker.wait(timeout=60) == -signal.SIGKILL
        _wait_until(lambda: not _group(worker.pid))
    finally:
        if _group(worker.pid):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.stdout.close()


def test_a_worker_that_nobody_holds_ends_itself(tmp_path: Path) -> None:
    # It waits for its parameters for ever, so that nothing else ends it before.
    os.mkfifo(tmp_path / PARAMETERS)
    finished = subprocess.run(
        [sys.executable, "-m", "tunelane_pipelines.local.worker", "convert", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
        timeout=120,
    )
    assert finished.returncode == -signal.SIGKILL


def test_importing_the_worker_pays_for_no_kfp() -> None:
    script = "import sys, tunelane_pipelines.local.worker; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"kfp", "mlflow", "torch", "numpy"} & set(finished.stdout.split())


def _group(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _parent, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(entry.name))
    return found


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)
