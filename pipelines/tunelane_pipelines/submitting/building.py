"""A submission from a pipeline's name: compiled for the target, with its parameters, images and labels."""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.compiling.images import read_images
from tunelane_pipelines.compiling.resources import GPUS, KUBEFLOW, TARGETS
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.targets.target import RUN_LABEL, Submission
from tunelane_serving.errors import InputError

# What labels may be on both targets: https://cloud.google.com/vertex-ai/docs/general/labels
_LABEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def new_run_id(pipeline: str, now: datetime) -> str:
    """A run's id: it sorts by time, and is a legal label and resource name on every target."""
    return f"{pipeline}-{now.astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def build_submission(
    pipeline: str,
    target: str,
    parameters: Mapping[str, str | int | float | bool],
    settings: Settings,
    *,
    run_id: str,
    labels: Sequence[str] = (),
    experiment: str = "",
    caching: bool = True,
    fail_fast: bool = True,
) -> Submission:
    """Compile a pipeline for `target` and put together what is sent. Needs no account and no network; imports kfp.

    Args:
        pipeline: its name in the catalog.
        target: one of `TARGETS`.
        parameters: its parameters, checked.
        settings: images and GPU in force.
        run_id: the run's.
        labels: `name=value` each.
        experiment: the experiment to file the run under; empty: the target's own.
        caching: whether results may be reused where the compiled pipeline allows it.
        fail_fast: end the run with its first failed task.

    Raises:
        InputError: a name is not known, there are no images, or a label is none.
    """
    function = load_pipeline(pipeline)
    title = function.pipeline_spec.pipeline_info.display_name or pipeline
    model = parameters.get("model_name", "")
    spec, manifests = compiled(pipeline, target, settings)
    return Submission(
        run_id=run_id,
        pipeline=pipeline,
        display_name=f"{title}: {model}" if model else title,
        spec=spec,
        parameters=dict(parameters),
        manifests=manifests,
        labels=parse_labels(labels),
        caching=caching,
        fail_fast=fail_fast,
        experiment=experiment,
    )


def compiled(pipeline: str, target: str, settings: Settings) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """The compiled pipeline with real images, as JSON, and the documents that Kubeflow takes beside it.

    Raises:
        InputError: the target or the GPU is not known, there are no images, or a setting of Kubeflow is none.
    """
    if target not in TARGETS:
        raise InputError(no_such("target", target, TARGETS))
    if settings.gpu not in GPUS:
        raise InputError(no_such("GPU", settings.gpu, GPUS))
    function, images = load_pipeline(pipeline), _images(settings)
    # kfp takes 0.4 s to import.
    from google.protobuf import json_format

    from tunelane_pipelines.compiling.descriptions import described
    from tunelane_pipelines.compiling.files import load_components
    from tunelane_pipelines.compiling.target import for_target
    from tunelane_pipelines.targets.kubeflow.manifests import kubernetes_manifest

    spec = for_target(described(function.pipeline_spec, load_components()), target, images, settings.gpu)
    manifests = (kubernetes_manifest(spec, settings.kubeflow),) if target == KUBEFLOW else ()
    return json_format.MessageToDict(spec), manifests


def parse_labels(labels: Sequence[str]) -> dict[str, str]:
    """`["team=care", ...]` to a mapping; the last of two for one name counts.

    Raises:
        InputError: one is not `name=value`, breaks the grammar of labels, or is the one that runs are found by.
    """
    parsed: dict[str, str] = {}
    for label in labels:
        name, equals, value = label.partition("=")
        if not equals or not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            raise InputError(
                f"Cannot use --label {label!r}. Write it as name=value, of lower-case letters, digits, - and _, "
                "at most 63 each."
            )
        if name == RUN_LABEL:
            raise InputError(f"The label {RUN_LABEL} is the one that a run is found by. Choose another name.")
        parsed[name] = value
    return parsed


def _images(settings: Settings) -> dict[str, str]:
    """The references that a cluster pulls, by logical name."""
    if settings.images is None:
        raise InputError(
            "No images: a cluster cannot pull the logical names. Pass --images FILE, the JSON file that a release "
            "writes, or set images in the profile."
        )
    references = read_images(settings.images, required=set(IMAGE_BY_COMPONENT.values()), known=EXTRA_BY_IMAGE)
    for name, reference in references.items():
        if reference in EXTRA_BY_IMAGE:
            raise InputError(
                f"{settings.images}: {name}: {reference} is a logical name, which no registry has. Write "
                "REGISTRY/IMAGE:TAG or REGISTRY/IMAGE@sha256:DIGEST."
            )
    return references
