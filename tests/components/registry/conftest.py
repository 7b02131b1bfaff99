"""A registry of its own for every test, and processes that use it at the same time."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_components.registry.mlflow_registry import MlflowRegistry

# Loads everything, then waits for the start, so that processes truly meet.
_PRELUDE = """
import os, sys, time
from pathlib import Path
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow.tracking import MlflowClient
from tunelane_components.registry.interface import ChampionMoved
from tunelane_components.registry.mlflow_registry import MlflowRegistry
registry, start = MlflowRegistry(Path(sys.argv[1])), Path(sys.argv[2])
registry.champion("sentiment")
start.with_name(f"ready-{os.getpid()}").touch()
while not start.exists():
    time.sleep(0.001)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "registry" / "registry.db"


@pytest.fixture
def registry(database: Path, made_database: Path) -> MlflowRegistry:
    """Give a registry with tables and no models."""
    database.parent.mkdir()
    shutil.copyfile(made_database, database)
    return MlflowRegistry(database)


@pytest.fixture
def race(database: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Run Python snippets at once, each in a process of its own with `registry`; gives what each printed."""

    def run(*snippets: str) -> list[str]:
        start = tmp_path / "start"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _PRELUDE + snippet, str(database), str(start)], stdout=subprocess.PIPE, text=True
            )
            for snippet in snippets
        ]
        try:
            while len(list(tmp_path.glob("ready-*"))) < len(processes):
                assert all(process.poll() is None for process in processes)
                time.sleep(0.01)
            start.touch()
            said = [process.communicate(timeout=300)[0].strip() for process in processes]
        finally:
            # Of a race that failed none is left waiting for its start.
            for process in processes:
                process.kill()
        for file in (start, *tmp_path.glob("ready-*")):
            file.unlink()
        return said

    return run
