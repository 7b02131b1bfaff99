"""What the compiled pipeline says of machines, tries, time and reuse stands in the job that the service received."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud import aiplatform_v1
from google.protobuf import json_format
from google_cloud_pipeline_components.container.v1.custom_job import launcher
from google_cloud_pipeline_components.container.v1.gcp_launcher import job_remote_runner

from tests.cloud.bench.bench import Bench
from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.compiling.files import compile_files
from tunelane_pipelines.compiling.resources import NEEDS_BY_COMPONENT, VERTEX, Training, resources_of
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget

_TRAINING = Training("a100", spot=True, boot_disk_type="pd-standard", boot_disk_gb=300, replicas=3)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """train-classifier for Vertex AI, training on three A100 on spot machines, with images by digest."""
    directory = tmp_path_factory.mktemp("compiled")
    images = {
        name: f"europe-west4-docker.pkg.dev/tunelane-test/tunelane/image@sha256:{number:064x}"
        for number, name in enumerate(EXTRA_BY_IMAGE)
    }
    file = directory / "images.json"
    file.write_text(json.dumps(images))
    [path, *_] = compile_files(directory, pipeline="train-classifier", target=VERTEX, images=file, training=_TRAINING)
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


def test_each_plain_task_has_its_machine_time_and_command(received: dict[str, Any]) -> None:
    executors = received["deploymentSpec"]["executors"]
    seen = set()
    for label, executor in executors.items():
        if label == "exec-train-lora":
            continue
        container = executor["container"]
        component = container["args"][container["args"].index("--function_to_execute") + 1]
        given = resources_of(component, VERTEX, _TRAINING)
        resources = container["resources"]
        assert resources["cpuLimit"] == float(given.machine.cpu)
        assert resources["memoryLimit"] == float(given.machine.memory.removesuffix("G"))
        assert "accelerator" not in resources
        assert container["command"][:3] == ["timeout", "--kill-after=30", str(given.needs.timeout_s)]
        seen.add(component)
    assert seen == NEEDS_BY_COMPONENT.keys() - {"import_checkpoint", "train_lora"}


def test_each_task_has_its_tries_and_whether_its_result_may_be_reused(received: dict[str, Any]) -> None:
    components = received["components"]
    dags = [part["dag"] for part in (received["root"], *components.values()) if "dag" in part]
    tasks = {name: task for dag in dags for name, task in dag["tasks"].items()}
    checked = 0
    for task in tasks.values():
        component = components[task["componentRef"]["name"]]
        if "dag" in component:
            continue
        needs = NEEDS_BY_COMPONENT[component["executorLabel"].removeprefix("exec-").replace("-", "_")]
        assert int(task.get("retryPolicy", {}).get("maxRetryCount", 0)) == needs.retries
        assert task["cachingOptions"].get("enableCache", False) is needs.cacheable
        checked += 1
    assert checked == 13


def test_training_is_the_custom_job_that_was_chosen(
    bench: Bench, target: VertexTarget, received: dict[str, Any]
) -> None:
    [job] = [found for found in _custom_jobs(bench) if found.display_name == "train-lora"]
    _check_training(job, bench)


def test_the_launcher_itself_makes_that_job_of_its_arguments_and_waits_for_it(
    bench: Bench, compiled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unmodified launcher, with the service's part done: the values of its placeholders."""
    monkeypatch.setattr(job_remote_runner, "_POLLING_INTERVAL_IN_SECONDS", 0)
    monkeypatch.setenv("VERTEX_AI_PIPELINES_RUN_LABELS", json.dumps({"team": "care"}))
    made = tmp_path / "outputs" / "gcp_resources"
    executor_input = json.dumps({"outputs": {"outputFile": "/gcs/bucket/executor_output.json"}})
    values = {
        "{{$.pipeline_google_cloud_project_id}}": bench.project,
        "{{$.pipeline_google_cloud_location}}": bench.region,
        "{{$.pipeline_service_account}}": bench.service_account,
        "{{$.pipeline_network}}": "",
        "{{$.pipeline_encryption_key_name}}": "",
        "{{$.pipeline_persistent_resource_id}}": "",
        "{{$.json_escape[1]}}": json.dumps(executor_input)[1:-1],
        "{{$.outputs.parameters['gcp_resources'].output_file}}": str(made),
    }
    arguments = list(compiled["deploymentSpec"]["executors"]["exec-train-lora"]["container"]["args"])
    for placeholder, value in values.items():
        arguments = [argument.replace(placeholder, value) for argument in arguments]
    launcher.main(arguments)
    [job] = _custom_jobs(bench)
    _check_training(job, bench)
    assert job.state == aiplatform_v1.JobState.JOB_STATE_SUCCEEDED
    assert dict(job.labels) == {"team": "care"}
    container_arguments = list(job.job_spec.worker_pool_specs[0].container_spec.args)
    assert container_arguments == ["--executor_input", executor_input, "--function_to_execute", "train_lora"]
    [resource] = json.loads(made.read_text())["resources"]
    assert resource["resourceUri"].endswith(job.name)
    # Started anew, it goes on with the job that it made.
    launcher.main(arguments)
    assert len(_custom_jobs(bench)) == 1


def _custom_jobs(bench: Bench) -> list[Any]:
    return [message for name, message in bench.state.resources.items() if "/customJobs/" in name]


def _check_training(job: Any, bench: Bench) -> None:
    """Each setting where https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec has it."""
    chief, workers = job.job_spec.worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 2)
    for pool in (chief, workers):
        assert pool.machine_spec.machine_type == "a2-highgpu-1g"
        assert pool.machine_spec.accelerator_type == aiplatform_v1.AcceleratorType.NVIDIA_TESLA_A100
        assert pool.machine_spec.accelerator_count == 1
        assert (pool.disk_spec.boot_disk_type, pool.disk_spec.boot_disk_size_gb) == ("pd-standard", 300)
        assert "@sha256:" in pool.container_spec.image_uri
        assert pool.container_spec.command[0] == "sh"
    scheduling = job.job_spec.scheduling
    assert scheduling.strategy == aiplatform_v1.Scheduling.Strategy.SPOT
    assert scheduling.timeout.seconds == NEEDS_BY_COMPONENT["train_lora"].timeout_s
    assert scheduling.restart_job_on_worker_restart
    assert job.job_spec.service_account == bench.service_account


def test_the_tasks_of_the_run_are_those_of_the_dag(
    target: VertexTarget, bench: Bench, received: dict[str, Any]
) -> None:
    shown = [task.name for task in target.get(bench.vertex.name("train-1")).tasks]
    assert len(shown) == len(set(shown)) == 13
    assert {"build-dataset", "train-lora", "gate-model", "deploy", "report-verdict"} <= set(shown)
    assert shown.index("train-lora") < shown.index("export-onnx") < shown.index("gate-model") < shown.index("deploy")
