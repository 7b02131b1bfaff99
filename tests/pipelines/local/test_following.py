"""The worker's lines turned into the record: tasks, times, inputs, progress, errors."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_pipelines.local.following import Follower, TaskFailed
from tunelane_pipelines.local.worker import EVENT_PREFIX, TaskEvent
from tunelane_pipelines.runs.record import Progress, RunRecord, TaskRecord, write_record

_T0 = 1_800_000_000.0


class Followed:
    """A follower of a run of two tasks, and what it told."""

    def __init__(self, directory: Path = Path("/runs/1")) -> None:
        tasks = (TaskRecord("build-dataset", "Build", "build_dataset"), TaskRecord("train-lora", "Train", "train_lora"))
        started_at = datetime.fromtimestamp(_T0, UTC)
        self.record = RunRecord("r", "p", "P", "local", started_at, "", {}, {}, {}, tasks)
        self.changes: list[tuple[str, str]] = []
        self.lines: list[tuple[str, str]] = []
        self.saves: list[bool] = []
        self._follower = Follower(self.record, directory, self, self.saves.append)

    def run_started(self, _record: RunRecord) -> None:
        raise AssertionError("the runner tells that itself")

    def task_changed(self, task: TaskRecord) -> None:
        self.changes.append((task.name, task.state))

    def task_said(self, task: TaskRecord, line: str) -> None:
        self.lines.append((task.name, line))

    def take(self, *lines: str | TaskEvent) -> TaskFailed:
        """Give it these lines and events; returns how it would report a failure."""
        for line in lines:
            if isinstance(line, TaskEvent):
                line = f"{EVENT_PREFIX}{msgspec.json.encode(line).decode()}"
            self._follower.take(f"{line}\n")
        return self._follower.failure(Path("/runs/1/run.log"))

    def task(self, name: str) -> TaskRecord:
        found = self.record.task(name)
        assert found is not None
        return found


def _started(task: str, at_s: float = 0.0) -> TaskEvent:
    return TaskEvent(task, "running", _T0 + at_s)


def _ended(task: str, state: Any = "failed", at_s: float = 1.0) -> TaskEvent:
    return TaskEvent(task, state, _T0 + at_s)


def _said(line: str, at: str = "10:00:00,000", level: str = "INFO") -> str:
    """As kfp's executor logs it, and its runner prints it."""
    return f"    [KFP Executor 2026-01-02 {at} {level}]: {line}"


def _input(directory: Path, parameters: dict[str, Any], **artifacts: str) -> list[str]:
    """What the executor prints of its input."""
    outputs = {
        "artifacts": {
            name: {"artifacts": [{"uri": str(directory / name), "type": {"schemaTitle": f"system.{kind}"}}]}
            for name, kind in artifacts.items()
        },
        "outputFile": str(directory / "executor_output.json"),
    }
    text = json.dumps({"inputs": {"parameterValues": parameters}, "outputs": outputs}, indent=4)
    return [_said("Got executor_input:", "10:00:00,500"), *(f"    {line}" for line in text.splitlines())]


# --- tasks and their times --------------------------------------------------------------------------------------------


def test_a_task_that_starts_and_ends_is_told_and_saved() -> None:
    followed = Followed()
    followed.take(_started("build-dataset", 2.0), _ended("build-dataset", "succeeded", 5.25))
    task = followed.task("build-dataset")
    assert (task.state, task.started_at, task.wall_s) == ("succeeded", datetime.fromtimestamp(_T0 + 2, UTC), 3.25)
    assert followed.changes == [("build-dataset", "running"), ("build-dataset", "succeeded")]
    assert followed.saves == [True, True]


def test_a_stage_s_own_seconds_lie_between_its_executor_s_stamps(tmp_path: Path) -> None:
    followed = Followed(tmp_path)
    followed.take(
        _started("build-dataset"),
        *_input(tmp_path, {}),
        _said("Wrote executor output file to x", "10:00:02,750"),
        _ended("build-dataset", "succeeded", 4.0),
    )
    assert (followed.task("build-dataset").wall_s, followed.task("build-dataset").stage_s) == (4.0, 2.25)


