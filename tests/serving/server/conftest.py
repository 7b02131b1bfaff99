"""Fixtures for the server's tests: local deployments, and servers as processes of their own."""

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tunelane_serving.deployment import ActiveRevision, revision_path, write_active
from tunelane_serving.package import package_digest

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
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Start `tunelane-serve` with the given arguments on a free port and wait until it listens."""
    started: list[ServerProcess] = []

    def start(*arguments: str | Path) -> ServerProcess:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelane_serving.server", *map(str, arguments), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
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
