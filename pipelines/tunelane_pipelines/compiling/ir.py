"""Reading and changing a compiled pipeline (kfp's IR) by its protobuf types."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2


def copied(spec: Any) -> Any:
    """Give a copy of a `PipelineSpec`; kfp hands out the one that it keeps."""
    copy = pipeline_spec_pb2.PipelineSpec()
    copy.CopyFrom(spec)
    return copy


def deployment_of(spec: Any) -> Any:
    """Give the deployment configuration as a `PipelineDeploymentConfig`; the IR carries it as an untyped struct."""
    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    return json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), deployment)


def set_deployment(spec: Any, deployment: Any) -> None:
    """Write a deployment configuration into an IR."""
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))


def component_name(executor: Any) -> str:
    """Read which component an executor runs ("train_lora"): labels get a number where a component is used twice."""
    arguments = list(executor.container.args)
    return str(arguments[arguments.index("--function_to_execute") + 1])


def container_tasks(spec: Any) -> Iterator[tuple[Any, str]]:
    """Every task that runs a container, in whichever branch, with its executor's label."""
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for task in dag.tasks.values():
            label = spec.components[task.component_ref.name].executor_label
            if label:
                yield task, label
