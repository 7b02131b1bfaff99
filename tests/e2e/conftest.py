"""Whole runs through the command line, on a small part of the real sample."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.place import SMALL, Place, Promoted


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh root."""
    return Place(tmp_path / "root")


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Promoted:
    """The main job on 1,500 real rows, run once for all tests that look at its results."""
    place = Place(tmp_path_factory.mktemp("promoted") / "root")
    run = place.tunelane("run", "train-classifier", "--config", "sentiment", *SMALL)
    assert run.returncode == 0, run.stdout + run.stderr
    return Promoted(place, run.stdout)


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of the pipelines beside the tests in a process of its own, since kfp.local changes its host."""

    def run(script: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        arguments = [f"{name}={value}" for name, value in parameters.items()]
        path = Path(__file__).parent / "sabotage" / script
        return subprocess.run(
            [sys.executable, str(path), str(tmp_path / "artifacts"), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    return run
