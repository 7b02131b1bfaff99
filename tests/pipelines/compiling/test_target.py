"""What differs by target, against what kfp's own task methods write, and the time limit as a process meets it."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from tunelane_components.etl.component import build_dataset
from tunelane_components.gate.component import report_verdict
from tunelane_components.train.component import train_lora
from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.compiling.ir import container_tasks, deployment_of
from tunelane_pipelines.compiling.pipeline import load_components
from tunelane_pipelines.compiling.resources import GPUS, NEEDS_BY_COMPONENT, TARGETS, Training, resources_of
from tunelane_pipelines.compiling.target import for_component, for_target

_PINNED = "registry.example/lane@sha256:" + "0" * 64


def _tasks(spec: Any) -> Iterator[tuple[str, Any, Any]]:
    """Component, task and container of every task."""
    executors = deployment_of(spec).executors
    for task, label in container_tasks(spec):
        yield label.removeprefix("exec-").replace("-", "_"), task, executors[label].container


def _by_hand(cpu: str, memory: str, accelerator: str) -> Any:
    """Train with settings made by kfp's own methods."""

    @dsl.pipeline(name="by-hand")
    def pipeline() -> None:
        dataset = build_dataset(data="data.csv").set_caching_options(False)
        dataset.set_cpu_limit("4").set_memory_limit("16G").set_retry(2, "60s", 2.0, "3600s")
        trained = train_lora(dataset=dataset.outputs["dataset"], base_model="base").set_caching_options(False)
        trained.set_cpu_limit(cpu).set_memory_limit(memory).set_retry(1, "60s", 2.0, "3600s")
        if accelerator:
            trained.set_accelerator_type(accelerator).set_accelerator_limit(1)

    return pipeline.pipeline_spec


def _untouched() -> Any:
    @dsl.pipeline(name="by-hand")
    def pipeline() -> None:
        dataset = build_dataset(data="data.csv")
        train_lora(dataset=dataset.outputs["dataset"], base_model="base")

    return pipeline.pipeline_spec


@pytest.mark.parametrize(
    ("gpu", "cpu", "memory", "accelerator"),
    [
        ("l4", "6", "24G", "nvidia.com/gpu"),
        ("a100", "10", "70G", "nvidia.com/gpu"),
        ("none", "8", "32G", ""),
    ],
)
def test_the_result_is_what_kfp_s_own_task_methods_write(gpu: str, cpu: str, memory: str, accelerator: str) -> None:
    ours = for_target(_untouched(), "kubeflow", {}, Training(gpu))
    deployment = deployment_of(ours)
    for executor in deployment.executors.values():
        assert executor.container.command[0] == "timeout"
        del executor.container.command[:3]
    kfps = _by_hand(cpu, memory, accelerator)
    assert deployment == deployment_of(kfps)
    ours.deployment_spec.CopyFrom(kfps.deployment_spec)
    assert ours == kfps


@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
def test_a_plain_task_is_the_same_on_both_targets(name: str) -> None:
    spec = load_pipeline(name).pipeline_spec
    on_kubeflow, on_vertex = (deployment_of(for_target(spec, target, {}, Training())) for target in TARGETS)
    labels = set(on_vertex.executors)
    assert labels == set(on_kubeflow.executors)
    for label in labels - {"exec-train-lora"}:
        assert on_vertex.executors[label] == on_kubeflow.executors[label]


@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
def test_the_dag_is_the_same_on_both_targets(name: str) -> None:
    spec = load_pipeline(name).pipeline_spec
    on_kubeflow, on_vertex = (for_target(spec, target, {}, Training(replicas=2)) for target in TARGETS)
    assert on_vertex.root == on_kubeflow.root
    assert set(on_vertex.components) == set(on_kubeflow.components)
    for label, component in on_vertex.components.items():
        if label == "comp-train-lora":
            del component.output_definitions.parameters["gcp_resources"]
        assert component == on_kubeflow.components[label]


