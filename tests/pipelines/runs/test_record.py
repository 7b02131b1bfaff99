"""The record of a run: what version 1 wrote loads for ever, and a run ends in one of three ways."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tunelane_pipelines.runs.record import (
    RECORD,
    Artifact,
    Overhead,
    Progress,
    Remote,
    RunRecord,
    TaskRecord,
    read_record,
    write_record,
)
from tunelane_serving.contract import decode, read
from tunelane_serving.errors import ContractError


def test_the_golden_record_keeps_its_meaning(golden: Path, tmp_path: Path) -> None:
    record = read(golden, RunRecord)
    assert (record.run_id, record.pipeline, record.state) == (
        "train-classifier-20261121-074248-16b9",
        "train-classifier",
        "succeeded",
    )
    assert record.started_at == datetime(2026, 11, 21, 7, 42, 48, 721859, tzinfo=UTC)
    assert record.parameters["rows"] == 1500
    assert (record.decision, record.promoted) == ("promote", True)
    assert record.overhead is not None and record.overhead.total_s == 11.874
    trained, evaluated, skipped = (record.task(n) for n in ("train-lora", "evaluate-model", "report-verdict"))
    assert trained is not None and evaluated is not None and skipped is not None
    assert trained.progress == Progress(72, 74, 0.375, 2.0, 0.872)
    assert (trained.wall_s, trained.stage_s, trained.needs) == (104.914, 101.422, ("build-dataset",))
    assert evaluated.metrics["macro_f1"] == 0.8856209150326797
    assert (skipped.state, skipped.branch, skipped.started_at) == ("skipped", "otherwise", None)
    package = record.artifact("validate-parity", "package")
    assert package is not None
    assert package.digest == "b01af48a41fe8c87882e3c2836d553ea363f5288cc893e1a87c8aec4ea18452b"
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    again, first = json.loads((tmp_path / RECORD).read_text()), json.loads(golden.read_text())
    assert (again.pop("remote"), again.pop("schedule")) == (None, "")
    assert (again.pop("service"), again.pop("sent_at")) == ("", None)
    assert {task.pop("log_url") for task in again["tasks"]} == {""}
    assert again == first


def test_the_golden_record_of_a_remote_run_keeps_its_meaning(golden_v2: Path, tmp_path: Path) -> None:
    record = read(golden_v2, RunRecord)
    assert (record.version, record.target, record.state) == (2, "vertex", "failed")
    assert record.remote == Remote(
        "projects/1/locations/europe-west4/pipelineJobs/train-classifier-20261121-074248-16b9",
        "https://console.cloud.google.com/vertex-ai/pipelines",
        "projects/1/locations/europe-west4/schedules/7",
    )
    assert record.service == "vertex tickets-prod/europe-west4"
    assert record.sent_at == datetime(2026, 11, 21, 7, 42, 51, 104210, tzinfo=UTC)
    trained = record.task("train-lora")
    assert trained is not None and trained.log_url == "https://console.cloud.google.com/logs/query"
    write_record(tmp_path, record)
    assert json.loads((tmp_path / RECORD).read_text()) == json.loads(golden_v2.read_text())


def test_the_golden_file_holds_every_field(golden_v2: Path) -> None:
    content = json.loads(golden_v2.read_text(encoding="utf-8"))
    assert set(content["remote"]) == set(Remote.__struct_fields__)
    assert set(content) == set(RunRecord.__struct_fields__)
    assert set(content["overhead"]) == set(Overhead.__struct_fields__)
    for task in content["tasks"]:
        assert set(task) == set(TaskRecord.__struct_fields__)
        assert all(set(artifact) == set(Artifact.__struct_fields__) for artifact in task["artifacts"])
    (progress,) = [task["progress"] for task in content["tasks"] if task["progress"]]
    assert set(progress) == set(Progress.__struct_fields__)


def test_a_record_from_the_future_says_upgrade() -> None:
    with pytest.raises(ContractError, match=r"field version: written as version 3.*upgrade tunelane"):
        decode(b'{"version": 3}', RunRecord, "run.json")


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"run\.json: No such file"):
        read_record(tmp_path)


@pytest.fixture
def halfway() -> RunRecord:
    """A run 30 s after its start: one task done, one running since 10 s after the start, one to come."""
    started_at = datetime(2026, 1, 2, tzinfo=UTC)
    tasks = (
        TaskRecord("a", "A", "a", state="succeeded", started_at=started_at, wall_s=8.0, stage_s=7.0),
        TaskRecord("b", "B", "b", state="running", started_at=started_at + timedelta(seconds=10)),
        TaskRecord("c", "C", "c"),
    )
    return RunRecord("r", "p", "P", "local", started_at, "", {}, {}, {}, tasks, wall_s=30.0)


@pytest.mark.parametrize(
    ("state", "states"),
    [
        ("failed", ["succeeded", "failed", "skipped"]),
        ("interrupted", ["succeeded", "interrupted", "skipped"]),
        ("cancelled", ["succeeded", "interrupted", "skipped"]),
    ],
)
def test_what_still_ran_ends_with_the_run_and_what_never_started_is_skipped(state, states, halfway: RunRecord) -> None:
    halfway.finish(state, "why")
    assert [task.state for task in halfway.tasks] == states
    assert (halfway.state, halfway.error) == (state, "why")
    assert [task.wall_s for task in halfway.tasks] == [8.0, 20.0, 0.0]
    assert halfway.tasks[1].stage_s == 20.0
    assert not list(halfway.running())


def test_a_task_that_started_after_the_last_look_at_the_clock_took_no_time(halfway: RunRecord) -> None:
    halfway.wall_s = 5.0
    halfway.finish("interrupted")
    assert halfway.tasks[1].wall_s == 0.0


def test_a_run_that_succeeds_skips_the_branch_not_taken(halfway: RunRecord) -> None:
    halfway.tasks[1].state, halfway.tasks[1].wall_s = "succeeded", 1.0
    halfway.finish("succeeded")
    assert [task.state for task in halfway.tasks] == ["succeeded", "succeeded", "skipped"]
    assert [task.wall_s for task in halfway.tasks] == [8.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("state", "promoted"), [("succeeded", True), ("failed", False), ("skipped", False), ("pending", False)]
)
def test_a_run_promoted_only_if_the_champion_was_confirmed(state, promoted: bool, record: RunRecord) -> None:
    confirmed = record.task("confirm-champion")
    assert confirmed is not None
    confirmed.state = state
    assert record.promoted is promoted


def test_a_pipeline_without_a_gate_decides_nothing(record: RunRecord) -> None:
    record.tasks = tuple(task for task in record.tasks if task.name == "export-onnx")
    assert (record.decision, record.promoted) == ("", False)
    assert record.artifact("gate-model", "verdict") is None
    assert record.artifact("export-onnx", "verdict") is None


def test_a_loss_that_is_no_number_can_be_written(record: RunRecord, tmp_path: Path) -> None:
    trained = record.task("train-lora")
    assert trained is not None
    trained.progress = Progress(1, 2, None, 3.0)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
