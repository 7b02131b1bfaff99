"""The real server on a package that is to be deployed, for as long as a smoke test takes."""

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelane_components.deploy.interface import SmokeReport, SmokeTestFailed
from tunelane_components.deploy.smoke import ask_goldens
from tunelane_serving.errors import ContractError
from tunelane_serving.package import read_manifest

_LISTENING = re.compile(rb"listening on (http://\S+)\n")
# The server finishes the requests it has before it ends.
_STOP_TIMEOUT_S = 8.0


def try_package(package: Path, digest: str, *, timeout_s: float) -> SmokeReport:
    """Start the server on a package and ask it for the package's golden rows; it is gone afterwards.

    Args:
        package: the directory.
        digest: which package it must be.
        timeout_s: how long that may take, the server's start included.

    Raises:
        SmokeTestFailed: the server does not start in time, or does not answer as the package says it must.
    """
    deadline_s = time.monotonic() + timeout_s
    try:
        manifest = read_manifest(package, expected_digest=digest)
    except ContractError as error:
        raise SmokeTestFailed(f"The deployed revision is broken: {error}") from error
    with tempfile.TemporaryFile() as log:
        try:
            with running_server(package, digest, log.fileno(), deadline_s) as url:
                return ask_goldens(url, manifest, digest, deadline_s=deadline_s)
        except SmokeTestFailed as error:
            last_words = _last_line(log.fileno())
            raise SmokeTestFailed(f"{error} The server said: {last_words}" if last_words else str(error)) from error


@contextmanager
def running_server(package: Path, digest: str, log: int, deadline_s: float) -> Iterator[str]:
    """Run the server on `package`; gives its URL. Its stderr goes to the file descriptor `log`."""
    command = [sys.executable, "-m", "tunelane_serving.server"]
    # Serverless: what the smoke test asks is kept nowhere.
    arguments = ["--package", str(package), "--expected-digest", digest, "--port", "0", "--mode", "serverless"]
    # In the parent's process group: what kills a run's group takes the server along.
    process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours
        [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
    )
    with process:
        try:
            yield _address(process, deadline_s)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[bytes], deadline_s: float) -> str:
    """Wait for the line in which the server says where it listens."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    said = b""
    while not (found := _LISTENING.search(said)):
        waited_out = not select.select([process.stdout], [], [], max(deadline_s - time.monotonic(), 0))[0]
        if waited_out:
            raise SmokeTestFailed("The server was not ready in time.")
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            raise SmokeTestFailed("The server did not start.")
        said += chunk
    return found.group(1).decode()


def _last_line(log: int) -> str:
    content = os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace").strip()
    return content.rpartition("\n")[2]