@pytest.mark.parametrize("name", MODULE_BY_PIPELINE)
@pytest.mark.parametrize(("target", "gpu"), itertools.product(TARGETS, GPUS))
def test_every_task_of_every_pipeline_gets_what_the_table_says(name: str, target: str, gpu: str) -> None:
    changed = for_target(load_pipeline(name).pipeline_spec, target, {}, Training(gpu))
    for component, task, container in _tasks(changed):
        needs, given = NEEDS_BY_COMPONENT[component], resources_of(component, target, Training(gpu))
        if given.custom_job_type:
            assert component == "train_lora"
            assert not container.HasField("resources"), "the launcher needs no machine of its own"
        else:
            assert container.command[:4] == ["timeout", "--kill-after=30", str(needs.timeout_s), "sh"]
            assert container.resources.resource_cpu_limit == given.machine.cpu
            assert container.resources.accelerator.type == given.machine.accelerator
        assert task.retry_policy.max_retry_count == needs.retries
        assert task.HasField("retry_policy") == (needs.retries > 0)


def test_the_given_ir_is_left_as_it_is() -> None:
    spec = load_pipeline("train-classifier").pipeline_spec
    before = spec.SerializeToString(deterministic=True)
    first = for_target(spec, "vertex", {}, Training())
    assert spec.SerializeToString(deterministic=True) == before
    assert for_target(spec, "vertex", {}, Training()) == first


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("pipeline", "more"),
    # Nothing there tells convert's data from what they were.
    [("train-classifier", {"build_dataset", "evaluate_model", "gate_model", "report_verdict"}), ("convert", set())],
)
def test_a_result_is_reused_only_where_that_cannot_lie(target: str, pipeline: str, more: set[str]) -> None:
    spec = load_pipeline(pipeline).pipeline_spec
    logical = {container.image for _, _, container in _tasks(spec)}

    def reused(reference: str) -> set[str]:
        changed = for_target(spec, target, dict.fromkeys(logical, reference), Training())
        return {name for name, task, _ in _tasks(changed) if task.caching_options.enable_cache}

    assert reused("registry.example/lane:latest") == set()
    assert reused(_PINNED) == ({"export_onnx", "validate_parity", *more} if target == "vertex" else set())


def test_a_component_s_file_gets_its_image_and_nothing_that_ties_it_to_a_target() -> None:
    for name, component in load_components().items():
        spec = component.pipeline_spec
        logical = component.component_spec.implementation.container.image
        ((_, task, container),) = _tasks(for_component(spec, {logical: _PINNED}))
        assert container.image == _PINNED, name
        assert container.command[0] == "sh"
        assert not container.HasField("resources")
        assert not task.HasField("retry_policy")
        assert not task.caching_options.enable_cache


def _command_line(limit_s: float) -> list[str]:
    """What a container of report_verdict runs on a cluster, its limit cut short."""
    ((_, _, container),) = _tasks(for_target(report_verdict.pipeline_spec, "kubeflow", {}, Training("none")))
    head, kill_after, _, *rest = container.command
    return [head, kill_after, str(limit_s), *rest, *container.args]


def _environment_with_python(directory: Path, body: str) -> dict[str, str]:
    """An environment in which `python3` is a shell script."""
    script = directory / "python3"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def test_a_task_that_takes_too_long_is_stopped_and_ends_with_124(tmp_path: Path) -> None:
    environment = _environment_with_python(tmp_path, "echo begun; exec sleep 500")
    # On a busy machine it may take longer than the shortest limit until the component has begun at all.
    for limit_s in (0.5, 2, 8, 32):
        # The output ends once nobody holds it any more: whoever outlived the limit would keep this waiting.
        finished = subprocess.run(
            _command_line(limit_s), check=False, env=environment, stdout=subprocess.PIPE, text=True, timeout=300
        )
        assert finished.returncode == 124
        if "begun" in finished.stdout:
            return
    pytest.fail("the component never began")


@pytest.mark.parametrize("code", [0, 2])
def test_a_task_in_time_keeps_its_own_exit_code(code: int, tmp_path: Path) -> None:
    environment = _environment_with_python(tmp_path, f"exit {code}")
    assert subprocess.run(_command_line(300), check=False, env=environment).returncode == code
