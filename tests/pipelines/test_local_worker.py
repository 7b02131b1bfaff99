"""The worker: what it makes of kfp's log, and that it never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_pipelines.local_worker import RunRequest, TaskEvent, task_event
from tunelane_serving.contract import decode, encode


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("Executing task \x1b[96m'build-dataset'\x1b[0m", TaskEvent("build-dataset", "running")),
        (
            "Task \x1b[96m'train-lora'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m",
            TaskEvent("train-lora", "succeeded"),
        ),
        (
            "Task \x1b[96m'train-lora'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m",
            TaskEvent("train-lora", "failed"),
        ),
        # As kfp writes them to what is no terminal.
        ("Executing task 'gate-model'", TaskEvent("gate-model", "running")),
        ("Task 'gate-model' finished with status SUCCESS", TaskEvent("gate-model", "succeeded")),
        ("Task \x1b[96m'gate-model'\x1b[0m outputs:", None),
        ("Running pipeline: \x1b[95m'train-classifier'\x1b[0m", None),
        ("Pipeline \x1b[95m'train-classifier'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m", None),
        ("Streamed logs:\n", None),
        ("the text says: Executing task 'x'", None),
        ("", None),
    ],
)
def test_a_line_of_the_runner_is_an_event_or_none(line: str, event: TaskEvent | None) -> None:
    assert task_event(line) == event


def test_a_request_keeps_the_types_of_its_parameters() -> None:
    parameters = {"data": "0", "rows": 0, "margin": 0.0, "learning_rate": 1e-3, "quantize": False}
    read = decode(encode(RunRequest("run-1", "convert", parameters)), RunRequest, "request.json")
    assert read.parameters == parameters
    assert {name: type(value) for name, value in read.parameters.items()} == {
        name: type(value) for name, value in parameters.items()
    }


_FAMILY = """
import subprocess, sys, time
from tunelane_pipelines.local_worker import end_with_parent

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
        assert worker.wait(timeout=5) == -signal.SIGKILL
        _wait_until(lambda: not _group(worker.pid))
    finally:
        if _group(worker.pid):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.stdout.close()


def test_a_worker_that_nobody_holds_ends_itself(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tunelane_pipelines.local_worker", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
        timeout=30,
    )
    assert finished.returncode == -signal.SIGKILL


def test_importing_the_worker_pays_for_no_kfp() -> None:
    script = "import sys, tunelane_pipelines.local_worker; print(*sys.modules)"
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
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)
