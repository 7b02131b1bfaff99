"""What a task wrote, as kfp leaves it, taken into the record."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tunelane_pipelines.runs.outputs import content_digest, take_outputs
from tunelane_pipelines.runs.record import TaskRecord
from tunelane_serving.errors import ContractError


class Written:
    """A task's directory, and what kfp says of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.place = directory / "artifacts" / "p-1" / "a-task"
        self.place.mkdir(parents=True)
        self.given: dict[str, Any] = {}
        self.output: dict[str, Any] = {"artifacts": {}, "parameterValues": {}}

    def add(self, name: str, kind: str, metadata: dict[str, Any] | None = None, place: Path | None = None) -> Path:
        path = place or self.place / name
        artifact = {"name": name, "uri": str(path), "type": {"schemaTitle": f"system.{kind}"}}
        self.given[name] = {"artifacts": [{**artifact, "metadata": {}}]}
        self.output["artifacts"][name] = {"artifacts": [{**artifact, "metadata": metadata or {}}]}
        return path

    def take(self) -> TaskRecord:
        path = self.place / "executor_output.json"
        path.write_text(json.dumps(self.output))
        task = TaskRecord("a-task", "A task", "a_task")
        executor_input = {"outputs": {"artifacts": self.given, "outputFile": str(path)}}
        take_outputs(task, executor_input, self.directory)
        return task


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "run")


def test_every_kind_of_artifact_has_its_place_digest_and_metadata(written: Written) -> None:
    written.add("report", "HTML").write_text("<p>")
    model = written.add("model", "Model", {"base_model": "tiny"})
    (model / "onnx").mkdir(parents=True)
    (model / "onnx" / "graph").write_bytes(b"1")
    (model / "config").write_bytes(b"2")
    written.add("dataset", "Dataset", {"digest": "d" * 64}).mkdir()
    written.add("confusion", "ClassificationMetrics", {"confusionMatrix": {"rows": []}})
    artifacts = written.take().artifacts
    assert [(artifact.name, artifact.kind) for artifact in artifacts] == [
        ("confusion", "ClassificationMetrics"),
        ("dataset", "Dataset"),
        ("model", "Model"),
        ("report", "HTML"),
    ]
    confusion, dataset, model_artifact, report = artifacts
    assert report.path == "artifacts/p-1/a-task/report"
    assert report.digest == hashlib.sha256(b"<p>").hexdigest()
    assert (dataset.digest, dataset.metadata) == ("d" * 64, {"digest": "d" * 64}), "the stage's own digest counts"
    lines = (f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in (("config", b"2"), ("onnx/graph", b"1")))
    assert model_artifact.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert model_artifact.metadata == {"base_model": "tiny"}
    assert (confusion.digest, confusion.metadata) == ("", {"confusionMatrix": {"rows": []}})


def test_metrics_and_parameters_stand_apart_from_artifacts(written: Written) -> None:
    written.add("metrics", "Metrics", {"macro_f1": 0.5, "label": "positive"})
    written.output["parameterValues"] = {"Output": "promote"}
    task = written.take()
    assert task.artifacts == ()
    assert task.metrics == {"macro_f1": 0.5, "label": "positive"}
    assert task.outputs == {"Output": "promote"}


def test_an_artifact_outside_the_run_keeps_its_whole_path(written: Written, tmp_path: Path) -> None:
    written.add("model", "Model", place=tmp_path / "elsewhere")
    assert written.take().artifacts[0].path == str(tmp_path / "elsewhere")


def test_a_task_that_wrote_nothing_has_empty_artifacts(written: Written) -> None:
    written.add("model", "Model")
    task = TaskRecord("a-task", "A task", "a_task")
    outputs = {"artifacts": written.given, "outputFile": str(written.place / "executor_output.json")}
    take_outputs(task, {"outputs": outputs}, written.directory)
    assert [(artifact.name, artifact.digest) for artifact in task.artifacts] == [("model", "")]
    assert (task.metrics, task.outputs) == ({}, {})
    take_outputs(task, {}, written.directory)
    assert task.artifacts == ()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b""])
def test_a_broken_file_of_kfp_s_is_named(content: bytes, written: Written) -> None:
    path = written.place / "executor_output.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"executor_output\.json: not what kfp writes"):
        take_outputs(TaskRecord("a", "A", "a"), {"outputs": {"outputFile": str(path)}}, written.directory)


def test_passwords_in_what_a_task_wrote_are_masked(written: Written) -> None:
    uri = "postgres://me:secret@db"
    written.add("metrics", "Metrics", {"uri": uri})
    written.add("verdict", "Artifact", {"said": [{"from": uri}]})
    written.output["parameterValues"] = {"Output": uri, "places": {"one": uri}}
    task = written.take()
    assert "secret" not in str((task.metrics, task.artifacts, task.outputs))
    assert task.outputs["Output"] == "postgres://me:***@db"


def test_a_directory_s_digest_tells_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    first = content_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = content_digest(tmp_path)
    (tmp_path / "b").write_bytes(b"y")
    assert len({first, renamed, content_digest(tmp_path)}) == 3
    assert content_digest(tmp_path / "nothing") == ""
    (tmp_path / "empty").mkdir()
    assert content_digest(tmp_path / "empty") == ""
