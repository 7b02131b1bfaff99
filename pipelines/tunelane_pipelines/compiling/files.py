"""Compiled files on disk: `<output>/<target>/pipelines/<name>.yaml` and `<output>/<target>/components/<name>.yaml`."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tunelane_components
from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT
from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.compiling.images import read_images
from tunelane_pipelines.compiling.resources import GPUS, KUBEFLOW, TARGETS
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings import KubeflowSettings
from tunelane_pipelines.targets.kubeflow.manifests import kubernetes_manifest
from tunelane_serving.errors import InputError
from tunelane_serving.files import write_atomically


def compile_files(
    output: Path,
    *,
    pipeline: str = "",
    target: str = "",
    images: Path | None = None,
    gpu: str = "l4",
    kubeflow: KubeflowSettings | None = None,
) -> list[Path]:
    """Write pipelines and components as YAML. Everything is compiled before the first file is written.

    Args:
        output: directory to write into; made where it is missing. Files of the same names are replaced.
        pipeline: a name of the catalog; empty: all of them.
        target: one of `TARGETS`; empty: all of them.
        images: JSON file of image references by logical name; None: logical names stay.
        gpu: one of `GPUS`, for the components that can use one.
        kubeflow: what tasks need of the cluster; None: the defaults.

    Returns:
        The files written, in order of target, kind and name.

    Raises:
        InputError: a name is not known, the file of images cannot be used, a setting of `kubeflow` is not of its
            form, or the output cannot be written.
    """
    if pipeline and pipeline not in MODULE_BY_PIPELINE:
        raise InputError(no_such("pipeline", pipeline, MODULE_BY_PIPELINE))
    if target and target not in TARGETS:
        raise InputError(no_such("target", target, TARGETS))
    if gpu not in GPUS:
        raise InputError(no_such("GPU", gpu, GPUS))
    references: dict[str, str] = {}
    if images is not None:
        # A build's file may name more than components run in: the server's image, too.
        references = read_images(images, required=set(IMAGE_BY_COMPONENT.values()), known=EXTRA_BY_IMAGE)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file. Pass a directory to --output.")
    pipelines = [pipeline] if pipeline else sorted(MODULE_BY_PIPELINE)
    targets = [target] if target else TARGETS
    content_by_path = dict(_compiled(pipelines, targets, references, gpu, kubeflow or KubeflowSettings()))
    try:
        for path, content in content_by_path.items():
            write_atomically(output / path, content)
    except OSError as error:
        raise InputError(f"Cannot write to {output}: {error.strerror}. Pass another directory to --output.") from error
    return [output / path for path in content_by_path]


def load_components() -> dict[str, Any]:
    """Every KFP component of every stage by name; imports kfp."""
    from kfp.dsl.python_component import PythonComponent

    paths = sorted(Path(tunelane_components.__file__).parent.glob("*/component.py"))
    modules = [importlib.import_module(f"tunelane_components.{path.parent.name}.component") for path in paths]
    found = [item for module in modules for item in vars(module).values() if isinstance(item, PythonComponent)]
    return {component.python_func.__name__: component for component in found}


def _compiled(
    pipelines: Sequence[str],
    targets: Sequence[str],
    images: Mapping[str, str],
    gpu: str,
    kubeflow: KubeflowSettings,
) -> Iterator[tuple[Path, bytes]]:
    """Path below the output, and content, of every file."""
    # kfp takes 0.4 s to import.
    from tunelane_pipelines.compiling.descriptions import described, described_component
    from tunelane_pipelines.compiling.target import for_component, for_target

    components = load_components()
    specs = {name: described(load_pipeline(name).pipeline_spec, components) for name in pipelines}
    component_files = {
        Path("components", f"{name}.yaml"): _yaml(for_component(described_component(component), images))
        for name, component in sorted(components.items())
    }
    for target in targets:
        for name, spec in specs.items():
            changed = for_target(spec, target, images, gpu)
            manifests = [kubernetes_manifest(changed, kubeflow)] if target == KUBEFLOW else []
            yield Path(target, "pipelines", f"{name}.yaml"), _yaml(changed, manifests)
        for path, content in component_files.items():
            yield target / path, content


def _yaml(spec: Any, manifests: Sequence[dict[str, Any]] = ()) -> bytes:
    """Render an IR as kfp's compiler does, its comment for people included, and each manifest after it; UTF-8."""
    import yaml
    from google.protobuf import json_format
    from kfp.compiler.pipeline_spec_builder import extract_comments_from_pipeline_spec

    content = json_format.MessageToDict(spec)
    comment = extract_comments_from_pipeline_spec(content, spec.pipeline_info.description)
    return f"{comment}{yaml.safe_dump_all([content, *manifests])}".encode()
