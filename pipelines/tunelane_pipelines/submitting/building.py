"""A submission from a pipeline's name: compiled for the target, with its parameters, images and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.catalog import load_pipeline
from tunelane_pipelines.compiling.images import read_lane_images
from tunelane_pipelines.compiling.resources import check_target, chosen_training
from tunelane_pipelines.settings import Settings
from tunelane_pipelines.submitting.labels import parse_labels
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import InputError


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
    check_target(target)
    training = chosen_training(settings.gpu, settings.gcp)
    images = _images(settings)
    # kfp takes 0.4 s to import.
    from google.protobuf import json_format

    from tunelane_pipelines.compiling.pipeline import compile_pipeline

    spec, manifests = compile_pipeline(pipeline, target, images=images, training=training, kubeflow=settings.kubeflow)
    return json_format.MessageToDict(spec), tuple(manifests)


def _images(settings: Settings) -> dict[str, str]:
    """The references that a cluster pulls, by logical name."""
    if settings.images is None:
        raise InputError(
            "No images: a cluster cannot pull the logical names. Pass --images FILE, the JSON file that a release "
            "writes, or set images in the profile."
        )
    references = read_lane_images(settings.images)
    for name, reference in references.items():
        if reference in EXTRA_BY_IMAGE:
            raise InputError(
                f"{settings.images}: {name}: {reference} is a logical name, which no registry has. Write "
                "REGISTRY/IMAGE:TAG or REGISTRY/IMAGE@sha256:DIGEST."
            )
    return references
