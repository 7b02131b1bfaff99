"""The compiled files, as those who read them do: kfp's loaders, kfp.Client, Vertex's PipelineJob, the local runner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_pipelines.catalog import MODULE_BY_PIPELINE
from tunelane_pipelines.compiling.files import compile_files
from tunelane_pipelines.compiling.resources import TARGETS

_FILES = [
    Path(target, kind, f"{name}.yaml")
    for target in TARGETS
    for kind, names in (("pipelines", MODULE_BY_PIPELINE), ("components", IMAGE_BY_COMPONENT))
    for name in names
]
_PIPELINES = [path for path in _FILES if path.parent.name == "pipelines"]
_COMPONENTS = [path for path in _FILES if path.parent.name == "components"]


def _bytes_by_path(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}


def test_every_pipeline_and_every_component_is_written_for_each_target(compiled: Path) -> None:
    assert {path.relative_to(compiled) for path in compiled.rglob("*") if not path.is_dir()} == set(_FILES)


def test_files_are_the_same_bytes_whatever_the_process_and_its_environment(
    compiled: Path, compile_all: Callable[..., None], images_file: Path, tmp_path: Path
) -> None:
    compile_all(tmp_path / "out", images_file, PYTHONHASHSEED="77", TZ="Asia/Tokyo", LC_ALL="C", HOME="/nowhere")
    hostile = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/key.json",
        "GOOGLE_CLOUD_PROJECT": "another",
        "TUNELANE_ROOT": "/proc/nowhere",
        "TUNELANE_PROFILE": "/nowhere.yaml",
    }
    compile_all(tmp_path / "again", images_file, PYTHONHASHSEED="3", **hostile)
    expected = _bytes_by_path(compiled)
    assert _bytes_by_path(tmp_path / "out") == expected
    assert _bytes_by_path(tmp_path / "again") == expected


def test_compiling_opens_no_connection(run_python: Callable[..., str], tmp_path: Path) -> None:
    script = """
import socket, sys
from pathlib import Path

def no_network(*arguments):
    raise AssertionError(f"compiling opened a connection: {arguments}")

socket.socket.connect = socket.getaddrinfo = no_network
from tunelane_pipelines.compiling.files import compile_files
print(len(compile_files(Path("out"))))
print(*sys.modules)
"""
    count, modules = run_python(script).splitlines()
    assert int(count) == len(_FILES)
    assert not {"torch", "transformers", "mlflow", "sklearn", "google.cloud.aiplatform"} & set(modules.split())
    assert (tmp_path / "out" / "vertex" / "pipelines" / "convert.yaml").is_file()


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_file_has_every_image_replaced(path: Path, compiled: Path, images: dict[str, str]) -> None:
    document = _ir(compiled / path)
    executors = document["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} <= set(images.values())


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_only_a_pipeline_for_kubeflow_has_a_second_document(path: Path, compiled: Path) -> None:
    documents = list(yaml.safe_load_all((compiled / path).read_text()))
    assert len(documents) == (2 if path.parts[:2] == ("kubeflow", "pipelines") else 1)


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_everything_that_a_person_sees_is_described(path: Path, compiled: Path) -> None:
    ir = _ir(compiled / path)
    assert ir["pipelineInfo"]["description"]
    if path in _PIPELINES:
        assert ir["pipelineInfo"]["displayName"]
    parts = [ir["root"], *(component for component in ir["components"].values() if "executorLabel" in component)]
    for part in parts:
        definitions = [
            *part.get("inputDefinitions", {}).get("parameters", {}).items(),
            *part.get("inputDefinitions", {}).get("artifacts", {}).items(),
            *part.get("outputDefinitions", {}).get("artifacts", {}).items(),
        ]
        assert definitions
        assert [name for name, definition in definitions if not definition.get("description")] == []


def test_one_pipeline_for_one_target_is_all_that_is_written_where_that_is_asked_for(tmp_path: Path) -> None:
    written = compile_files(tmp_path / "out", pipeline="convert", target="vertex")
    assert sorted(written) == sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    below = [path.relative_to(tmp_path / "out") for path in written]
    assert below[0] == Path("vertex/pipelines/convert.yaml")
    assert {path.stem for path in below[1:]} == set(IMAGE_BY_COMPONENT)


def test_without_a_file_of_images_the_logical_names_stay(tmp_path: Path) -> None:
    for path in compile_files(tmp_path / "out", target="kubeflow"):
        executors = _ir(path)["deploymentSpec"]["executors"].values()
        assert {executor["container"]["image"] for executor in executors} <= set(IMAGE_BY_COMPONENT.values())


@pytest.mark.parametrize("path", _COMPONENTS, ids=str)
def test_a_component_file_loads_with_the_interface_of_its_component(path: Path, compiled: Path) -> None:
    from kfp import components

    from tunelane_pipelines.compiling.pipeline import load_components

    loaded = components.load_component_from_file(str(compiled / path)).component_spec
    ours = load_components()[path.stem].component_spec
    assert {name: str(spec.type) for name, spec in (loaded.inputs or {}).items()} == {
        name: str(spec.type) for name, spec in (ours.inputs or {}).items()
    }
    assert set(loaded.outputs or {}) == set(ours.outputs or {})
    assert {name: spec.default for name, spec in (loaded.inputs or {}).items()} == {
        name: spec.default for name, spec in (ours.inputs or {}).items()
    }


def test_a_file_is_laid_out_as_kfp_s_own_compiler_does(tmp_path: Path) -> None:
    from kfp import compiler

    from tunelane_pipelines.compiling.pipeline import load_components

    written = compile_files(tmp_path / "out", pipeline="convert", target="vertex")
    ours = next(path for path in written if path.stem == "report_verdict").read_text()
    compiler.Compiler().compile(load_components()["report_verdict"], str(tmp_path / "kfps.yaml"))
    kfps = (tmp_path / "kfps.yaml").read_text()
    assert ours.partition("\ncomponents:")[0] == kfps.partition("\ncomponents:")[0]
    assert ours.partition("\ndeploymentSpec:")[2].partition("\npipelineInfo:")[0] in kfps


@pytest.mark.parametrize("path", _PIPELINES, ids=str)
def test_a_pipeline_file_loads_in_kfp_s_loader_and_in_its_client_s_parser(path: Path, compiled: Path) -> None:
    from google.protobuf import json_format
    from kfp import components
    from kfp.client import client

    loaded = components.load_component_from_file(str(compiled / path))
    assert loaded.name == path.stem
    document = client._extract_pipeline_yaml(str(compiled / path))
    assert json_format.MessageToDict(document.pipeline_spec) == _ir(compiled / path)
    assert set(document.platform_spec.platforms) == ({"kubernetes"} if path.parts[0] == "kubeflow" else set())


def test_a_vertex_job_can_be_made_of_each_pipeline_without_an_account_or_a_network(
    run_python: Callable[..., str], compiled: Path
) -> None:
    script = """
