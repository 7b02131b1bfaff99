"""A registry by its URI."""

from pathlib import Path

from tunelane_components.bucket import SCHEME
from tunelane_components.registry.bucket import BucketRegistry
from tunelane_components.registry.interface import Registry
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_components.secrets import revealed
from tunelane_serving.errors import InputError

_SQLITE = "sqlite:///"


def open_registry(uri: str) -> Registry:
    """Give the registry at `uri`: `sqlite:////absolute/path/registry.db` or `gs://BUCKET/PATH`.

    Where nobody may read the address, it stands in Secret Manager, and `uri` names the version:
    projects/P/secrets/S/versions/V.

    Raises:
        InputError: no registry is supported under that scheme, the path cannot be used, or the secret cannot be read.
        TunelaneError: Secret Manager does not answer.
    """
    named, uri = uri, revealed(uri)
    if uri.startswith(SCHEME):
        return BucketRegistry(uri)
    if not uri.startswith(_SQLITE) or not uri.removeprefix(_SQLITE).startswith("/"):
        raise InputError(
            f"Registry {named!r} is not supported. Set registry_uri to sqlite:////absolute/path/registry.db, or to "
            "gs://BUCKET/PATH."
        )
    return MlflowRegistry(Path(uri.removeprefix(_SQLITE)))
