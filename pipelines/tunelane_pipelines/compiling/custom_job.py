"""Training as a Vertex AI CustomJob, launched by google-cloud-pipeline-components.

A plain task of a pipeline has neither disk, nor spot machine, nor replicas; a CustomJob has them all. The task in the
DAG becomes Google's launcher, a small container that creates the job, waits for it, and ends as it does:
https://cloud.google.com/vertex-ai/docs/pipelines/customjob-component
"""

import inspect
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf import json_format
from google_cloud_pipeline_components import _placeholders
from google_cloud_pipeline_components.v1.custom_job import (
    CustomTrainingJobOp,
    create_custom_training_job_from_component,
)
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from tunelane_pipelines.compiling.images import LAUNCHER
from tunelane_pipelines.compiling.resources import Resources, Training

_JOB = "gcp_resources"
"""Output of the launcher: which job it made. A launcher that is started anew goes on with that job."""


def run_as_custom_job(
    component: Any, executor: Any, resources: Resources, training: Training, images: Mapping[str, str]
) -> None:
    """Make the launcher of a CustomJob of a container.

    The launcher's arguments are written by google-cloud-pipeline-components, as for its
    `create_custom_training_job_from_component`. That one leaves the job in default values of new inputs; here it is
    written out, so that the task keeps its inputs, and machine, GPU and disk stand in the payload to be read.

    Account, network and key are the run's, and so are its labels, which the launcher hands on: the file names none.

    Args:
        component: the `ComponentSpec` of the container; it gets the launcher's output beside its own.
        executor: its executor; it becomes the launcher's.
        resources: what the component gets; names the type of its machine.
        training: what users chose.
        images: image references by logical name; may name the launcher's.
    """
    container = executor.container
    made = create_custom_training_job_from_component(
        _on_its_own(component.executor_label.removeprefix("exec-"), container),
        replica_count=training.replicas,
        machine_type=resources.custom_job_type,
        accelerator_type=resources.machine.accelerator,
        accelerator_count=resources.machine.accelerator_count,
        boot_disk_type=training.boot_disk_type,
        boot_disk_size_gb=training.boot_disk_gb,
        timeout=f"{resources.needs.timeout_s}s",
        # Workers of one group cannot go on with one of them new.
        restart_job_on_worker_restart=training.replicas > 1,
        service_account=_placeholders.SERVICE_ACCOUNT_PLACEHOLDER,
        network=_placeholders.NETWORK_PLACEHOLDER,
        encryption_spec_key_name=_placeholders.ENCRYPTION_SPEC_KMS_KEY_NAME_PLACEHOLDER,
        env=[{"name": variable.name, "value": variable.value} for variable in container.env],
        strategy="SPOT" if training.spot else "STANDARD",
    ).pipeline_spec
    [definition] = made.components.values()
    launcher = CustomTrainingJobOp.pipeline_func(**_job_arguments(definition), **_output(made))
    component.output_definitions.parameters[_JOB].CopyFrom(definition.output_definitions.parameters[_JOB])
    container.Clear()
    container.image = images.get(LAUNCHER, launcher.image)
    container.command.extend(launcher.command)
    container.args.extend(launcher.args)


def _on_its_own(name: str, container: Any) -> Any:
    """Give the container as a kfp component: a pipeline of one task.

    It has no inputs, for one that is called as a field of the job would be taken for that.
    """
    spec = pipeline_spec_pb2.PipelineSpec(schema_version="2.1.0")
    spec.pipeline_info.name = name
    spec.components[f"comp-{name}"].executor_label = f"exec-{name}"
    task = spec.root.dag.tasks[name]
    task.task_info.name = name
    task.component_ref.name = f"comp-{name}"
    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    deployment.executors[f"exec-{name}"].container.CopyFrom(container)
    spec.deployment_spec.update(json_format.MessageToDict(deployment))
    return components.load_component_from_text(yaml.safe_dump(json_format.MessageToDict(spec)))


def _job_arguments(definition: Any) -> dict[str, Any]:
    """Give what google-cloud-pipeline-components made of the job: defaults of the launcher's own inputs."""
    parameters = definition.input_definitions.parameters
    return {
        name: _plain(json_format.MessageToDict(parameters[name].default_value))
        for name in inspect.signature(CustomTrainingJobOp.pipeline_func).parameters
        if name != _JOB and parameters[name].HasField("default_value")
    }


def _plain(value: Any) -> Any:
    """Undo what the IR does to a value: its numbers are all fractions, and its mappings have no order."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in sorted(value.items())}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _output(made: Any) -> dict[str, str]:
    """Give the launcher's output as its arguments name it: a placeholder of the file to write."""
    [executor] = made.deployment_spec["executors"].values()
    arguments = list(executor["container"]["args"])
    return {_JOB: str(arguments[arguments.index(f"--{_JOB}") + 1])}
