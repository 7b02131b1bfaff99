"""One pipeline compiled for one target with everything that settings say of it: what is written, and what is sent."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tunelane_components
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.compiling.manifests import kubernetes_manifest
from tunelane_pipelines.compiling.resources import KUBEFLOW, Training, check_target
from tunelane_pipelines.settings.sections import KubeflowSettings


def compile_pipeline(
    name: str, target: str, *, images: Mapping[str, str], training: Training, kubeflow: KubeflowSettings
) -> tuple[Any, list[dict[str, Any]]]:
    """Compile a pipeline; needs no account and no network.

    Args:
        name: the pipeline's, in the catalog.
        target: one of `TARGETS`.
        images: image references by logical name; an image without one keeps its name.
        training: what users chose for training.
        kubeflow: what tasks need of the cluster, where that is the target.

    Returns:
        The `PipelineSpec`, and the documents that Kubeflow takes beside it.

    Raises:
        InputError: a name is not known, or a setting of Kubeflow is not of its form.
    """
    check_target(target)
    function = load_pipeline(name)
    # kfp takes 0.4 s to import.
    from tunelane_pipelines.compiling.descriptions import described
    from tunelane_pipelines.compiling.target import for_target

    spec = for_target(described(function.pipeline_spec, load_components()), target, images, training)
    return spec, [kubernetes_manifest(spec, kubeflow)] if target == KUBEFLOW else []


def load_components() -> dict[str, Any]:
    """Every KFP component of every stage by name; imports kfp."""
    from kfp.dsl.python_component import PythonComponent

    paths = sorted(Path(tunelane_components.__file__).parent.glob("*/component.py"))
    modules = [importlib.import_module(f"tunelane_components.{path.parent.name}.component") for path in paths]
    found = [item for module in modules for item in vars(module).values() if isinstance(item, PythonComponent)]
    return {component.python_func.__name__: component for component in found}
