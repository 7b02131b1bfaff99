"""The builder of packages for `sample://NAME`: the sample is fetched, and then built of like any other model."""

from collections.abc import Callable
from pathlib import Path

from tunelane_components.export import ensure
from tunelane_pipelines.samples.store import resolve


def build_package(source: str, target: Path, *, say: Callable[[str], None]) -> None:
    """Write the package of the sample model `source` to `target`; raises what `resolve` and the builder raise."""
    say(f"fetching {source}, unless it is in the cache")
    ensure.build_package(resolve(source), target, say=say)