import json, socket, sys

def no_network(*arguments):
    raise AssertionError(f"a connection was opened: {arguments}")

socket.socket.connect = socket.getaddrinfo = no_network
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

jobs = {}
for path, values in json.loads(sys.argv[1]).items():
    job = aiplatform.PipelineJob(
        display_name="offline", template_path=path, parameter_values=values, pipeline_root="gs://bucket/root",
        project="project", location="europe-west4", credentials=AnonymousCredentials(),
    )
    jobs[path] = job.to_dict()["pipelineSpec"]
print(json.dumps(jobs))
"""
    values = {
        str(compiled / "vertex" / "pipelines" / "train-classifier.yaml"): {
            "data": "gs://bucket/data.csv",
            "registry_uri": "sqlite:////registry.db",
            "deployment_uri": "local:/deployments",
        },
        str(compiled / "vertex" / "pipelines" / "convert.yaml"): {"checkpoint": "gs://bucket/model", "data": "gs://d"},
    }
    jobs = json.loads(run_python(script, json.dumps(values)))
    for path in values:
        assert jobs[path] == yaml.safe_load(Path(path).read_text())


def test_a_component_runs_from_its_file(run_python: Callable[..., str], compiled: Path, tmp_path: Path) -> None:
    # Powers have so little in common that none nearly repeats another.
    rows = [f"{number**9} and {number**8},{'ab'[number % 2]}" for number in range(80)]
    (tmp_path / "data.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    script = """
import sys
from kfp import components, local
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="root")
task = components.load_component_from_file(sys.argv[1])(data=sys.argv[2])
print("KEPT", task.outputs["metrics"].metadata["rows_kept"])
"""
    said = run_python(
        script, str(compiled / "vertex" / "components" / "build_dataset.yaml"), str(tmp_path / "data.csv")
    )
    assert "KEPT 80" in said


def test_a_pipeline_of_component_files_passes_artifacts_on(
    run_python: Callable[..., str], compiled: Path, tmp_path: Path
) -> None:
    verdict = Path(__file__).parents[2] / "components" / "contracts" / "golden" / "verdict_v1.json"
    script = """
import sys
from kfp import components, dsl, local
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="root")
report_verdict = components.load_component_from_file(sys.argv[1])

@dsl.pipeline
def report(uri: str):
    verdict = dsl.importer(artifact_uri=uri, artifact_class=dsl.Artifact)
    report_verdict(verdict=verdict.output)

report(uri=sys.argv[2])
"""
    run_python(script, str(compiled / "kubeflow" / "components" / "report_verdict.yaml"), str(verdict))
    (summary,) = (tmp_path / "root").rglob("summary")
    assert json.loads(verdict.read_text())["sentence"] in summary.read_text()


def _ir(path: Path) -> Any:
    """The first document."""
    return next(yaml.safe_load_all(path.read_text()))


def test_task_names_are_the_same_on_every_target(compiled: Path) -> None:
    for name in MODULE_BY_PIPELINE:
        kubeflow, vertex = (_ir(compiled / target / "pipelines" / f"{name}.yaml") for target in TARGETS)
        assert kubeflow["root"]["dag"]["tasks"].keys() == vertex["root"]["dag"]["tasks"].keys()
        assert kubeflow["components"].keys() == vertex["components"].keys()
