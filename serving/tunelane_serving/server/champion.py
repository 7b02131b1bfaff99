"""The one model that serves, and how it is exchanged while requests are in flight."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunelane_serving.classifier import TextClassifier, load_classifier
from tunelane_serving.deployment import ACTIVE, read_active, revision_path
from tunelane_serving.errors import TunelaneError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """A loaded classifier and the names it serves under. Never changed: another version is another Champion."""

    classifier: TextClassifier
    model: str
    model_version: str


class ChampionSource(Protocol):
    """Where requests get their model. `current` is read once a request, so that an answer is wholly of one version."""

    @property
    def current(self) -> Champion | None:
        """The model that serves, or None before the first one."""
        ...

    @property
    def reload_error(self) -> str:
        """Why the newest revision does not serve, or an empty string."""
        ...

    @property
    def loads(self) -> int:
        """How many revisions were taken into service, the first included."""
        ...

    @property
    def load_failures(self) -> int:
        """How many active revisions could not be loaded."""
        ...


class FixedChampion:
    """One immutable package, loaded at once and never exchanged."""

    reload_error = ""
    loads = 1
    load_failures = 0

    def __init__(self, package: Path, *, expected_digest: str | None = None) -> None:
        """Verify and load `package`; raises ContractError or DigestMismatch."""
        self.current = Champion(
            load_classifier(package, expected_digest), model=package.resolve().name, model_version=""
        )
        _log.info("serving %s, %s", self.current.model, self.current.classifier.digest[:12])


class DeployedChampion:
    """The active revision of a local deployment, followed by looking at its `active.json` every `poll_s` seconds.

    A new revision is loaded wholly, verified against the digest in `active.json` and made to answer its golden rows
    before one reference is exchanged. If that fails the old one keeps serving, `reload_error` says why, and the
    revision is not tried again until `active.json` changes.
    """

    def __init__(self, deployment: Path, *, poll_s: float = 0.25) -> None:
        self.current: Champion | None = None
        self.reload_error = ""
        self.loads = 0
        self.load_failures = 0
        self._deployment = deployment
        self._poll_s = poll_s
        self._seen: tuple[int, ...] | None = None
        self._stopped = threading.Event()
        # A daemon, so that a load that takes long never holds up the end of the process.
        self._thread = threading.Thread(target=self._follow, name="deployment", daemon=True)

    def poll(self) -> None:
        """Look at the deployment once, and load what is new there."""
        found = self._signature()
        if found == self._seen:
            return
        # Remembered before reading: if the file changes meanwhile, the next look sees that.
        self._seen = found
        try:
            self._reload()
            self.reload_error = ""
            self.loads += 1
        except (TunelaneError, OSError) as error:
            self.reload_error = str(error)
            self.load_failures += 1
            _log.error("the active revision is not served: %s", error)

    def start(self) -> None:
        """Follow the deployment in a thread of its own."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Stop following; False if a load is still under way after `timeout_s`."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _follow(self) -> None:
        while not self._stopped.wait(self._poll_s):
            self.poll()

    def _signature(self) -> tuple[int, ...] | None:
        try:
            status = (self._deployment / ACTIVE).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _reload(self) -> None:
        active = read_active(self._deployment)
        if active is None:
            raise TunelaneError(f"{self._deployment / ACTIVE} is gone")
        if self.current is not None and self.current.classifier.digest == active.digest:
            classifier = self.current.classifier
        else:
            classifier = load_classifier(revision_path(self._deployment, active.digest), active.digest)
        self.current = Champion(classifier, active.model, active.model_version)
        _log.info("serving %s version %s, %s", active.model, active.model_version, active.digest[:12])
