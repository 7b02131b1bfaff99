"""Opening what serves: in a thread of its own, while the rest of the server is imported and put together."""

import logging
import re
import threading
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

from tunelane_serving.contract import decode
from tunelane_serving.errors import ContractError, InputError, TunelaneError
from tunelane_serving.server.champion import ChampionSource, DeployedChampion, FixedChampion, NoChampion, RulesChampion
from tunelane_serving.server.metrics import ServerMetrics
from tunelane_serving.server.options import Options
from tunelane_serving.taxonomy import Taxonomy

_log = logging.getLogger(__name__)


_THREAD = "opening"


def is_loading() -> bool:
    """Say whether a model source is being opened right now."""
    return any(thread.name == _THREAD for thread in threading.enumerate())


class Opening:
    """The model source being opened. Digests and sessions are made without the GIL, so this costs a start no time."""

    def __init__(self, options: Options) -> None:
        """Begin; `metrics` count the loads."""
        self.metrics = ServerMetrics()
        self._opened: Future[ChampionSource] = Future()
        # A daemon: a load never holds up the end of the process.
        threading.Thread(target=self._open, args=(options,), name=_THREAD, daemon=True).start()

    def result(self) -> ChampionSource:
        """Wait for the source.

        Raises:
            InputError: an option names what cannot be used.
            ContractError: the model cannot be loaded, and there is no fallback.
        """
        return self._opened.result()

    def _open(self, options: Options) -> None:
        try:
            self._opened.set_result(_source(options, self.metrics))
        except BaseException as error:
            self._opened.set_exception(error)


def _source(options: Options, metrics: ServerMetrics) -> ChampionSource:
    fallback = _read_taxonomy(options.fallback_taxonomy) if options.fallback_taxonomy is not None else None
    if options.repository:
        return NoChampion()
    if options.deployment is not None:
        follower = DeployedChampion(options.deployment, fallback=fallback, on_load=metrics.count_load)
        follower.poll()
        follower.start()
        return follower
    name = options.name or name_of(options)
    try:
        package = options.package or _ensured(options)
        return FixedChampion(package, expected_digest=options.expected_digest, name=name, on_load=metrics.count_load)
    except TunelaneError as error:
        if fallback is None:
            raise
        return RulesChampion(fallback, name, error)


def name_of(options: Options) -> str:
    """Name the model after the last part of where it comes from, as a request can name it (`wire.ModelId`)."""
    if options.package is not None:
        last = options.package.resolve().name
    else:
        # Without the query: a signed address has its signature there.
        last = urlsplit(str(options.model)).path.rstrip("/").rpartition("/")[2]
        last = re.sub(r"(\.tar|\.tar\.gz|\.tgz|\.zip)$", "", last)
    usable = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-")
    return usable.lstrip("._-")[:128] or "model"


def _ensured(options: Options) -> Path:
    from tunelane_serving.fetching.ensure import ensure_model

    return ensure_model(str(options.model), options.expected_digest, options.home, say=_log.info)


def _read_taxonomy(path: Path) -> Taxonomy:
    try:
        return decode(path.read_bytes(), Taxonomy, str(path))
    except (OSError, ContractError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"--fallback-taxonomy {path}: {said}") from error