def test_what_a_process_takes_to_end_after_its_outputs_is_told_apart(tmp_path: Path) -> None:
    def stamp(at_s: float) -> str:
        return datetime.fromtimestamp(_T0 + at_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]

    followed = Followed(tmp_path)
    followed.take(
        _started("build-dataset"),
        *(line.replace("2026-01-02 10:00:00,500", stamp(0.25)) for line in _input(tmp_path, {})),
        _said("Wrote executor output file to x").replace("2026-01-02 10:00:00,000", stamp(3.0)),
        _ended("build-dataset", "succeeded", 3.5),
    )
    task = followed.task("build-dataset")
    assert (task.wall_s, task.stage_s, task.exit_s) == (3.5, 2.75, 0.5)


def test_a_stage_that_wrote_no_output_worked_until_its_end(tmp_path: Path) -> None:
    followed = Followed(tmp_path)
    followed.take(_started("build-dataset"), *_input(tmp_path, {}), _ended("build-dataset", "failed", 4.0))
    assert followed.task("build-dataset").stage_s == 4.0


def test_a_clock_that_is_set_back_gives_no_negative_time(tmp_path: Path) -> None:
    followed = Followed(tmp_path)
    followed.take(
        _started("build-dataset", 100.0),
        *_input(tmp_path, {}),
        _said("Wrote executor output file to x", "09:00:00,000"),
        _ended("build-dataset", "succeeded", 4.0),
    )
    assert (followed.task("build-dataset").wall_s, followed.task("build-dataset").stage_s) == (0.0, 0.0)


def test_a_task_that_the_dag_does_not_know_is_added() -> None:
    followed = Followed()
    followed.take(_started("for-loop-task-7"), _ended("for-loop-task-7", "succeeded"))
    assert [task.name for task in followed.record.tasks] == ["build-dataset", "train-lora", "for-loop-task-7"]
    assert followed.task("for-loop-task-7").component == "for_loop_task_7"


def test_a_task_that_is_seen_to_have_succeeded_has_its_figures(tmp_path: Path) -> None:
    followed = Followed(tmp_path)
    metrics = {"name": "metrics", "metadata": {"rows_train": 7}}
    output = {"artifacts": {"metrics": {"artifacts": [metrics]}}, "parameterValues": {"Output": "x"}}
    (tmp_path / "executor_output.json").write_text(json.dumps(output))
    (tmp_path / "dataset").write_text("rows")
    seen: list[tuple[str, dict[str, Any]]] = []
    followed.task_changed = lambda task: seen.append((task.state, dict(task.metrics)))  # type: ignore[method-assign]
    followed.take(
        _started("build-dataset"),
        *_input(tmp_path, {}, metrics="Metrics", dataset="Dataset"),
        _ended("build-dataset", "succeeded"),
    )
    assert seen == [("running", {}), ("succeeded", {"rows_train": 7})]
    assert followed.task("build-dataset").outputs == {"Output": "x"}
    assert [artifact.path for artifact in followed.task("build-dataset").artifacts] == ["dataset"]


# --- what a task is given and says ------------------------------------------------------------------------------------


def test_parameters_are_read_from_what_the_executor_prints_and_masked(tmp_path: Path) -> None:
    followed = Followed(tmp_path)
    nested = {"list": ["}", {"a": "{\n}"}], "uri": "x://me:secret@db"}
    followed.take(_started("build-dataset"), *_input(tmp_path, {"rows": 3, "text": 'a "quote" }', "nested": nested}))
    parameters = followed.task("build-dataset").parameters
    assert parameters == {
        "rows": 3,
        "text": 'a "quote" }',
        "nested": {"list": ["}", {"a": "{\n}"}], "uri": "x://me:***@db"},
    }
    assert followed.lines == [], "what kfp says is not the task's own"


def test_the_last_line_is_what_the_stage_itself_said() -> None:
    followed = Followed()
    followed.take(
        _said("before any task"),
        _started("build-dataset"),
        _said("Looking for component `build_dataset` in --component_module_path"),
        "    a warning that some library printed",
        _said("reading x://me:secret@db"),
        "",
        "    ",
        _ended("build-dataset", "succeeded"),
        _said("after the task"),
    )
    assert followed.lines == [("build-dataset", "reading x://me:***@db")]
    assert followed.task("build-dataset").last_line == "reading x://me:***@db"
    assert followed.saves == [True, False, True]


def test_a_task_cannot_move_the_terminal_s_cursor() -> None:
    followed = Followed()
    followed.take(_started("build-dataset"), _said("\x1b[31mred\x1b[0m \x1b[2Jtext\x07 50 %\x08"))
    assert followed.lines == [("build-dataset", "red text 50 %")]


