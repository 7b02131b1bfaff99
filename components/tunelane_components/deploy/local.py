"""Deployment on this machine: a directory that a running server follows."""

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelane_components.deploy.interface import Revision, SmokeReport, SmokeTestFailed
from tunelane_components.deploy.smoke import ask_goldens
from tunelane_components.registry.interface import require_model_name
from tunelane_serving.deployment import ActiveRevision, read_active, revision_path, write_active
from tunelane_serving.errors import ContractError
from tunelane_serving.files import locked
from tunelane_serving.package import put_package, read_manifest, verify

_LISTENING = re.compile(rb"listening on (http://\S+)\n")
# The server finishes the requests it has before it ends.
_STOP_TIMEOUT_S = 8.0


class LocalDeployer:
    """An implementation of `Deployer` on directories: the deployment of a model lies at `<root>/<model>`.

    Confirmed revisions are all kept, to go back to: as hard links to the registry's packages they take no room.
    """

    def __init__(self, root: Path, *, smoke_timeout_s: float = 60.0) -> None:
        """Name the directory of deployments, and how long a smoke test may take, the server's start included."""
        self._root = root
        self._smoke_timeout_s = smoke_timeout_s

    def deploy(self, revision: Revision, package: Path) -> None:
        """Put the package into the deployment, verified, without traffic. Doing it again changes nothing.

        Raises:
            InputError: the model's name or the directory cannot be used.
            ContractError: `package` is not a whole package.
            DigestMismatch: it is not the revision's, or a file was changed.
        """
        with self._turn(revision) as deployment:
            put_package(package, revision_path(deployment, revision.digest), revision.digest)

    def smoke(self, revision: Revision) -> SmokeReport:
        """Start the real server on the deployed revision, and ask it for its golden rows; it is gone afterwards.

        Raises:
            SmokeTestFailed: the server does not start in time, or does not answer as the package says it must.
        """
        package = revision_path(self._deployment(revision), revision.digest)
        deadline_s = time.monotonic() + self._smoke_timeout_s
        try:
            manifest = read_manifest(package, expected_digest=revision.digest)
        except ContractError as error:
            raise SmokeTestFailed(f"The deployed revision is broken: {error}") from error
        with tempfile.TemporaryFile() as log:
            try:
                with running_server(package, revision.digest, log.fileno(), deadline_s) as url:
                    return ask_goldens(url, manifest, revision.digest, deadline_s=deadline_s)
            except SmokeTestFailed as error:
                last_words = _last_line(log.fileno())
                raise SmokeTestFailed(f"{error} The server said: {last_words}" if last_words else str(error)) from error

    def confirm(self, revision: Revision) -> None:
        """Make the revision the one that serves; a server that follows the deployment takes it up.

        Raises:
            ContractError: it is not deployed, or no longer whole.
        """
        with self._turn(revision) as deployment:
            verify(revision_path(deployment, revision.digest), expected_digest=revision.digest)
            write_active(deployment, ActiveRevision(revision.model, revision.model_version, revision.digest))

    def roll_back(self, revision: Revision) -> None:
        """Take an unconfirmed revision away; the one that serves is left alone, even if it is asked for."""
        with self._turn(revision) as deployment:
            active = read_active(deployment)
            package = revision_path(deployment, revision.digest)
            if package.is_dir() and (active is None or active.digest != revision.digest):
                shutil.rmtree(package)

    def _deployment(self, revision: Revision) -> Path:
        require_model_name(revision.model)
        return self._root / revision.model

    @contextmanager
    def _turn(self, revision: Revision) -> Iterator[Path]:
        """Give the deployment's directory while no other run changes it: two can bring the same digest at once."""
        deployment = self._deployment(revision)
        with locked(deployment / ".lock"):
            yield deployment


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
