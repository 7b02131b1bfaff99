"""The conversion of a checkpoint as it is compiled, with nothing run."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_pipelines.convert import convert


@pytest.fixture(scope="module")
def compiled(compile_pipeline: Callable[[str], bytes]) -> bytes:
    """The pipeline's YAML."""
    return compile_pipeline("convert")


@pytest.fixture(scope="module")
def ir(compiled: bytes) -> dict[str, Any]:
    return yaml.safe_load(compiled)


def test_two_compilations_are_byte_identical(compiled: bytes, compile_pipeline: Callable[[str], bytes]) -> None:
    assert compile_pipeline("convert") == compiled


def test_every_task_has_a_name_for_people(ir: dict[str, Any]) -> None:
    shown = {name: task["taskInfo"]["name"] for name, task in ir["root"]["dag"]["tasks"].items()}
    assert shown == {
        "import-checkpoint": "Import checkpoint",
        "build-dataset": "Build dataset",
        "export-onnx": "Export to ONNX",
        "validate-parity": "Validate parity",
    }


def test_the_data_is_read_with_the_labels_of_the_checkpoint(ir: dict[str, Any]) -> None:
    tasks = ir["root"]["dag"]["tasks"]
    assert tasks["build-dataset"]["inputs"]["parameters"]["taxonomy"] == {
        "taskOutputParameter": {"producerTask": "import-checkpoint", "outputParameterKey": "Output"}
    }
    reference = {"taskOutputArtifact": {"producerTask": "import-checkpoint", "outputArtifactKey": "model"}}
    assert tasks["export-onnx"]["inputs"]["artifacts"]["model"] == reference
    assert tasks["validate-parity"]["inputs"]["artifacts"]["model"] == reference


def test_each_task_runs_in_the_image_of_the_table(ir: dict[str, Any]) -> None:
    images = {
        label.removeprefix("exec-").replace("-", "_"): executor["container"]["image"]
        for label, executor in ir["deploymentSpec"]["executors"].items()
    }
    names = ("import_checkpoint", "build_dataset", "export_onnx", "validate_parity")
    assert images == {name: IMAGE_BY_COMPONENT[name] for name in names}


def test_every_parameter_reaches_a_task(ir: dict[str, Any]) -> None:
    reached = {
        source["componentInputParameter"]
        for task in ir["root"]["dag"]["tasks"].values()
        for source in task["inputs"]["parameters"].values()
        if "componentInputParameter" in source
    }
    assert reached == set(inspect.signature(convert.pipeline_func).parameters)


def test_defaults_are_those_of_the_components(ir: dict[str, Any]) -> None:
    ours = ir["root"]["inputDefinitions"]["parameters"]
    differing = {
        (component_name, name): (ours[name].get("defaultValue"), definition["defaultValue"])
        for component_name, component in ir["components"].items()
        for name, definition in component["inputDefinitions"]["parameters"].items()
        if name in ours
        and "defaultValue" in definition
        and ours[name].get("defaultValue") != definition["defaultValue"]
    }
    assert not differing


def test_every_parameter_is_explained_to_the_console(ir: dict[str, Any]) -> None:
    parameters = ir["root"]["inputDefinitions"]["parameters"]
    assert [name for name, definition in parameters.items() if not definition.get("description")] == []


def test_importing_it_pays_for_no_stage() -> None:
    script = "import sys, tunelane_pipelines.convert; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "mlflow", "sklearn", "onnxruntime"} & set(finished.stdout.split())