def test_training_lines_move_the_progress() -> None:
    followed = Followed()
    task = followed.task("train-lora")
    followed.take(_started("train-lora"), _said("step 10/74 loss 0.693, about 90 s left"))
    assert task.progress == Progress(10, 74, 0.693, 90.0)
    followed.take(_said("epoch 1: validation macro-F1 0.812, 40 s"))
    assert task.progress == Progress(10, 74, 0.693, 90.0, 0.812)
    followed.take(_said("step 40/74 loss 0.402, about 45 s left"), _said("something else"))
    assert task.progress == Progress(40, 74, 0.402, 45.0, 0.812)


@pytest.mark.parametrize("loss", ["nan", "inf"])
def test_a_loss_that_is_no_number_can_be_saved(loss: str, tmp_path: Path) -> None:
    followed = Followed()
    followed.take(_started("train-lora"), _said(f"step 10/74 loss {loss}, about 90 s left"))
    assert followed.task("train-lora").progress == Progress(10, 74, None, 90.0)
    write_record(tmp_path, followed.record)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_typed_error_gives_its_message_and_its_exit_code() -> None:
    followed = Followed()
    failure = followed.take(
        _started("build-dataset"),
        "    Traceback (most recent call last):",
        "    tunelane_serving.errors.InputError: empty.csv is empty. Pass a file with labelled rows.",
        _ended("build-dataset"),
    )
    said = "empty.csv is empty. Pass a file with labelled rows."
    assert (failure.task, str(failure), failure.exit_code) == ("build-dataset", said, 2)
    assert followed.task("build-dataset").error == said


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


def test_the_first_failed_task_speaks_for_the_run_and_each_for_itself() -> None:
    followed = Followed()
    failure = followed.take(
        _started("deploy"),
        "tunelane_serving.errors.TunelaneError: the disk is full",
        _ended("deploy"),
        _started("report-verdict"),
        "tunelane_serving.errors.InputError: another thing",
        _ended("report-verdict"),
        _started("train-lora"),
        _ended("train-lora"),
    )
    assert (failure.task, str(failure)) == ("deploy", "deploy: the disk is full; its output is in /runs/1/run.log")
    assert [followed.task(name).error for name in ("deploy", "report-verdict", "train-lora")] == [
        "the disk is full",
        "another thing",
        "It ended without a word.",
    ]


def test_an_error_that_a_task_got_over_is_not_taken_for_another_s() -> None:
    failure = Followed().take(
        _started("resolve-champion"),
        "tunelane_serving.errors.TunelaneError: tried once, will try again",
        _ended("resolve-champion", "succeeded"),
        _started("train-lora"),
        "    MemoryError",
        _ended("train-lora"),
    )
    assert str(failure) == "train-lora failed: MemoryError; its output is in /runs/1/run.log"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ValueError: not ours", ": ValueError: not ours"),
        ("    torch.OutOfMemoryError: no memory for x://me:secret@db", ": torch.OutOfMemoryError: no memory"),
        ("tunelane_components.etl.record.Record: a class, and no error", " without a word"),
        ("he wrote tunelane_serving.errors.InputError: as a text", " without a word"),
        ("tunelane_serving.errors.NoSuch: no such class", " without a word"),
        ("tunelane_serving.no_such_module.Bad: no such module", " without a word"),
    ],
)
def test_a_failure_without_an_error_of_ours_points_at_the_log(line: str, said: str) -> None:
    followed = Followed()
    failure = followed.take(_started("train-lora"), line, _ended("train-lora"))
    assert (failure.task, failure.exit_code) == ("train-lora", 1)
    assert str(failure).startswith(f"train-lora failed{said}")
    assert str(failure).endswith("; its output is in /runs/1/run.log")
    assert "secret" not in str(failure) + followed.task("train-lora").error


def test_a_password_in_an_error_is_masked() -> None:
    followed = Followed()
    failure = followed.take(
        _started("build-dataset"),
        "tunelane_serving.errors.InputError: x://me:secret@db cannot be reached.",
        _ended("build-dataset"),
    )
    assert str(failure) == followed.task("build-dataset").error == "x://me:***@db cannot be reached."


def test_a_worker_that_ends_between_tasks_points_at_the_log() -> None:
    failure = Followed().take("Killed")
    assert str(failure) == "the run failed without a word that Tunelane knows; its output is in /runs/1/run.log"
