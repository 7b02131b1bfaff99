"""The file of images: whether every image that tasks run in is named, and so that a cluster can pull it."""

import re
from collections.abc import Iterator

from tunelane_components.images import EXTRA_BY_IMAGE
from tunelane_pipelines.compiling.images import LAUNCHER, is_pinned, read_lane_images
from tunelane_pipelines.compiling.resources import VERTEX
from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.settings import Settings
from tunelane_serving.errors import InputError

# https://cloud.google.com/artifact-registry/docs/docker/names
_IN_ARTIFACT_REGISTRY = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<image>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def references(settings: Settings) -> dict[str, str]:
    """Give the image references of the settings by logical name; none where no file of them is set.

    Raises:
        InputError: the file cannot be used.
    """
    return {} if settings.images is None else read_lane_images(settings.images)


def in_artifact_registry(reference: str) -> re.Match[str] | None:
    """Take apart a reference to an image in Artifact Registry: location, project, repository, image, tag, digest."""
    return _IN_ARTIFACT_REGISTRY.fullmatch(reference)


def check_images(settings: Settings, target: str = "") -> Iterator[Check]:
    """Whether each image can be pulled by its reference, is held to one build, and lies where runs do; asks nobody.

    A file that cannot be used was named with the settings. A cluster needs one.
    """
    if target and settings.images is None:
        advice = "Set images to the JSON file that a release writes: a cluster cannot pull logical names."
        yield Check("image references", "problem", "none", advice)
    try:
        named = references(settings)
    except InputError:
        return
    for name, reference in named.items():
        yield _check_image(short_name(name), reference, settings.gcp.region)
    if target == VERTEX and named and LAUNCHER not in named:
        advice = f"To hold it to a digest, name it in the file: {LAUNCHER!r}."
        yield Check("image launcher", "info", "Google's own, by a tag: it starts training", advice)


def short_name(image: str) -> str:
    """A logical name as people say it: trainer, pipelines, server, launcher."""
    return "launcher" if image == LAUNCHER else image.rpartition("/")[2].partition(":")[0]


def _check_image(name: str, reference: str, region: str) -> Check:
    found = in_artifact_registry(reference)
    if reference in (*EXTRA_BY_IMAGE, LAUNCHER):
        advice = "It is a logical name, which no registry has. Write REGISTRY/IMAGE@sha256:DIGEST."
        return Check(f"image {name}", "problem", reference, advice)
    if found and region and not lies_near(region, found["location"]):
        advice = f"Runs go to {region}: copy it to a repository there. A pull from elsewhere is slow, and is billed."
        return Check(f"image {name}", "warning", f"{reference} lies in {found['location']}", advice)
    if not is_pinned(reference):
        advice = "For a release write it as REGISTRY/IMAGE@sha256:DIGEST; without one no result is reused."
        return Check(f"image {name}", "info", f"{reference}: what a tag names can change", advice)
    return Check(f"image {name}", "ok", reference)


def lies_near(region: str, location: str) -> bool:
    """Whether a repository's location is a region, or the multi-region around it: europe, us or asia.

    https://cloud.google.com/artifact-registry/docs/repositories/repo-locations
    """
    return location == region or region.startswith(f"{location}-")
