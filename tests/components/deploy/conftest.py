"""Packages, a deployment and a registry of its own for every test."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.deploy.interface import Revision
from tunelane_components.deploy.local import LocalDeployer
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.deployment import revision_path
from tunelane_serving.package import package_digest

# The file is there once its content is.
_SERVER = """#!{python}
import os, signal, sys, time

def ready():
    with open({pid!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({pid!r} + ".new", {pid!r})

{program}
"""


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "package")


@pytest.fixture
def challenger(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "challenger", bias=(0.5, 0.0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deployments"


@pytest.fixture
def deployment(root: Path) -> Path:
    return root / "sentiment"


@pytest.fixture
def deployer(root: Path) -> LocalDeployer:
    return LocalDeployer(root)


@pytest.fixture
def database(tmp_path: Path, made_database: Path) -> Path:
    database = tmp_path / "registry" / "registry.db"
    database.parent.mkdir()
    database.write_bytes(made_database.read_bytes())
    return database


@pytest.fixture
def registry(database: Path) -> MlflowRegistry:
    return MlflowRegistry(database)


@pytest.fixture
def register(registry: MlflowRegistry) -> Callable[[Path], Revision]:
    """Register a package as the next version of "sentiment"."""

    def register(package: Path) -> Revision:
        candidate = registry.register_candidate("sentiment", package, {})
        return Revision("sentiment", candidate.version, candidate.digest)

    return register


@pytest.fixture
def damage(deployment: Path) -> Callable[[Revision], None]:
    """Change one byte of a deployed graph, and not of the package that it is a hard link to."""

    def damage(revision: Revision) -> None:
        graph = revision_path(deployment, revision.digest) / "onnx" / "model.onnx"
        content = bytearray(graph.read_bytes())
        content[-1] ^= 1
        graph.unlink()
        graph.write_bytes(content)

    return damage


@pytest.fixture
def replace_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Have another program started where the server would be; gives the file that it writes its process id to.

    It writes it when it calls `ready()`, which is waited for: how long an interpreter takes to start says what else
    this machine does.
    """

    def replace_server(program: str) -> Path:
        pid, script = tmp_path / "pid", tmp_path / "server"
        script.write_text(_SERVER.format(python=sys.executable, pid=str(pid), program=program))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))
        start = subprocess.Popen

        def start_and_wait(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
            process = start(*arguments, **options)
            while not pid.exists() and process.poll() is None:
                time.sleep(0.01)
            return process

        monkeypatch.setattr(subprocess, "Popen", start_and_wait)
        return pid

    return replace_server


@pytest.fixture
def is_alive() -> Callable[[Path], bool]:
    """Whether the process is there whose id stands in a file."""

    def is_alive(pid: Path) -> bool:
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    return is_alive


@pytest.fixture
def revision(package: Path) -> Revision:
    return Revision("sentiment", "1", package_digest(package))
