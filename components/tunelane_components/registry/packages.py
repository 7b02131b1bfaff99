"""A registered package by the place that the registry gives for it: a path on this machine, or a folder in a bucket."""

from pathlib import Path

from tunelane_components.bucket import SCHEME, BucketFolder
from tunelane_components.bucket_package import read_stored_manifest
from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_serving.package import Manifest, read_manifest


def manifest_at(package: str, digest: str, *, patience_s: float = STAGE_PATIENCE_S) -> Manifest:
    """Read the manifest of a registered package.

    Args:
        package: a path, or a `gs://` URI.
        digest: of the package; empty where another tool registered it.
        patience_s: how long a service that does not answer is asked again.

    Raises:
        ContractError: it is missing or broken.
        DigestMismatch: it is not the package that `digest` names.
        InputError, TunelaneError: the bucket cannot be read.
    """
    if not package.startswith(SCHEME):
        return read_manifest(Path(package), expected_digest=digest or None)
    parent, _, folder = package.rpartition("/")
    return read_stored_manifest(BucketFolder(parent, patience_s=patience_s), folder, digest)
