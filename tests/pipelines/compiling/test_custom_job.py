"""Training as a CustomJob: what its launcher is told, and that Google's own code would tell it the same."""

import json
import re
from typing import Any

import pytest
from google.protobuf import json_format
from google_cloud_pipeline_components import _image, _placeholders
from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp.pipeline_spec import pipeline_spec_pb2

from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.compiling.images import LAUNCHER
from tunelane_pipelines.compiling.ir import deployment_of, set_deployment
from tunelane_pipelines.compiling.pipeline import load_components
from tunelane_pipelines.compiling.resources import GPUS, NEEDS_BY_COMPONENT, Training
from tunelane_pipelines.compiling.target import for_target

_TRAINER = "tunelane/trainer:python3.11"
_MACHINES = {
    "l4": {"machine_type": "g2-standard-8", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1},
    "a100": {"machine_type": "a2-highgpu-1g", "accelerator_type": "NVIDIA_TESLA_A100", "accelerator_count": 1},
    "none": {"machine_type": "n2-standard-8"},
}


def _launcher(training: Training, images: dict[str, str] | None = None) -> Any:
    spec = for_target(load_pipeline("train-classifier").pipeline_spec, "vertex", images or {}, training)
    return deployment_of(spec).executors["exec-train-lora"].container


def _argument(container: Any, name: str) -> str:
    arguments = list(container.args)
    return str(arguments[arguments.index(name) + 1])


def _payload(training: Training) -> Any:
    return json.loads(_argument(_launcher(training), "--payload"))


@st.composite
def _trainings(draw: st.DrawFn) -> Training:
    gpu = draw(st.sampled_from(GPUS))
    return Training(
        gpu,
        spot=draw(st.booleans()),
        boot_disk_type=draw(st.sampled_from(["pd-ssd"] if gpu == "l4" else ["pd-ssd", "pd-standard"])),
        boot_disk_gb=draw(st.integers(100, 64000)),
        replicas=draw(st.integers(1, 100)),
    )


@given(_trainings())
@settings(max_examples=25)
def test_every_choice_stands_where_the_service_reads_it(training: Training) -> None:
    """https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec."""
    job = _payload(training)["job_spec"]
    pools = job["worker_pool_specs"]
    assert [pool["replica_count"] for pool in pools] == [1, *([training.replicas - 1] if training.replicas > 1 else [])]
    for pool in pools:
        assert pool["machine_spec"] == _MACHINES[training.gpu]
        assert pool["disk_spec"] == {
            "boot_disk_type": training.boot_disk_type,
            "boot_disk_size_gb": training.boot_disk_gb,
        }
        assert pool["container_spec"] == pools[0]["container_spec"]
    scheduling = job["scheduling"]
    assert scheduling["strategy"] == ("SPOT" if training.spot else "STANDARD")
    assert scheduling["timeout"] == f"{NEEDS_BY_COMPONENT['train_lora'].timeout_s}s"
    assert scheduling["restart_job_on_worker_restart"] is (training.replicas > 1)


@given(_trainings())
@settings(max_examples=10)
def test_the_launcher_is_told_what_google_cloud_pipeline_components_would_tell_it(training: Training) -> None:
    machine = _MACHINES[training.gpu]
    theirs = create_custom_training_job_from_component(
        load_components()["train_lora"],
        display_name="train-lora",
        replica_count=training.replicas,
        boot_disk_type=training.boot_disk_type,
        boot_disk_size_gb=training.boot_disk_gb,
        timeout="86400s",
        restart_job_on_worker_restart=training.replicas > 1,
        service_account=_placeholders.SERVICE_ACCOUNT_PLACEHOLDER,
        network=_placeholders.NETWORK_PLACEHOLDER,
        encryption_spec_key_name=_placeholders.ENCRYPTION_SPEC_KMS_KEY_NAME_PLACEHOLDER,
        strategy="SPOT" if training.spot else "STANDARD",
        **machine,
    ).pipeline_spec
    [executor] = theirs.deployment_spec["executors"].values()
    [component] = theirs.components.values()
    ours = _launcher(training)
    assert (ours.image, list(ours.command)) == (executor["container"]["image"], list(executor["container"]["command"]))
    assert len(ours.args) == len(executor["container"]["args"])
    for mine, expected in zip(ours.args, executor["container"]["args"], strict=True):
        resolved = _resolved(expected, component.input_definitions.parameters)
        if expected.startswith("{") and not expected.startswith("{{"):
            assert json.loads(mine) == json.loads(resolved)
        else:
            assert mine == resolved


def _resolved(argument: str, parameters: Any) -> str:
    """Do as the service does with an argument that names parameters: text as it is, everything else as JSON."""

    def value(found: re.Match[str]) -> str:
        definition = parameters[found[1]]
        if not definition.HasField("default_value"):
            # An optional list or mapping that nobody gave.
            return "[]" if found[1] == "reserved_ip_ranges" else "{}"
        plain = json_format.MessageToDict(definition.default_value)
        return plain if isinstance(plain, str) else json.dumps(plain)

    return re.sub(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}", value, argument)


