"""The one model that serves unasked, and how it is exchanged while requests are in flight."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tunelane_serving.deployment import ACTIVE, read_active, revision_path
from tunelane_serving.engine.calls import attempt
from tunelane_serving.errors import TunelaneError
from tunelane_serving.models.loading import load_model
from tunelane_serving.models.model import Model
from tunelane_serving.models.rules import KeywordClassifier
from tunelane_serving.package import read_manifest
from tunelane_serving.server.served import Served
from tunelane_serving.taxonomy import Taxonomy

_log = logging.getLogger(__name__)

# Told of every load: digest, seconds, whether it went well.
OnLoad = Callable[[str, float, bool], None]


class ChampionSource(Protocol):
    """Where requests get their model. `current` is read once a request, so that an answer is wholly of one version."""

    @property
    def current(self) -> Served | None:
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


class NoChampion:
    """No model of its own: the server answers from its repository alone, by the model that a request names."""

    current = None
    reload_error = ""
    loads = 0
    load_failures = 0


class FixedChampion:
    """One immutable package, loaded at once and never exchanged."""

    reload_error = ""
    loads = 1
    load_failures = 0

    def __init__(
        self,
        package: Path,
        *,
        expected_digest: str | None = None,
        name: str | None = None,
        on_load: OnLoad | None = None,
    ) -> None:
        """Verify and load `package`; raises ContractError or DigestMismatch.

        Args:
            package: the directory.
            expected_digest: refuse any other.
            name: what the model is called in answers; the directory's name where it is not said.
            on_load: told the digest, the seconds and whether it went well.
        """
        model = _load(package, expected_digest, on_load)
        self.current = Served(model, name or package.resolve().name, "")
        _log.info("serving %s, %s", self.current.name, model.digest[:12])


class RulesChampion:
    """Keyword rules in place of a model that could not be loaded."""

    loads = 0
    load_failures = 1

    def __init__(self, taxonomy: Taxonomy, name: str, error: TunelaneError) -> None:
        self.current = Served(_rules(taxonomy, error), name, "")
        self.reload_error = str(error)


class DeployedChampion:
    """The active revision of a local deployment, followed by looking at its `active.json` every `poll_s` seconds.

    A new revision is loaded wholly, verified against the digest in `active.json` and made to answer its golden rows
    before one reference is exchanged. If that fails the old one keeps serving, `reload_error` says why, and the
    revision is not tried again until `active.json` changes. Where there is no old one, keyword rules answer: from the
    taxonomy of the revision, or from `fallback`.
    """

    def __init__(
        self,
        deployment: Path,
        *,
        poll_s: float = 0.25,
        fallback: Taxonomy | None = None,
        on_load: OnLoad | None = None,
    ) -> None:
        self.current: Served | None = None
        self.reload_error = ""
        self.loads = 0
        self.load_failures = 0
        self._deployment = deployment
        self._poll_s = poll_s
        self._fallback = fallback
        self._on_load = on_load
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
            if self.current is None:
                self._fall_back(error)

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
        if self.current is not None and self.current.model.digest == active.digest and not self.current.is_fallback:
            model = self.current.model
        else:
            model = _load(revision_path(self._deployment, active.digest), active.digest, self._on_load)
        self.current = Served(model, active.model, active.model_version)
        _log.info("serving %s version %s, %s", active.model, active.model_version, active.digest[:12])

    def _fall_back(self, error: Exception) -> None:
        """Let keyword rules answer, where the labels are known. The manifest is believed only under its digest."""
        name, version, taxonomy = self._deployment.name, "", self._fallback
        try:
            active = read_active(self._deployment)
            if active is not None:
                name, version = active.model, active.model_version
                package = revision_path(self._deployment, active.digest)
                taxonomy = read_manifest(package, expected_digest=active.digest).taxonomy or taxonomy
        except (TunelaneError, OSError):
            _log.info("the active revision's labels cannot be read either")
        if taxonomy is not None:
            self.current = Served(_rules(taxonomy, error), name, version)


def _load(package: Path, digest: str | None, on_load: OnLoad | None) -> Model:
    started_s = time.perf_counter()
    # A panic in a tokenizer, which is no Exception, must not end the thread that follows a deployment.
    model = attempt(load_model, package, digest)
    if on_load is not None:
        on_load(digest or "", time.perf_counter() - started_s, not isinstance(model, Exception))
    if isinstance(model, Exception):
        raise model
    return model


def _rules(taxonomy: Taxonomy, error: Exception) -> KeywordClassifier:
    _log.error("keyword rules answer: %s", error)
    return KeywordClassifier(taxonomy, reason=f"keyword rules answer, no model could be loaded: {error}")
