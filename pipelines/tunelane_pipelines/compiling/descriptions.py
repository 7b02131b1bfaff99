"""What the console shows of a component, completed from its docstring."""

import inspect
from collections.abc import Mapping
from typing import Any

import docstring_parser

from tunelane_pipelines.compiling.ir import component_name, copied, deployment_of


def described(spec: Any, components: Mapping[str, Any]) -> Any:
    """Give a copy of an IR in which every output artifact is described: kfp itself describes inputs alone.

    Args:
        spec: a `PipelineSpec`.
        components: KFP components by name, whose docstrings have a line for every output.
    """
    changed = copied(spec)
    executors = deployment_of(changed).executors
    for component in changed.components.values():
        if component.executor_label:
            name = component_name(executors[component.executor_label])
            _describe(component.output_definitions.artifacts, components[name])
    return changed


def described_component(component: Any) -> Any:
    """Give the IR of one component with what it does, and what its outputs are."""
    changed = described(component.pipeline_spec, {component.python_func.__name__: component})
    changed.pipeline_info.description = component.description
    _describe(changed.root.output_definitions.artifacts, component)
    return changed


def _describe(artifacts: Any, component: Any) -> None:
    docstring = docstring_parser.parse(inspect.getdoc(component.python_func) or "")
    description_by_name = {entry.arg_name: entry.description for entry in docstring.params}
    for name, artifact in artifacts.items():
        artifact.description = description_by_name[name]