def test_the_container_of_each_worker_is_the_component_s_own() -> None:
    container = deployment_of(load_pipeline("train-classifier").pipeline_spec).executors["exec-train-lora"].container
    for pool in _payload(Training(replicas=3))["job_spec"]["worker_pool_specs"]:
        assert pool["container_spec"]["image_uri"] == _TRAINER
        assert pool["container_spec"]["command"] == list(container.command)
        expected = ["{{$.json_escape[1]}}" if part == "{{$}}" else part for part in container.args]
        assert pool["container_spec"]["args"] == expected


@given(st.text())
@settings(max_examples=50)
def test_whatever_the_inputs_are_the_payload_stays_json(value: str) -> None:
    payload = _argument(_LAUNCHER, "--payload")
    executor_input = json.dumps({"inputs": {"parameterValues": {"base_model": value}}})
    # What the service puts in: the text as it stands between the quotes of a JSON string.
    sent = json.loads(payload.replace("{{$.json_escape[1]}}", json.dumps(executor_input)[1:-1]))
    [pool] = sent["job_spec"]["worker_pool_specs"]
    arguments = pool["container_spec"]["args"]
    assert json.loads(arguments[arguments.index("--executor_input") + 1]) == json.loads(executor_input)


_LAUNCHER = _launcher(Training())


def test_the_account_the_network_and_the_key_are_the_run_s() -> None:
    payload = _payload(Training())
    assert payload["job_spec"]["service_account"] == "{{$.pipeline_service_account}}"
    assert payload["job_spec"]["network"] == "{{$.pipeline_network}}"
    assert payload["encryption_spec"] == {"kms_key_name": "{{$.pipeline_encryption_key_name}}"}
    assert _argument(_LAUNCHER, "--project") == "{{$.pipeline_google_cloud_project_id}}"
    assert _argument(_LAUNCHER, "--location") == "{{$.pipeline_google_cloud_location}}"


def test_the_task_keeps_its_interface_and_says_which_job_it_made() -> None:
    spec = load_pipeline("train-classifier").pipeline_spec
    before = spec.components["comp-train-lora"]
    after = for_target(spec, "vertex", {}, Training()).components["comp-train-lora"]
    assert after.input_definitions == before.input_definitions
    assert after.output_definitions.artifacts == before.output_definitions.artifacts
    assert set(after.output_definitions.parameters) == {*before.output_definitions.parameters, "gcp_resources"}
    assert _argument(_LAUNCHER, "--gcp_resources") == "{{$.outputs.parameters['gcp_resources'].output_file}}"


def test_the_environment_of_the_task_is_that_of_the_job() -> None:
    spec = pipeline_spec_pb2.PipelineSpec()
    spec.CopyFrom(load_pipeline("train-classifier").pipeline_spec)
    deployment = deployment_of(spec)
    deployment.executors["exec-train-lora"].container.env.add(name="HF_HUB_OFFLINE", value="1")
    set_deployment(spec, deployment)
    changed = deployment_of(for_target(spec, "vertex", {}, Training())).executors["exec-train-lora"].container
    [pool] = json.loads(_argument(changed, "--payload"))["job_spec"]["worker_pool_specs"]
    assert pool["container_spec"]["env"] == [{"name": "HF_HUB_OFFLINE", "value": "1"}]
    assert not changed.env


@pytest.mark.parametrize("name", ["timeout", "labels", "location", "worker_pool_specs", "gcp_resources"])
def test_an_input_that_is_called_as_a_field_of_the_job_changes_nothing(name: str) -> None:
    spec = pipeline_spec_pb2.PipelineSpec()
    spec.CopyFrom(load_pipeline("train-classifier").pipeline_spec)
    definition = spec.components["comp-train-lora"].input_definitions.parameters[name]
    definition.default_value.string_value = "mine"
    changed = for_target(spec, "vertex", {}, Training())
    assert deployment_of(changed).executors["exec-train-lora"].container == _LAUNCHER
    assert changed.components["comp-train-lora"].input_definitions.parameters[name] == definition


@pytest.mark.parametrize(
    ("images", "launcher"),
    [
        ({}, _image.GCPC_IMAGE_TAG),
        ({_TRAINER: "registry.example/trainer:1"}, _image.GCPC_IMAGE_TAG),
        ({LAUNCHER: "registry.example/launcher:1"}, "registry.example/launcher:1"),
    ],
)
def test_the_launcher_s_image_is_google_s_unless_a_file_of_images_names_another(
    images: dict[str, str], launcher: str
) -> None:
    container = _launcher(Training(), images)
    assert container.image == launcher
    [pool] = json.loads(_argument(container, "--payload"))["job_spec"]["worker_pool_specs"]
    assert pool["container_spec"]["image_uri"] == images.get(_TRAINER, _TRAINER)
