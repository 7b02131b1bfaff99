"""A registry by its URI."""

from pathlib import Path

from tunelane_components.registry.interface import Registry
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.errors import InputError

_SQLITE = "sqlite:///"


def open_registry(uri: str) -> Registry:
    """Give the registry at `uri`: `sqlite:////absolute/path/registry.db`.

    Raises:
        InputError: no registry is supported under that scheme, or the path cannot be used.
    """
    if not uri.startswith(_SQLITE) or not uri.removeprefix(_SQLITE).startswith("/"):
        raise InputError(
            f"Registry {uri!r} is not supported. Set registry_uri to sqlite:////absolute/path/registry.db."
        )
    return MlflowRegistry(Path(uri.removeprefix(_SQLITE)))
