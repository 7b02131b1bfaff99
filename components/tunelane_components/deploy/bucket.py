"""Deployment in a bucket: what servers on other machines fetch their package from.

It lies as a local deployment does (`tunelane_serving.deployment`):

```
<folder>/<model>/revisions/<digest>/   model packages, each whole and never edited
<folder>/<model>/active.json           the revision that serves
```
"""

import random
import tempfile
import time
from pathlib import Path

from tunelane_components.bucket import BucketFolder
from tunelane_components.bucket_package import check_stored_package, download_package, upload_package
from tunelane_components.deploy.interface import Revision, SmokeReport, SmokeTestFailed
from tunelane_components.deploy.trial import try_package
from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_components.registry.interface import require_model_name
from tunelane_serving.contract import decode, formatted
from tunelane_serving.deployment import ACTIVE, ActiveRevision, revision_path
from tunelane_serving.errors import ContractError, TunelaneError
from tunelane_serving.package import MANIFEST

# Of those that write at once, one succeeds in every round.
_ATTEMPTS = 20
_LONGEST_PAUSE_S = 0.5


class BucketDeployer:
    """An implementation of `Deployer` on a folder in a bucket: the deployment of a model lies at `<folder>/<model>`.

    Confirmed revisions are all kept, to go back to.

    Every method raises InputError for what the user can mend (no such bucket, no right, no credentials), and
    TunelaneError where Cloud Storage does not answer.
    """

    def __init__(self, uri: str, *, smoke_timeout_s: float = 60.0, patience_s: float = STAGE_PATIENCE_S) -> None:
        """Name the folder.

        Args:
            uri: `gs://BUCKET/PATH`.
            smoke_timeout_s: how long a smoke test may take, the server's start included.
            patience_s: how long a call to Cloud Storage is tried again.

        Raises:
            InputError: the URI names no folder in a bucket.
        """
        self._bucket = BucketFolder(uri, patience_s=patience_s)
        self._smoke_timeout_s = smoke_timeout_s

    def deploy(self, revision: Revision, package: Path) -> None:
        """Put the package into the deployment, verified, without traffic. Doing it again changes nothing.

        Raises:
            ContractError: `package` is not a whole package.
            DigestMismatch: it is not the revision's, or a file was changed.
        """
        upload_package(self._bucket, _revision_folder(revision), package, revision.digest)

    def smoke(self, revision: Revision) -> SmokeReport:
        """Fetch the deployed revision, start the real server on it, and ask that for its golden rows.

        Raises:
            SmokeTestFailed: what is deployed is broken, the server does not start in time, or it does not answer as the
                package says it must.
        """
        with tempfile.TemporaryDirectory() as scratch:
            package = Path(scratch) / "package"
            try:
                download_package(self._bucket, _revision_folder(revision), package, revision.digest)
            except ContractError as error:
                raise SmokeTestFailed(f"The deployed revision is broken: {error}") from error
            return try_package(package, revision.digest, timeout_s=self._smoke_timeout_s)

    def confirm(self, revision: Revision) -> None:
        """Make the revision the one that serves: what fetches by `active.json` gets it from now on.

        Written on the condition that nobody wrote since it was read, so that a request which was delayed on its way
        never undoes a later one. https://cloud.google.com/storage/docs/request-preconditions

        Raises:
            ContractError: it is not deployed, or no longer whole.
        """
        check_stored_package(self._bucket, _revision_folder(revision), revision.digest)
        wanted = ActiveRevision(revision.model, revision.model_version, revision.digest)
        name = _active_object(revision.model)
        for attempt in range(_ATTEMPTS):
            found = self._bucket.read(name)
            # Also where it was written before, and the reply was lost.
            if found is not None and found.content == formatted(wanted):
                return
            generation = 0 if found is None else found.generation
            if self._bucket.write(name, formatted(wanted), generation=generation):
                return
            time.sleep(random.uniform(0, min(0.05 * 2**attempt, _LONGEST_PAUSE_S)))  # noqa: S311 - no secret
        raise TunelaneError(
            f"{self._bucket.at(name)}: others wrote it {_ATTEMPTS} times before this run could. Try again when fewer "
            "runs end at once."
        )

    def roll_back(self, revision: Revision) -> None:
        """Take an unconfirmed revision away; the one that serves is left alone, even if it is asked for."""
        active = self.active(revision.model)
        if active is not None and active.digest == revision.digest:
            return
        folder = _revision_folder(revision)
        # The manifest first: without it nobody takes what is left for a package.
        for path in sorted(self._bucket.objects(folder), key=lambda path: (path != MANIFEST, path)):
            self._bucket.delete(f"{folder}/{path}")

    def active(self, model: str) -> ActiveRevision | None:
        """The revision that serves, or None before the first one.

        Raises:
            ContractError: what says so is broken.
        """
        require_model_name(model)
        name = _active_object(model)
        found = self._bucket.read(name)
        return None if found is None else decode(found.content, ActiveRevision, self._bucket.at(name))


def _active_object(model: str) -> str:
    return f"{model}/{ACTIVE}"


def _revision_folder(revision: Revision) -> str:
    """The folder of a revision's package, below the one of all deployments."""
    require_model_name(revision.model)
    return revision_path(Path(revision.model), revision.digest).as_posix()
