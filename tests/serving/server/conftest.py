"""Fixtures for the server: local deployments, applications in this process, servers as processes of their own."""

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tunelane_serving.deployment import ActiveRevision, revision_path, write_active
from tunelane_serving.package import package_digest
from tunelane_serving.server.app import create_app
from tunelane_serving.server.assembly import Assembly, assemble
from tunelane_serving.server.catalog import Catalog
from tunelane_serving.server.options import parse

_START_TIMEOUT_S = 30


@dataclass
class ServerProcess:
    """A running server. `client` speaks to it; `process` has stdout (the rest of it) and stderr as text."""

    process: subprocess.Popen[str]
    url: str
    client: httpx.Client

    def end(self, signal_number: int, timeout_s: float = 8) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(timeout_s)


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Give a client of the real application, made in this process as `tunelane-serve` makes it.

    `make_client("--package", package, …, source=…)`: `source` and other fields of Services take the place of what the
    arguments made. What is kept lies in a directory of the test's own. `client.services` are the running parts.
    """
    made: list[Assembly] = []

    def make(*arguments: str | Path, environment: dict[str, str] | None = None, **replaced: Any) -> TestClient:
        given = list(map(str, arguments))
        if "--home" not in given:
            given += ["--home", str(tmp_path / "home")]
        assembly = assemble(parse(given, {}), environment or {})
        made.append(assembly)
        services = replace(assembly.services, **replaced)
        if "source" in replaced:
            services = replace(services, catalog=Catalog(services.source, services.engine, services.repository))
        client = TestClient(create_app(services), raise_server_exceptions=False)
        client.services = services
        return client

    yield make
    for assembly in made:
        assembly.close()


@pytest.fixture(scope="session")
def api_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write down the key "secret", which may do everything."""
    digest = hashlib.sha256(b"secret").hexdigest()
    rights = ["predict", "feedback", "monitor", "manage"]
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(json.dumps([{"name": "operator", "sha256": digest, "rights": rights}]))
    return path


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """Start `tunelane-serve` with the given arguments on a free port and wait until it listens."""
    started: list[ServerProcess] = []

    def start(*arguments: str | Path, **environment: str) -> ServerProcess:
        given = list(map(str, arguments))
        if "--home" not in given:
            given += ["--home", str(tmp_path_factory.mktemp("home"))]
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelane_serving.server", *given, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": ""} | environment,
        )
        line = _first_line(process)
        if not line.startswith("listening on "):
            process.kill()
            raise AssertionError(f"{line!r} instead of the address; stderr: {process.communicate()[1]}")
        url = line.removeprefix("listening on ").strip()
        server = ServerProcess(process, url, httpx.Client(base_url=url, timeout=20))
        started.append(server)
        return server

    yield start
    for server in started:
        server.client.close()
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.fixture
def deploy() -> Callable[..., str]:
    """Put a package into a local deployment and make it active, as the local deployer does; returns its digest."""

    def deploy(deployment: Path, package: Path, model_version: str, model: str = "sentiment") -> str:
        digest = package_digest(package)
        shutil.copytree(package, revision_path(deployment, digest), dirs_exist_ok=True)
        write_active(deployment, ActiveRevision(model, model_version, digest))
        return digest

    return deploy


def _first_line(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    try:
        return lines.get(timeout=_START_TIMEOUT_S)
    except queue.Empty:
        return ""
