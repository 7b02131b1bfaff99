"""Deployment on this machine: a directory that a running server follows."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelane_components.deploy.interface import Revision, SmokeReport
from tunelane_components.deploy.trial import try_package
from tunelane_components.registry.interface import require_model_name
from tunelane_serving.deployment import ActiveRevision, read_active, revision_path, write_active
from tunelane_serving.files import locked
from tunelane_serving.package import put_package, verify


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
        package = revision_path(self._deployment(revision.model), revision.digest)
        return try_package(package, revision.digest, timeout_s=self._smoke_timeout_s)

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

    def active(self, model: str) -> ActiveRevision | None:
        """The revision that serves, or None before the first one.

        Raises:
            InputError: the model's name cannot be used.
            ContractError: what says so is broken.
        """
        return read_active(self._deployment(model))

    def _deployment(self, model: str) -> Path:
        require_model_name(model)
        return self._root / model

    @contextmanager
    def _turn(self, revision: Revision) -> Iterator[Path]:
        """Give the deployment's directory while no other run changes it: two can bring the same digest at once."""
        deployment = self._deployment(revision.model)
        with locked(deployment / ".lock"):
            yield deployment
