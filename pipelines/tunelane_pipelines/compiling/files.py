"""Compiled files on disk: `<output>/<target>/pipelines/<name>.yaml` and `<output>/<target>/components/<name>.yaml`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelane_pipelines.catalog import MODULE_BY_PIPELINE
from tunelane_pipelines.compiling.images import read_lane_images
from tunelane_pipelines.compiling.pipeline import compile_pipeline, load_components
from tunelane_pipelines.compiling.resources import TARGETS, Training, check_target
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_serving.errors import InputError
from tunelane_serving.files import write_atomically


def compile_files(
    output: Path,
    *,
    pipeline: str = "",
    target: str = "",
    images: Path | None = None,
    training: Training | None = None,
    kubeflow: KubeflowSettings | None = None,
) -> list[Path]:
    """Write pipelines and components as YAML. Everything is compiled before the first file is written.

    Args:
        output: directory to write into; made where it is missing. Files of the same names are replaced.
        pipeline: a name of the catalog; empty: all of them.
        target: one of `TARGETS`; empty: all of them.
        images: JSON file of image references by logical name; None: logical names stay.
        training: what users chose for training; None: the defaults.
        kubeflow: what tasks need of the cluster; None: the defaults.

    Returns:
        The files written, in order of target, kind and name.

    Raises:
        InputError: a name is not known, the file of images cannot be used, a setting of `kubeflow` is not of its
            form, or the output cannot be written.
    """
    if pipeline and pipeline not in MODULE_BY_PIPELINE:
        raise InputError(no_such("pipeline", pipeline, MODULE_BY_PIPELINE))
    if target:
        check_target(target)
    references = read_lane_images(images) if images is not None else {}
    pipelines = [pipeline] if pipeline else sorted(MODULE_BY_PIPELINE)
    targets = [target] if target else TARGETS
    content_by_path = dict(
        _compiled(pipelines, targets, references, training or Training(), kubeflow or KubeflowSettings())
    )
    try:
        if output.exists() and not output.is_dir():
            raise InputError(f"{output} is a file. Pass a directory to --output.")
        for path, content in content_by_path.items():
            write_atomically(output / path, content)
    except OSError as error:
        raise InputError(f"Cannot write to {output}: {error.strerror}. Pass another directory to --output.") from error
    return [output / path for path in content_by_path]


def _compiled(
    pipelines: Sequence[str],
    targets: Sequence[str],
    images: Mapping[str, str],
    training: Training,
    kubeflow: KubeflowSettings,
) -> Iterator[tuple[Path, bytes]]:
    """Path below the output, and content, of every file."""
    # kfp takes 0.4 s to import.
    from tunelane_pipelines.compiling.descriptions import described_component
    from tunelane_pipelines.compiling.target import for_component

    component_files = {
        Path("components", f"{name}.yaml"): _yaml(for_component(described_component(component), images))
        for name, component in sorted(load_components().items())
    }
    for target in targets:
        for name in pipelines:
            spec, manifests = compile_pipeline(name, target, images=images, training=training, kubeflow=kubeflow)
            yield Path(target, "pipelines", f"{name}.yaml"), _yaml(spec, manifests)
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
