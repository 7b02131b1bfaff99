"""The real command, models deployed and registered below a root, and damage to them."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_pipelines.cli import main as cli
from tunelane_serving.deployment import ActiveRevision, revision_path, write_active
from tunelane_serving.package import package_digest, put_package

Tunelane = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without settings."""
    for name in [name for name in os.environ if name.startswith("TUNELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tunelane(place: Path) -> Tunelane:
    """Run the command in a process of its own."""

    def tunelane(*arguments: str, stdin: bytes | str = "") -> "subprocess.CompletedProcess[str]":
        content = stdin.encode() if isinstance(stdin, str) else stdin
        finished = subprocess.run(
            [sys.executable, "-m", "tunelane_pipelines.cli", *arguments],
            input=content, capture_output=True, check=False, cwd=place,
        )  # fmt: skip
        said = (finished.stdout.decode(), finished.stderr.decode())
        assert "Traceback" not in "".join(said), said
        return subprocess.CompletedProcess(finished.args, finished.returncode, *said)

    return tunelane


@pytest.fixture
def here(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """Run the command in this process, where MLflow is loaded once; gives exit code, stdout and stderr."""

    def here(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["tunelane", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return caught.value.code or 0, said.out, said.err

    return here


@pytest.fixture
def refused(tunelane: Tunelane) -> Callable[..., str]:
    """Run the command, which must refuse with exit code 2 and one line; gives the line."""

    def refused(*arguments: str, stdin: bytes | str = "") -> str:
        finished = tunelane(*arguments, stdin=stdin)
        assert (finished.returncode, finished.stdout) == (2, ""), finished.stdout + finished.stderr
        assert len(finished.stderr.splitlines()) == 1, finished.stderr
        return finished.stderr

    return refused


@pytest.fixture
def deploy(place: Path) -> Callable[..., Path]:
    """Make a package the one that serves below `.tunelane`, as the deployer does; gives the revision's directory."""

    def deploy(package: Path, model: str = "tickets", version: str = "1") -> Path:
        deployment = place / ".tunelane" / "deployments" / model
        digest = package_digest(package)
        put_package(package, revision_path(deployment, digest), digest)
        write_active(deployment, ActiveRevision(model, version, digest))
        return revision_path(deployment, digest)

    return deploy


@pytest.fixture
def registry(place: Path, made_database: Path) -> MlflowRegistry:
    """Give the registry below `.tunelane`, with tables and no models."""
    database = place / ".tunelane" / "registry" / "registry.db"
    database.parent.mkdir(parents=True)
    shutil.copyfile(made_database, database)
    return MlflowRegistry(database)


@pytest.fixture
def silent_storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a server in the place of Cloud Storage that takes every connection and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.fixture
def damage() -> Callable[[Path], None]:
    """Change one byte of a package's graph, and not of the file that it is a hard link to."""

    def damage(package: Path) -> None:
        graph = package / "onnx" / "model.onnx"
        content = bytearray(graph.read_bytes())
        content[-1] ^= 1
        graph.unlink()
        graph.write_bytes(content)

    return damage
