"""Loaded models, the most recently used ones, and their loading off the event loop."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from tunelane_serving.engine.calls import attempt
from tunelane_serving.models.model import Model
from tunelane_serving.problems import NotReady

_log = logging.getLogger(__name__)

# Two, so that a package that loads for a minute does not hold up a small one; no more, since each takes a core.
_LOADERS = 2
_STOPPING = "the server is stopping and loads no more models; ask another instance or try again"

_Load = tuple[str, Callable[[], Model], "Future[Model]"]


class ModelCache:
    """Keeps the models used last, by package digest, bounded by number and by bytes. Safe to use from any thread.

    A model larger than `max_bytes` is kept, but then alone. Eviction drops this cache's reference: requests in flight
    keep theirs until they are answered.

    Args:
        max_models: models kept.
        max_bytes: their `size_bytes` together.
        on_load: called by the loading thread with digest, seconds and whether the load succeeded.
    """

    def __init__(
        self,
        *,
        max_models: int = 10,
        max_bytes: int = 4 << 30,
        on_load: Callable[[str, float, bool], None] | None = None,
    ) -> None:
        if max_models < 1:
            raise ValueError("max_models: at least 1")
        self.on_load = on_load
        self._max_models = max_models
        self._max_bytes = max_bytes
        # Guards the rest. Reentrant, since dropping a model runs whatever its destructor runs.
        self._lock = threading.RLock()
        self._models: OrderedDict[str, Model] = OrderedDict()
        # These futures belong to no event loop, so callers in several can wait for one load.
        self._loading: dict[str, Future[Model]] = {}
        self._asked: queue.SimpleQueue[_Load | None] = queue.SimpleQueue()
        self._loaders: list[threading.Thread] = []
        self._closed = False

    async def get(self, digest: str, load: Callable[[], Model]) -> Model:
        """Give the model of `digest`, loaded by `load` in a thread if it is not there.

        However many callers wait, `load` runs once. One that is cancelled cancels it for nobody. A load that fails is
        not remembered: the next caller tries anew.

        Raises:
            NotReady: the cache is closed.
            Exception: what `load` raised; every waiting caller gets it.
        """
        with self._lock:
            model = self._models.get(digest)
            if model is not None:
                self._models.move_to_end(digest)
                return model
            future = self._loading.get(digest) or self._start(digest, load)
        return await asyncio.wrap_future(future)

    def loaded(self) -> list[Model]:
        """The models kept, the most recently used one last."""
        with self._lock:
            return list(self._models.values())

    def evict(self, digest: str) -> None:
        """Forget a model. One that is being loaded is not stopped."""
        with self._lock:
            self._models.pop(digest, None)

    def close(self, *, timeout_s: float = 1.0) -> bool:
        """Load no more; True when no load is under way after `timeout_s`. Loaded models stay."""
        with self._lock:
            self._closed = True
            loaders = list(self._loaders)
        with contextlib.suppress(queue.Empty):
            while True:
                self._refuse(self._asked.get_nowait())
        for _ in loaders:
            self._asked.put(None)
        deadline_s = time.monotonic() + timeout_s
        for loader in loaders:
            loader.join(max(0.0, deadline_s - time.monotonic()))
        return not any(loader.is_alive() for loader in loaders)

    def _start(self, digest: str, load: Callable[[], Model]) -> "Future[Model]":
        if self._closed:
            raise NotReady(_STOPPING, retry_after_s=1.0)
        future: Future[Model] = Future()
        # From here on a caller that is cancelled cannot cancel it.
        future.set_running_or_notify_cancel()
        self._loading[digest] = future
        self._asked.put((digest, load, future))
        if len(self._loaders) < min(_LOADERS, len(self._loading)):
            # A daemon, so that a load that hangs never holds up the end of the process.
            loader = threading.Thread(target=self._work, name=f"model-loader-{len(self._loaders)}", daemon=True)
            self._loaders.append(loader)
            loader.start()
        return future

    def _refuse(self, asked: _Load | None) -> None:
        if asked is not None:
            digest, _, future = asked
            with self._lock:
                del self._loading[digest]
            future.set_exception(NotReady(_STOPPING, retry_after_s=1.0))

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            self._load(*asked)
            # An idle loader must not keep what was evicted.
            del asked

    def _load(self, digest: str, load: Callable[[], Model], future: "Future[Model]") -> None:
        began_s = time.monotonic()
        loaded = attempt(load)
        seconds = time.monotonic() - began_s
        with self._lock:
            del self._loading[digest]
            if not isinstance(loaded, Exception):
                self._keep(digest, loaded)
        if self.on_load is not None:
            failure = attempt(self.on_load, digest, seconds, not isinstance(loaded, Exception))
            if failure is not None:
                _log.error("counting a load failed", exc_info=failure)
        # Last: who gets the model finds it in `loaded()`, and the load counted.
        if isinstance(loaded, Exception):
            future.set_exception(loaded)
        else:
            future.set_result(loaded)

    def _keep(self, digest: str, model: Model) -> None:
        self._models[digest] = model
        while len(self._models) > 1 and (
            len(self._models) > self._max_models
            or sum(kept.size_bytes for kept in self._models.values()) > self._max_bytes
        ):
            self._models.popitem(last=False)
