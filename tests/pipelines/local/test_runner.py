"""Runs on this machine: what they leave behind, how they fail, and that nothing outlives them."""

import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipelines.local.blocked import SECRET, URI, Blocked
from tunelane_pipelines.local.following import TaskFailed
from tunelane_pipelines.local.parameters import local_parameters
from tunelane_pipelines.local.runner import LocalRun, check_paths, run_locally
from tunelane_pipelines.runs.finding import list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import (
    LOCK,
    LOG,
    PARAMETERS,
    RECORD,
    REPORT,
    Artifact,
    RunRecord,
    TaskRecord,
    read_record,
)
from tunelane_pipelines.settings import load_settings
from tunelane_serving.errors import InputError, TunelaneError


class Shown:
    """A display that remembers; it fails with `error` when the run starts, if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.changes: list[tuple[str, str, float]] = []
        self.lines: list[tuple[str, str]] = []

    def run_started(self, record: RunRecord) -> None:
        assert record.state == "running"
        if self.error is not None:
            raise self.error

    def task_changed(self, task: TaskRecord) -> None:
        self.changes.append((task.name, task.state, task.wall_s))

    def task_said(self, task: TaskRecord, line: str) -> None:
        self.lines.append((task.name, line))


def _parameters(root: Path, **values: str) -> dict[str, Any]:
    """Those of a run that its first real task refuses: the data file is empty."""
    (root.parent / "encoder").mkdir(exist_ok=True)
    (root.parent / "empty.csv").touch()
    given = {"data": str(root.parent / "empty.csv"), "base_model": str(root.parent / "encoder"), **values}
    assignments = [f"{name}={value}" for name, value in given.items()]
    return local_parameters("train-classifier", config="", assignments=assignments, settings=load_settings(root=root))


def _directory(root: Path) -> Path:
    (directory,) = (path for path in (root / "runs").iterdir() if path.is_dir())
    return directory


# --- what a finished run can be asked ---------------------------------------------------------------------------------


def test_an_artifact_lies_below_the_run_s_directory(tmp_path: Path) -> None:
    task = TaskRecord("a", "A", "a", artifacts=(Artifact("report", "HTML", "artifacts/p/a/report", ""),))
    started_at = datetime(2026, 1, 2, tzinfo=UTC)
    record = RunRecord("r", "p", "P", "local", started_at, "", {}, {}, {}, (task,))
    run = LocalRun(tmp_path, record)
    assert run.artifact("a", "report") == tmp_path / "artifacts" / "p" / "a" / "report"
    assert run.artifact("a", "verdict") is None
    assert run.artifact("b", "report") is None


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


# --- runs that end before a task, in this process ---------------------------------------------------------------------


def test_what_nobody_foresaw_fails_the_run_and_is_in_its_record(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(OSError, match="No space left"):
        run_locally("train-classifier", _parameters(root), root, display=Shown(OSError("No space left on device")))
    (entry,) = list_runs(root)
    assert (entry.state, entry.error) == ("failed", "No space left on device")
    record = read_record(_directory(root))
    assert (record.state, record.error) == ("failed", entry.error)
    assert {task.state for task in record.tasks} == {"skipped"}
    assert record.overhead is None
    assert (_directory(root) / REPORT).exists()


def test_a_report_that_cannot_be_written_loses_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no report")

    root = tmp_path / "root"
    monkeypatch.setattr("tunelane_pipelines.report.run_report.write_report", fail)
    with pytest.raises(RuntimeError, match="no report"):
        run_locally("train-classifier", _parameters(root), root, display=Shown(OSError("gone")))
    assert read_record(_directory(root)).state == "failed"
    assert [entry.state for entry in Journal(root).entries()] == ["failed"]


@pytest.mark.parametrize("blocked_by", ["directory", "file"])
def test_a_run_that_cannot_be_entered_in_the_journal_leaves_nothing(blocked_by: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    journal = root / "runs" / "journal.db"
    if blocked_by == "directory":
        journal.mkdir(parents=True)
    else:
        journal.parent.mkdir(parents=True)
        journal.write_text("no journal, but long enough to be taken for one" * 40)
    with pytest.raises(TunelaneError, match=r"journal\.db"):
        run_locally("train-classifier", _parameters(root), root, display=Shown())
    assert list((root / "runs").iterdir()) == [journal]


def test_a_refused_input_leaves_nothing_and_the_handlers_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    root, shown = tmp_path / "root", Shown()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(TaskFailed, match=r"empty\.csv is empty") as caught:
        run_locally("train-classifier", _parameters(root), root, display=shown)
    assert (caught.value.task, caught.value.exit_code) == ("build-dataset", 2)
    assert [change[:2] for change in shown.changes] == [
        ("resolve-champion", "running"),
        ("resolve-champion", "succeeded"),
        ("fingerprint-data", "running"),
        ("fingerprint-data", "succeeded"),
        ("build-dataset", "running"),
        ("build-dataset", "failed"),
    ]
    assert all(seconds > 0 for _, state, seconds in shown.changes if state != "running")
    assert [path.name for path in (root / "runs").iterdir()] == ["journal.db"]
    assert Journal(root).entries() == []
    assert list(scratch.iterdir()) == []
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


_AROUND = st.text("aB1!$&'()*+,;=._~:/%\"", max_size=6)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(before=_AROUND, after=_AROUND)
def test_a_password_stays_in_the_worker_s_parameters_alone(
    before: str, after: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("masked") / "root"
    password = f"p{before}{SECRET}{after}"
    uri = f"postgres://me:{password}@db/mlflow"
    with pytest.raises(OSError, match="cannot show"):
        run_locally(
            "train-classifier",
            _parameters(root, text_field=uri),
            root,
            display=Shown(OSError(f"cannot show {uri}, or b://x:{SECRET}@y")),
            command=f"tunelane run train-classifier --set text_field={uri}",
        )
    directory = _directory(root)
    assert read_record(directory).parameters["text_field"] == "postgres://me:***@db/mlflow"
    assert yaml.safe_load((directory / PARAMETERS).read_text())["text_field"] == uri
    assert stat.S_IMODE((directory / PARAMETERS).stat().st_mode) == 0o600
    assert _places_of(SECRET, root) == {PARAMETERS}


def _places_of(text: str, root: Path) -> set[str]:
    """The names of the files below the root that hold the text."""
    return {path.name for path in root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()}


# --- runs that wait, in a process of their own ------------------------------------------------------------------------


def _assert_whole(blocked: Blocked, state: str, error: str) -> None:
    """Record, journal, log and report of a run that ended in `build_dataset` agree."""
    record = blocked.record()
    assert (record.state, record.error) == (state, error)
    (entry,) = Journal(blocked.root).entries()
    assert (entry.state, entry.error, entry.wall_s) == (state, error, record.wall_s)
    states = {task.name: task.state for task in record.tasks}
    done = [states.pop(name) for name in ("resolve-champion", "fingerprint-data", "build-dataset")]
    assert done == ["succeeded", "succeeded", state]
    assert set(states.values()) == {"skipped"}
    building = record.task("build-dataset")
    assert building is not None and building.started_at is not None
    assert 0 < building.wall_s < record.wall_s
    # A signal may come before the command has taken in all that the log says already.
    if state == "failed":
        assert building.parameters["text_field"] == "postgres://me:***@db"
    parts = record.overhead
    assert parts is not None
    told = (parts.start_s, parts.tasks_s, parts.exits_s, parts.between_s, parts.end_s)
    assert sum(told) == pytest.approx(parts.total_s, abs=0.003)
    assert parts.total_s < record.wall_s - building.wall_s + 0.01, "the task's own time is no overhead"
    assert "Executing task" in (blocked.directory / LOG).read_text()
    assert (blocked.directory / REPORT).exists()
    assert _places_of(SECRET, blocked.root) == {PARAMETERS}
    assert yaml.safe_load((blocked.directory / PARAMETERS).read_text())["text_field"] == URI


def test_a_signal_to_the_command_ends_every_task_with_one_line(blocked: Blocked) -> None:
    assert len(blocked.alive()) >= 3
    blocked.process.send_signal(signal.SIGTERM)
    assert blocked.ended() == 130
    assert blocked.process.stderr is not None
    said = "Interrupted by SIGTERM; the run's tasks were ended."
    assert blocked.process.stderr.read() == f"tunelane: {said}\n"
    assert blocked.gone()
    assert list(blocked.scratch.iterdir()) == []
    _assert_whole(blocked, "interrupted", said)


def test_ctrl_c_in_a_terminal_leaves_the_tree_and_the_cursor(start_blocked: Callable[..., Blocked]) -> None:
    terminal, end = pty.openpty()
    blocked = start_blocked(
        stdin=end, stdout=end, stderr=end, env={"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    )
    os.close(end)
    # All the while it is read: a terminal takes only so much that nobody reads.
    said = _read_until(terminal, lambda text: "Build dataset" in text and blocked.waits_in_task())
    # As the terminal does it; the run's tasks are in a session of their own.
    os.killpg(blocked.process.pid, signal.SIGINT)
    said += _read_until(terminal, lambda _: False)
    os.close(terminal)
    assert blocked.ended() == 130
    assert blocked.gone()
    last = said.rpartition("Train classifier")[2]
    assert "interrupted" in last.splitlines()[0]
    assert "◼" in last and "· " in last
    assert "Interrupted by SIGINT; the run's tasks were ended." in last
    assert "Traceback" not in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1, "the cursor comes back"
    _assert_whole(blocked, "interrupted", "Interrupted by SIGINT; the run's tasks were ended.")


def _read_until(terminal: int, is_enough: Callable[[str], bool], timeout_s: float = 120.0) -> str:
    """What the terminal shows until it is enough or nobody writes to it any more."""
    shown, deadline_s = b"", time.monotonic() + timeout_s
    while not is_enough(shown.decode(errors="replace")):
        assert time.monotonic() < deadline_s, shown.decode(errors="replace")
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                read = os.read(terminal, 65536)
            except OSError:
                break
            shown += read
    return shown.decode(errors="replace")


def test_a_killed_command_takes_its_tasks_along_and_shows_as_interrupted(blocked: Blocked) -> None:
    assert " running " in blocked.runs("list").stdout
    assert json.loads(blocked.runs("show", "latest", "--json").stdout)["state"] == "running"
    watch = subprocess.Popen(
        [*blocked.process.args[:3], "runs", "watch", "--root", str(blocked.root)],  # type: ignore[index]
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        assert any("▸ build-dataset" in line for line in watch.stdout)
        blocked.process.kill()
        blocked.ended()
        assert blocked.gone()
        said, complaint = watch.communicate(timeout=120)
    finally:
        watch.kill()
    error = "The command was killed; the run's tasks ended with it."
    assert (watch.returncode, complaint) == (1, f"tunelane: {error}\n")
    assert "✗ build-dataset" in said
    record = blocked.record()
    assert (record.state, record.error) == ("interrupted", error)
    building = record.task("build-dataset")
    assert building is not None and building.state == "interrupted"
    listed = blocked.runs("list").stdout
    assert " interrupted " in listed and " running " not in listed
    shown = blocked.runs("show").stdout
    assert "◼ Build dataset" in shown and error in shown
    assert REPORT not in shown, "nobody wrote one"
    shutil.rmtree(blocked.directory)
    assert blocked.runs("list").stdout.startswith("No runs below")
    again = blocked.runs("watch")
    assert (again.returncode, again.stdout) == (2, "")


def test_more_signals_during_the_clean_up_leave_no_process(blocked: Blocked) -> None:
    (worker,) = blocked.pids_of("tunelane_pipelines.local.worker")
    # A stopped group does not hear SIGTERM: the clean-up has to wait, and then to kill.
    os.killpg(worker, signal.SIGSTOP)
    # Until then a SIGTERM would be taken first: of two signals that wait, the lower number is.
    _wait_until(lambda: all(_state(pid) == "T" for pid in [worker, *blocked.pids_of("kfp.dsl.executor_main")]))
    blocked.process.send_signal(signal.SIGTERM)
    # From the first signal to the end of the clean-up, which has to wait for the stopped group, none is heard.
    _wait_until(
        lambda: blocked.process.poll() is not None or {signal.SIGINT, signal.SIGTERM} <= _ignored(blocked.process.pid)
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        blocked.process.send_signal(number)
    assert blocked.ended() == 130
    assert blocked.gone()
    assert blocked.record().state == "interrupted"


def test_a_task_that_dies_without_a_word_fails_the_run_and_keeps_its_log(blocked: Blocked) -> None:
    (task,) = blocked.pids_of("kfp.dsl.executor_main")
    os.kill(task, signal.SIGKILL)
    assert blocked.ended() == 1
    assert blocked.process.stderr is not None
    said = blocked.process.stderr.read()
    assert said.startswith("tunelane: build-dataset failed")
    assert str(blocked.directory / LOG) in said
    assert len(said.splitlines()) == 1
    assert blocked.gone()
    building = blocked.record().task("build-dataset")
    assert building is not None and building.error == "It ended without a word."
    _assert_whole(blocked, "failed", said.removeprefix("tunelane: ").rstrip("\n"))


def test_a_worker_that_dies_fails_the_run(blocked: Blocked) -> None:
    (worker,) = blocked.pids_of("tunelane_pipelines.local.worker")
    os.killpg(worker, signal.SIGKILL)
    assert blocked.ended() == 1
    assert blocked.gone()
    assert blocked.process.stderr is not None
    _assert_whole(blocked, "failed", blocked.process.stderr.read().removeprefix("tunelane: ").rstrip("\n"))


def test_a_run_whose_reader_goes_away_ends(blocked: Blocked) -> None:
    """As with `tunelane run … | head`."""
    assert blocked.process.stdout is not None
    blocked.process.stdout.close()
    (task,) = blocked.pids_of("kfp.dsl.executor_main")
    os.kill(task, signal.SIGKILL)
    assert blocked.ended() == 1
    assert blocked.gone()
    assert "Traceback" not in (blocked.process.stderr.read() if blocked.process.stderr else "")
    _assert_whole(blocked, "failed", "[Errno 32] Broken pipe")
    assert (blocked.directory / LOCK).exists() and (blocked.directory / RECORD).exists()


def _state(pid: int) -> str:
    """One letter: R running, S sleeping, T stopped, Z dead but not yet waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _ignored(pid: int) -> set[signal.Signals]:
    """The signals that a process ignores."""
    found = re.search(r"^SigIgn:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return {number for number in signal.Signals if int(found[1], 16) >> (number - 1) & 1}


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)
