"""A deployer by its URI."""

from pathlib import Path

from tunelane_components.bucket import SCHEME
from tunelane_components.deploy.bucket import BucketDeployer
from tunelane_components.deploy.interface import Deployer
from tunelane_components.deploy.local import LocalDeployer
from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_serving.errors import InputError

_LOCAL = "local:"


def open_deployer(uri: str, *, patience_s: float = STAGE_PATIENCE_S) -> Deployer:
    """Give the deployer at `uri`: `local:/absolute/directory` or `gs://BUCKET/PATH`.

    Args:
        uri: where it lies.
        patience_s: how long a service that does not answer is asked again.

    Raises:
        InputError: no deployment is supported under that scheme, or the directory is relative.
    """
    if uri.startswith(SCHEME):
        return BucketDeployer(uri, patience_s=patience_s)
    if not uri.startswith(_LOCAL) or not Path(uri.removeprefix(_LOCAL)).is_absolute():
        raise InputError(
            f"Deployment {uri!r} is not supported. Set deployment_uri to local:/absolute/directory, or to "
            "gs://BUCKET/PATH."
        )
    return LocalDeployer(Path(uri.removeprefix(_LOCAL)))
