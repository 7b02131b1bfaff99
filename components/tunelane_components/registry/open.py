"""A registry by its URI."""

from pathlib import Path

from tunelane_components.bucket import SCHEME
from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_components.registry.bucket import BucketRegistry
from tunelane_components.registry.interface import Registry
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_components.secrets import revealed
from tunelane_serving.errors import InputError

_SQLITE = "sqlite:///"


def open_registry(uri: str, *, patience_s: float = STAGE_PATIENCE_S) -> Registry:
    """Give the registry at `uri`: `sqlite:////absolute/path/registry.db` or `gs://BUCKET/PATH`.

    Where nobody may read the address, it stands in Secret Manager, and `uri` names the version:
    projects/P/secrets/S/versions/V.

    Args:
        uri: where it lies, or the name of a secret that says so.
        patience_s: how long a service that does not answer is asked again.

    Raises:
        InputError: no registry is supported under that scheme, the path cannot be used, or the secret cannot be read.
        TunelaneError: Secret Manager does not answer.
    """
    named, uri = uri, revealed(uri, patience_s=patience_s)
    try:
        if uri.startswith(SCHEME):
            return BucketRegistry(uri, patience_s=patience_s)
        if uri.startswith(f"{_SQLITE}/"):
            return MlflowRegistry(Path(uri.removeprefix(_SQLITE)))
    except InputError:
        # It quotes what it was given, which of a secret nobody may see.
        if uri == named:
            raise
    raise InputError(
        f"Registry {named!r} is not supported. Set registry_uri to sqlite:////absolute/path/registry.db, or to "
        "gs://BUCKET/PATH."
    )
