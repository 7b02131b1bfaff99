"""The second document: each setting where Kubeflow's driver reads it, and accepted by an installation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.client import client
from kfp.kubernetes import kubernetes_executor_config_pb2

from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.catalog import MODULE_BY_PIPELINE
from tunelane_pipelines.compiling.files import compile_files
from tunelane_pipelines.compiling.resources import GPUS, NEEDS_BY_COMPONENT, Training, resources_of
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError

_SETTINGS = KubeflowSettings(
    gpu_node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
    gpu_tolerations=("nvidia.com/gpu:NoSchedule", "team=language:NoExecute"),
    image_pull_secrets=("registry",),
    secret_environment={"HF_TOKEN": "hub/token"},
    volumes={"/cache": "models"},
)


def _documents(directory: Path, name: str, **options: Any) -> list[dict[str, Any]]:
    written = compile_files(directory / "out", pipeline=name, target="kubeflow", **options)
    return list(yaml.safe_load_all(written[0].read_text()))


def _configs(directory: Path, settings: KubeflowSettings, gpu: str = "l4") -> dict[str, Any]:
    """Each executor's settings as its message."""
    _, platform = _documents(directory, "train-classifier", training=Training(gpu), kubeflow=settings)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    message = kubernetes_executor_config_pb2.KubernetesExecutorConfig
    return {label: json_format.ParseDict(config, message()) for label, config in executors.items()}


def test_every_task_has_what_the_settings_give_to_every_task(tmp_path: Path) -> None:
    configs = _configs(tmp_path, _SETTINGS)
    assert len(configs) > 10
    for label, config in configs.items():
        needs = NEEDS_BY_COMPONENT[label.removeprefix("exec-").replace("-", "_")]
        assert config.active_deadline_seconds == needs.timeout_s + 1800
        assert [secret.secret_name for secret in config.image_pull_secret] == ["registry"]
        (environment,) = config.secret_as_env
        assert environment.secret_name_parameter.runtime_value.constant.string_value == "hub"
        assert [(pair.secret_key, pair.env_var) for pair in environment.key_to_env] == [("token", "HF_TOKEN")]
        (mount,) = config.pvc_mount
        assert (mount.constant, mount.mount_path) == ("models", "/cache")


def test_the_nodes_and_taints_of_gpus_go_to_the_task_that_has_one(tmp_path: Path) -> None:
    configs = _configs(tmp_path, _SETTINGS)
    training = configs.pop("exec-train-lora")
    assert dict(training.node_selector.labels) == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert [(taint.key, taint.operator, taint.value, taint.effect) for taint in training.tolerations] == [
        ("nvidia.com/gpu", "Exists", "", "NoSchedule"),
        ("team", "Equal", "language", "NoExecute"),
    ]
    assert not any(config.tolerations or config.node_selector.labels for config in configs.values())
    assert not any(config.tolerations for config in _configs(tmp_path, _SETTINGS, gpu="none").values())


def test_without_settings_there_are_deadlines_and_the_usual_taint(tmp_path: Path) -> None:
    configs = _configs(tmp_path, KubeflowSettings())
    fields = {label: {field.name for field, _ in config.ListFields()} for label, config in configs.items()}
    assert fields.pop("exec-train-lora") == {"active_deadline_seconds", "tolerations"}
    assert set(map(frozenset, fields.values())) == {frozenset({"active_deadline_seconds"})}


@pytest.mark.parametrize(
    "settings",
    [
        KubeflowSettings(gpu_tolerations=("nvidia.com/gpu",)),
        KubeflowSettings(gpu_tolerations=("nvidia.com/gpu:Never",)),
        KubeflowSettings(secret_environment={"TOKEN": "hub"}),
    ],
)
def test_a_setting_that_is_not_of_its_form_is_refused_before_anything_is_written(
    settings: KubeflowSettings, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^kubeflow\.\w+: '.*' is not "):
        compile_files(tmp_path / "out", kubeflow=settings)
    assert not (tmp_path / "out").exists()


def test_a_file_for_vertex_stays_one_document(tmp_path: Path) -> None:
    for path in compile_files(tmp_path / "out", target="vertex", kubeflow=_SETTINGS):
        assert len(list(yaml.safe_load_all(path.read_text()))) == 1


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
def test_every_machine_retry_and_timeout_stands_where_kubeflow_reads_it(name: str, gpu: str, tmp_path: Path) -> None:
    """The driver reads limits as text, or as numbers in older releases; Argo's template is made from the retry policy.

    https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/driver/driver.go (initPodSpecPatch) and
    https://github.com/kubeflow/pipelines/blob/master/backend/src/v2/compiler/argocompiler/container.go
    """
    spec, platform = _documents(tmp_path, name, training=Training(gpu))
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in spec["deploymentSpec"]["executors"].items():
        component = label.removeprefix("exec-").replace("-", "_")
        given = resources_of(component, "kubeflow", Training(gpu))
        needs, machine = given.needs, given.machine
        resources = executor["container"]["resources"]
        assert resources["resourceCpuLimit"] == machine.cpu
        assert resources["cpuLimit"] == float(machine.cpu)
        assert resources["resourceMemoryLimit"] == machine.memory
        assert f"{resources['memoryLimit']:g}G" == machine.memory
        accelerator = resources.get("accelerator", {})
        assert accelerator.get("resourceType", "") == accelerator.get("type", "") == machine.accelerator
        count = "1" if machine.accelerator else ""
        assert accelerator.get("resourceCount", "") == accelerator.get("count", "") == count
        assert executor["container"]["command"][:3] == ["timeout", "--kill-after=30", str(needs.timeout_s)]
        assert int(configs[label]["activeDeadlineSeconds"]) > needs.timeout_s
    dags = [spec["root"]["dag"], *(part["dag"] for part in spec["components"].values() if "dag" in part)]
    for task_name, task in (pair for dag in dags for pair in dag["tasks"].items()):
        component = task["componentRef"]["name"].removeprefix("comp-").replace("-", "_")
        if component not in NEEDS_BY_COMPONENT:
            continue
        needs = NEEDS_BY_COMPONENT[component]
        policy = task.get("retryPolicy", {})
        assert policy.get("maxRetryCount", 0) == needs.retries, task_name
        if needs.retries:
            assert policy["backoffDuration"] == f"{needs.backoff_s}s"
            assert policy["backoffFactor"] == 2.0
            assert policy["backoffMaxDuration"] == "3600s"


@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
def test_an_installation_takes_the_file_field_for_field(
    name: str, fake: FakeKubeflow, target: KubeflowTarget, convert: Submission, tmp_path: Path
) -> None:
    spec, platform = _documents(tmp_path, name, kubeflow=_SETTINGS)
    definitions = spec["root"]["inputDefinitions"]["parameters"]
    values = {name: "gs://bucket/x" for name, one in definitions.items() if not one.get("isOptional")}
    target.submit(replace(convert, spec=spec, manifests=(platform,), parameters=values))
    (run,) = fake.runs.values()
    assert run["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    # kfp.Client makes the same of the file by itself.
    written = compile_files(tmp_path / "again", pipeline=name, target="kubeflow", kubeflow=_SETTINGS)
    assert client._extract_pipeline_yaml(str(written[0])).to_dict() == run["pipeline_spec"]
