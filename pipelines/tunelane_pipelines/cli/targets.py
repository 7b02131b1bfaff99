"""The targets that commands talk to."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunelane_pipelines.settings import Settings
    from tunelane_pipelines.targets.target import RemoteTarget


def opener(settings: "Settings") -> "Callable[[str], RemoteTarget]":
    """Give what opens a target by its name, each once."""
    from tunelane_pipelines.targets.opening import open_target

    return cache(lambda name: open_target(name, settings))
