"""What the compiled pipeline says of machines, tries, time and reuse stands in the job that the service received."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from tests.cloud.bench.bench import Bench
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.compiling.files import compile_files
from tunelane_pipelines.compiling.resources import NEEDS_BY_COMPONENT, VERTEX, machine_for
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """train-classifier for Vertex AI, on an A100, with images by digest."""
    directory = tmp_path_factory.mktemp("compiled")
    images = {
        name: f"europe-west4-docker.pkg.dev/tunelane-test/tunelane/image@sha256:{number:064x}"
        for number, name in enumerate(EXTRA_BY_IMAGE)
    }
    file = directory / "images.json"
    file.write_text(json.dumps(images))
    [path, *_] = compile_files(directory, pipeline="train-classifier", target=VERTEX, images=file, gpu="a100")
    spec = yaml.safe_load(Path(path).read_text())
    assert isinstance(spec, dict)
    return spec


@pytest.fixture
def received(bench: Bench, target: VertexTarget, compiled: dict[str, Any]) -> dict[str, Any]:
    """The pipeline of the job that the service keeps."""
    parameters = {
        "data": f"gs://{bench.bucket}/reviews.csv",
        "registry_uri": "https://registry.example",
        "deployment_uri": "cloudrun://tunelane-test/europe-west4/classifier",
        "epochs": 3,
        "learning_rate": 0.002,
        "quantize": False,
    }
    run = target.submit(Submission("train-1", "train-classifier", "Train classifier", compiled, parameters))
    assert target.get(run.resource).parameters == parameters
    message = bench.vertex.job("train-1")
    return json_format.MessageToDict(type(message).pb(message).pipeline_spec)


def test_the_job_is_the_compiled_file_field_for_field(received: dict[str, Any], compiled: dict[str, Any]) -> None:
    assert received == compiled


def test_each_container_has_its_machine_time_and_command(received: dict[str, Any]) -> None:
    executors = received["deploymentSpec"]["executors"].values()
    seen = set()
    for executor in executors:
        container = executor["container"]
        component = container["args"][container["args"].index("--function_to_execute") + 1]
        needs = NEEDS_BY_COMPONENT[component]
        machine = machine_for(needs, VERTEX, "a100")
        resources = container["resources"]
        assert resources["cpuLimit"] == float(machine.cpu)
        assert resources["memoryLimit"] == float(machine.memory.removesuffix("G"))
        accelerator = resources.get("accelerator", {})
        assert (accelerator.get("type", ""), accelerator.get("count", "")) == (
            machine.accelerator,
            "1" if machine.accelerator else "",
        )
        assert container["command"][:3] == ["timeout", "--kill-after=30", str(needs.timeout_s)]
        seen.add(component)
    assert seen == NEEDS_BY_COMPONENT.keys() - {"import_checkpoint"}


def test_each_task_has_its_tries_and_whether_its_result_may_be_reused(received: dict[str, Any]) -> None:
    components = received["components"]
    dags = [part["dag"] for part in (received["root"], *components.values()) if "dag" in part]
    tasks = {name: task for dag in dags for name, task in dag["tasks"].items()}
    checked = 0
    for task in tasks.values():
        component = components[task["componentRef"]["name"]]
        if "dag" in component:
            continue
        container = received["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        needs = NEEDS_BY_COMPONENT[container["args"][container["args"].index("--function_to_execute") + 1]]
        assert int(task.get("retryPolicy", {}).get("maxRetryCount", 0)) == needs.retries
        assert task["cachingOptions"].get("enableCache", False) is needs.cacheable
        checked += 1
    assert checked == 12


def test_the_training_runs_on_the_machine_that_has_the_gpu(
    bench: Bench, target: VertexTarget, received: dict[str, Any]
) -> None:
    details = {task.task_name: task for task in bench.vertex.job("train-1").job_detail.task_details}
    job = bench.state.resources[details["train-lora"].executor_detail.container_detail.main_job]
    [pool] = job.job_spec.worker_pool_specs
    assert pool.machine_spec.machine_type == "a2-highgpu-1g"
    assert pool.machine_spec.accelerator_count == 1
    assert job.job_spec.service_account == bench.service_account


def test_the_tasks_of_the_run_are_those_of_the_dag(
    target: VertexTarget, bench: Bench, received: dict[str, Any]
) -> None:
    shown = [task.name for task in target.get(bench.vertex.name("train-1")).tasks]
    assert len(shown) == len(set(shown)) == 12
    assert {"build-dataset", "train-lora", "gate-model", "deploy", "report-verdict"} <= set(shown)
    assert shown.index("train-lora") < shown.index("export-onnx") < shown.index("gate-model") < shown.index("deploy")
