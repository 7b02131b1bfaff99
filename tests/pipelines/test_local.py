"""Runs on this machine: what is told of them, how they fail, and that nothing outlives them."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_pipelines.local import LocalRun, TaskFailed, _Follower, check_paths, run_locally
from tunelane_pipelines.local_worker import EVENT_PREFIX, TaskEvent
from tunelane_pipelines.run import local_parameters
from tunelane_pipelines.settings import load_settings
from tunelane_serving.errors import InputError

# --- what a finished run can be asked ---------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> LocalRun:
    """A run of one task, as kfp leaves it."""
    task = tmp_path / "artifacts" / "train-classifier-2026-01-02-03-04-05-678901" / "smoke-test"
    task.mkdir(parents=True)
    (task / "report").write_text("fine")
    metadata = {"requests": 16.0, "label": "positive"}
    outputs = {"artifacts": {"metrics": {"artifacts": [{"name": "metrics", "metadata": metadata}]}}}
    (task / "executor_output.json").write_text(json.dumps(outputs))
    return LocalRun("run-1", tmp_path, {"smoke-test": 0.5})


def test_a_task_that_ran_gives_its_artifacts_and_metrics(finished: LocalRun) -> None:
    path = finished.artifact("smoke-test", "report")
    assert path is not None and path.read_text() == "fine"
    assert finished.metrics("smoke-test") == {"requests": 16.0, "label": "positive"}


def test_a_task_that_did_not_run_gives_nothing(finished: LocalRun) -> None:
    assert finished.artifact("gate-model", "verdict") is None
    assert finished.artifact("smoke-test", "verdict") is None
    assert finished.outputs("gate-model") == {}
    assert finished.metrics("gate-model") == {}


# --- what the local runner would mangle -------------------------------------------------------------------------------


def test_a_path_that_the_runner_would_mangle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"The root /opt/python3\.11/root"):
        check_paths(Path("/opt/python3.11/root"), {})
    with pytest.raises(InputError, match="Parameter data"):
        check_paths(Path("/opt/root"), {"rows": 3, "data": "/home/python3/data.csv"})
    check_paths(Path("/opt/python/3/root"), {"rows": 3, "data": "/home/py3/data.csv"})
    (tmp_path / "python3").mkdir()
    monkeypatch.chdir(tmp_path / "python3")
    with pytest.raises(InputError, match="The root"):
        check_paths(Path("root"), {})


# --- what the worker's lines say --------------------------------------------------------------------------------------


class Followed:
    """A follower and what it passed on."""

    def __init__(self) -> None:
        self.events: list[TaskEvent] = []
        self.lines: list[tuple[str, str]] = []
        self._follower = _Follower(
            lambda event, _seconds: self.events.append(event), lambda task, line: self.lines.append((task, line))
        )

    def take(self, *lines: str | TaskEvent) -> TaskFailed:
        """Give it these lines and events; returns how it would report a failure."""
        for line in lines:
            if isinstance(line, TaskEvent):
                line = f"{EVENT_PREFIX}{msgspec.json.encode(line).decode()}"
            self._follower.take(f"{line}\n")
        return self._follower.failure(Path("/runs/1/run.log"))


def _started(task: str) -> TaskEvent:
    return TaskEvent(task, "running")


def _ended(task: str, state: Any = "failed") -> TaskEvent:
    return TaskEvent(task, state)


def test_lines_come_with_the_task_that_printed_them() -> None:
    followed = Followed()
    followed.take("before", _started("a"), "    from a", _ended("a", "succeeded"), "between", _started("b"), "from b")
    assert followed.lines == [("", "before"), ("a", "    from a"), ("", "between"), ("b", "from b")]
    assert followed.events == [_started("a"), _ended("a", "succeeded"), _started("b")]


def test_a_typed_error_gives_its_message_and_its_exit_code() -> None:
    failure = Followed().take(
        _started("build-dataset"),
        "    Traceback (most recent call last):",
        "    tunelane_serving.errors.InputError: empty.csv is empty. Pass a file with labelled rows.",
        _ended("build-dataset"),
    )
    assert (failure.task, str(failure), failure.exit_code) == (
        "build-dataset",
        "empty.csv is empty. Pass a file with labelled rows.",
        2,
    )


def test_an_error_of_a_stage_s_own_counts_by_what_it_inherits() -> None:
    failure = Followed().take(
        _started("confirm-champion"),
        "tunelane_components.registry.interface.ChampionMoved: The champion moved: 1 to 2.",
        _ended("confirm-champion"),
    )
    said = "confirm-champion: The champion moved: 1 to 2; its output is in /runs/1/run.log"
    assert (str(failure), failure.exit_code) == (said, 1)


def test_of_errors_that_caused_each_other_the_last_counts() -> None:
    failure = Followed().take(
        _started("build-dataset"),
        "tunelane_serving.errors.ContractError: tax.json: field labels: missing",
        "The above exception was the direct cause of the following exception:",
        "tunelane_serving.errors.InputError: tax.json has no labels.",
        _ended("build-dataset"),
    )
    assert (str(failure), failure.exit_code) == ("tax.json has no labels.", 2)


def test_the_first_failed_task_speaks_for_the_run() -> None:
    failure = Followed().take(
        _started("deploy"),
        "tunelane_serving.errors.TunelaneError: the disk is full",
        _ended("deploy"),
        _started("report-verdict"),
        "tunelane_serving.errors.InputError: another thing",
        _ended("report-verdict"),
    )
    assert (failure.task, str(failure)) == ("deploy", "deploy: the disk is full; its output is in /runs/1/run.log")


def test_an_error_that_a_task_got_over_is_not_taken_for_another_s() -> None:
    failure = Followed().take(
        _started("resolve-champion"),
        "tunelane_serving.errors.TunelaneError: tried once, will try again",
        _ended("resolve-champion", "succeeded"),
        _started("train-lora"),
        "MemoryError",
        _ended("train-lora"),
    )
    assert failure.task == "train-lora"
    assert "tried once" not in str(failure)


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: not ours",
        "tunelane_serving.errors.NoSuchError: no such class",
        "tunelane_serving.no_such_module.InputError: no such module",
        "tunelane_components.etl.record.Record: a class, and no error",
        "he wrote tunelane_serving.errors.InputError: as a text",
    ],
)
def test_a_failure_without_a_typed_error_points_at_the_log(line: str) -> None:
    failure = Followed().take(_started("train-lora"), line, _ended("train-lora"))
    assert failure.task == "train-lora"
    assert failure.exit_code == 1
    assert "train-lora failed" in str(failure)
    assert "/runs/1/run.log" in str(failure)


def test_a_worker_that_ends_between_tasks_points_at_the_log() -> None:
    failure = Followed().take("Killed")
    assert "the run failed" in str(failure)
    assert "/runs/1/run.log" in str(failure)


# --- real runs that fail early ----------------------------------------------------------------------------------------


def test_a_run_that_the_input_ends_tells_its_events_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "encoder").mkdir()
    settings = load_settings(root=tmp_path / "root", base_model=str(tmp_path / "encoder"))
    parameters = local_parameters(
        "train-classifier", config="", assignments=[f"data={tmp_path}/empty.csv"], settings=settings
    )
    events: list[tuple[TaskEvent, float]] = []
    lines: list[tuple[str, str]] = []
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(TaskFailed) as caught:
        run_locally(
            "train-classifier",
            parameters,
            settings.root,
            on_event=lambda event, seconds: events.append((event, seconds)),
            on_line=lambda task, line: lines.append((task, line)),
        )
    assert (caught.value.task, caught.value.exit_code) == ("build-dataset", 2)
    assert [(event.task, event.state) for event, _ in events] == [
        ("resolve-champion", "running"),
        ("resolve-champion", "succeeded"),
        ("build-dataset", "running"),
        ("build-dataset", "failed"),
    ]
    assert all(seconds > 0 for event, seconds in events if event.state != "running")
    assert any(task == "build-dataset" and "empty.csv is empty" in line for task, line in lines)
    assert list((settings.root / "runs").iterdir()) == []
    assert list(scratch.iterdir()) == []
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


@dataclass(frozen=True)
class Blocked:
    """A run through the command line whose `build_dataset` waits for a pipe that nobody writes to."""

    process: "subprocess.Popen[str]"
    root: Path
    scratch: Path
    token: str

    def alive(self) -> dict[int, str]:
        """The command line of each process that inherited the run's token."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.token.encode() in (entry / "environ").read_bytes():
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found |= {int(entry.name): words} if state != "Z" else {}
            except OSError:
                continue
        return found

    def pids_of(self, module: str) -> list[int]:
        """The processes that were started as `python -m MODULE`."""
        return [pid for pid, words in self.alive().items() if words.startswith(f"{sys.executable} -m {module} ")]

    def gone(self, within_s: float) -> bool:
        """Whether no process of the run is left, at the latest after that time."""
        deadline_s = time.monotonic() + within_s
        while self.alive():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.05)
        return True


