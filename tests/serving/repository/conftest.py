"""Fixtures for the repository's tests: packages to put into it."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def package(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a package that no test changes."""
    return tiny_package(tmp_path_factory.mktemp("package") / "reviews")


@pytest.fixture(scope="session")
def other_package(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give another package of the same task."""
    return tiny_package(tmp_path_factory.mktemp("package") / "reviews", bias=(0.5, 0.0))
