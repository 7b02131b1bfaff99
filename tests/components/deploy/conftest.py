"""Packages, a deployment and a registry of its own for every test."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_components.deploy.interface import Revision
from tunelane_components.deploy.local import LocalDeployer
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.deployment import revision_path
from tunelane_serving.package import package_digest


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
    """Have another program started where the server would be; it writes its process id to the file that is given."""

    def replace_server(program: str) -> Path:
        pid, script = tmp_path / "pid", tmp_path / "server"
        script.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n")
        with script.open("a") as stream:
            stream.write(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n{program}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))
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