def _state(pid: int) -> str:
    """One letter: R running, S sleeping, T stopped, Z dead but not yet waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Blocked]:
    token = uuid.uuid4().hex
    data, scratch = tmp_path / "data.csv", tmp_path / "scratch"
    os.mkfifo(data)
    scratch.mkdir()
    (tmp_path / "encoder").mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tunelane_pipelines.cli", "run", "train-classifier"),
            *("--root", str(tmp_path / "root"), "--set", f"data={data}", "--set", f"base_model={tmp_path}/encoder"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Its own session, so that a signal reaches the command line alone, as from a supervisor.
        start_new_session=True,
        env={**os.environ, "TUNELANE_TEST_TOKEN": token, "TMPDIR": str(scratch)},
    )
    run = Blocked(process, tmp_path / "root", scratch, token)
    try:
        assert process.stdout is not None
        assert any("▸ build-dataset" in line for line in process.stdout)
        _wait_until(lambda: bool(run.pids_of("kfp.dsl.executor_main")))
        yield run
    finally:
        for pid in run.alive():
            os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_ends_every_task_with_one_line(number: signal.Signals, blocked: Blocked) -> None:
    assert len(blocked.alive()) >= 3
    blocked.process.send_signal(number)
    assert blocked.process.wait(timeout=10) == 130
    assert blocked.process.stderr is not None
    said = blocked.process.stderr.read()
    assert said == f"tunelane: Interrupted by {number.name}; the run's tasks were ended.\n"
    assert blocked.gone(within_s=1)
    assert list(blocked.scratch.iterdir()) == []


def test_a_killed_command_takes_its_tasks_along(blocked: Blocked) -> None:
    blocked.process.kill()
    blocked.process.wait(timeout=5)
    assert blocked.gone(within_s=5)


def test_more_signals_during_the_clean_up_leave_no_process(blocked: Blocked) -> None:
    (worker,) = blocked.pids_of("tunelane_pipelines.local_worker")
    # A stopped group does not hear SIGTERM: the clean-up has to wait, and then to kill.
    os.killpg(worker, signal.SIGSTOP)
    # Until then a SIGTERM would be taken first: of two signals that wait, the lower number is.
    _wait_until(lambda: all(_state(pid) == "T" for pid in [worker, *blocked.pids_of("kfp.dsl.executor_main")]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        blocked.process.send_signal(number)
        time.sleep(0.3)
    assert blocked.process.poll() is None, "it did not wait for its tasks"
    assert blocked.process.wait(timeout=15) == 130
    assert blocked.gone(within_s=1)


def test_a_task_that_dies_without_a_word_fails_the_run_and_keeps_its_log(blocked: Blocked) -> None:
    (task,) = blocked.pids_of("kfp.dsl.executor_main")
    os.kill(task, signal.SIGKILL)
    assert blocked.process.wait(timeout=10) == 1
    assert blocked.process.stderr is not None
    said = blocked.process.stderr.read()
    (log,) = blocked.root.glob("runs/*/run.log")
    assert said.startswith("tunelane: build-dataset failed")
    assert str(log) in said
    assert len(said.splitlines()) == 1
    assert "Executing task" in log.read_text()
    assert blocked.gone(within_s=1)


def test_a_worker_that_dies_fails_the_run(blocked: Blocked) -> None:
    (worker,) = blocked.pids_of("tunelane_pipelines.local_worker")
    os.killpg(worker, signal.SIGKILL)
    assert blocked.process.wait(timeout=10) == 1
    assert blocked.gone(within_s=1)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)
