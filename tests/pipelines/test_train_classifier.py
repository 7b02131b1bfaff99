"""The main pipeline as it is compiled, with nothing run."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tunelane_components.etl.component import fingerprint_data
from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_pipelines.train_classifier import train_classifier


@pytest.fixture(scope="module")
def compiled(compile_pipeline: Callable[[str], bytes]) -> bytes:
    """The pipeline's YAML."""
    return compile_pipeline("train-classifier")


@pytest.fixture(scope="module")
def ir(compiled: bytes) -> dict[str, Any]:
    return yaml.safe_load(compiled)


def _tasks(ir: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task of every DAG, by name; the branches of a condition are tasks, too."""
    dags = [ir["root"], *ir["components"].values()]
    for dag in dags:
        yield from dag.get("dag", {}).get("tasks", {}).items()


def test_two_compilations_are_byte_identical(compiled: bytes, compile_pipeline: Callable[[str], bytes]) -> None:
    assert compile_pipeline("train-classifier") == compiled


def test_the_dag_has_the_stages_of_the_lane(ir: dict[str, Any]) -> None:
    assert {name for name, task in _tasks(ir) if "dag" not in ir["components"][task["componentRef"]["name"]]} == {
        "resolve-champion", "fingerprint-data", "build-dataset", "train-lora", "export-onnx", "validate-parity",
        "evaluate-model", "gate-model", "register-candidate", "deploy", "smoke-test", "confirm-champion",
        "report-verdict",
    }  # fmt: skip


def test_the_champion_is_pinned_before_anything_else_is_done(ir: dict[str, Any]) -> None:
    first = [name for name, task in ir["root"]["dag"]["tasks"].items() if not task.get("dependentTasks")]
    assert first == ["resolve-champion"]


def test_the_dataset_is_built_under_the_fingerprint_of_what_it_reads(ir: dict[str, Any]) -> None:
    tasks, names = dict(_tasks(ir)), inspect.signature(fingerprint_data.python_func).parameters
    built, fingerprinted = (tasks[name]["inputs"]["parameters"] for name in ("build-dataset", "fingerprint-data"))
    assert built["data_fingerprint"] == {
        "taskOutputParameter": {"producerTask": "fingerprint-data", "outputParameterKey": "Output"}
    }
    assert fingerprinted == {name: built[name] for name in names if name in built}


def test_every_task_has_a_name_for_people(ir: dict[str, Any]) -> None:
    shown = {name: task["taskInfo"]["name"] for name, task in _tasks(ir)}
    stages = {name: title for name, title in shown.items() if not name.startswith("condition")}
    assert all(title != name and title[0].isupper() for name, title in stages.items()), stages
    assert len(set(shown.values())) == len(shown)


def test_only_a_promoting_gate_deploys_and_anything_else_reports(ir: dict[str, Any]) -> None:
    branches = {}
    for _, task in _tasks(ir):
        if "triggerPolicy" in task:
            dag = ir["components"][task["componentRef"]["name"]]["dag"]
            branches[task["taskInfo"]["name"]] = (task["triggerPolicy"]["condition"], set(dag["tasks"]))
    assert set(branches) == {"promote", "otherwise"}
    said = "inputs.parameter_values['pipelinechannel--gate-model-Output'] == 'promote'"
    promote, otherwise = branches["promote"], branches["otherwise"]
    assert promote == (said, {"register-candidate", "deploy", "smoke-test", "confirm-champion"})
    assert otherwise == (f"!({said})", {"report-verdict"})


def test_the_champion_is_confirmed_only_after_the_smoke_test_of_what_was_deployed(ir: dict[str, Any]) -> None:
    tasks = dict(_tasks(ir))
    assert "register-candidate" in tasks["deploy"]["dependentTasks"]
    assert "deploy" in tasks["smoke-test"]["dependentTasks"]
    assert "smoke-test" in tasks["confirm-champion"]["dependentTasks"]


def test_no_other_package_than_the_checked_one_is_judged_and_shipped(ir: dict[str, Any]) -> None:
    tasks = dict(_tasks(ir))
    judged = tasks["evaluate-model"]["inputs"]["artifacts"]["package"]["taskOutputArtifact"]
    assert judged == {"outputArtifactKey": "package", "producerTask": "validate-parity"}
    for name in ("register-candidate", "deploy", "smoke-test", "confirm-champion"):
        shipped = tasks[name]["inputs"]["artifacts"]["package"]
        assert shipped == {"componentInputArtifact": "pipelinechannel--validate-parity-package"}


def test_each_task_runs_in_the_image_of_the_table(ir: dict[str, Any]) -> None:
    executors = ir["deploymentSpec"]["executors"]
    images = {
        component["executorLabel"]: executors[component["executorLabel"]]["container"]["image"]
        for component in ir["components"].values()
        if "executorLabel" in component
    }
    assert images == {
        f"exec-{name.replace('_', '-')}": image
        for name, image in IMAGE_BY_COMPONENT.items()
        if name != "import_checkpoint"
    }


def test_tasks_install_nothing_when_they_run(ir: dict[str, Any]) -> None:
    for executor in ir["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert "pip install" not in " ".join([*container["command"], *container.get("args", [])])


def test_every_parameter_reaches_a_task_and_none_of_the_same_name_is_left_out(ir: dict[str, Any]) -> None:
    parameters = set(inspect.signature(train_classifier.pipeline_func).parameters)
    reached: set[str] = set()
    for name, task in _tasks(ir):
        component = ir["components"][task["componentRef"]["name"]]
        if "dag" in component:
            continue
        for parameter in set(component.get("inputDefinitions", {}).get("parameters", {})) & parameters:
            wired = task.get("inputs", {}).get("parameters", {}).get(parameter, {}).get("componentInputParameter", "")
            assert wired.removeprefix("pipelinechannel--") == parameter, f"{name} does not get {parameter}"
            reached.add(parameter)
    assert reached == parameters


def test_defaults_are_those_of_the_components(ir: dict[str, Any]) -> None:
    ours = ir["root"]["inputDefinitions"]["parameters"]
    differing = {
        (component_name, name): (ours[name].get("defaultValue"), definition["defaultValue"])
        for component_name, component in ir["components"].items()
        for name, definition in component.get("inputDefinitions", {}).get("parameters", {}).items()
        if name in ours
        and "defaultValue" in definition
        and ours[name].get("defaultValue") != definition["defaultValue"]
    }
    assert not differing


def test_every_parameter_is_explained_to_the_console(ir: dict[str, Any]) -> None:
    parameters = ir["root"]["inputDefinitions"]["parameters"]
    assert [name for name, definition in parameters.items() if not definition.get("description")] == []


def test_importing_it_pays_for_no_stage() -> None:
    script = "import sys, tunelane_pipelines.train_classifier; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "mlflow", "sklearn", "onnxruntime"} & set(finished.stdout.split())
