"""The champion that a run is compared with, pinned at its start."""

from pathlib import Path

from tunelane_components.registry.interface import ModelVersion, Registry
from tunelane_serving.files import directory_written_atomically


def fetch_champion(registry: Registry, name: str, target: Path) -> ModelVersion | None:
    """Put the champion's package at `target`; without a champion, make `target` an empty directory and give None.

    Raises:
        DigestMismatch: what is stored is not what was registered.
    """
    champion = registry.champion(name)
    if champion is None:
        with directory_written_atomically(target):
            return None
    return registry.fetch(name, champion.digest, target)
