"""Which model a request means, and what is kept of those that were asked for by name."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tunelane_serving.engine.engine import InferenceEngine
from tunelane_serving.engine.model_cache import ModelCache
from tunelane_serving.engine.scheduler import Scheduler
from tunelane_serving.errors import DigestMismatch, TunelaneError
from tunelane_serving.package import package_digest
from tunelane_serving.problems import NotReady
from tunelane_serving.server.catalog import Catalog
from tunelane_serving.server.champion import DeployedChampion, NoChampion


class Stored:
    """A version of a repository, as far as the catalog looks at it."""

    version = "1"

    def __init__(self, model_id: str, digest: str) -> None:
        self.model_id = model_id
        self.digest = digest


class Repository:
    """A repository whose packages lie where a test puts them; `fetch` may fail, or take its time."""

    def __init__(self, packages: dict[str, Path]) -> None:
        self.fetch: Callable[[], object] = lambda: None
        self._packages = packages

    def remembered(self, model_id: str, _: str | None) -> Stored:
        return Stored(model_id, package_digest(self._packages[model_id]))

    def package(self, digest: str) -> Path:
        self.fetch()
        return next(path for path in self._packages.values() if package_digest(path) == digest)


@pytest.fixture
def repository(tiny_package: Callable[..., Path], tmp_path: Path) -> Repository:
    return Repository(
        {name: tiny_package(tmp_path / name, bias=(bias, 0.0)) for name, bias in (("a", 0.0), ("b", 1.0))}
    )


@pytest.fixture
def make_catalog(repository: Any) -> Iterator[Callable[..., Catalog]]:
    """Make a catalog that keeps one model in memory."""
    engines: list[InferenceEngine] = []

    def make(**options: float) -> Catalog:
        engines.append(InferenceEngine(Scheduler(workers=1), ModelCache(max_models=1)))
        return Catalog(NoChampion(), engines[-1], repository, **options)

    yield make
    for engine in engines:
        engine.close()


def test_a_model_that_was_evicted_is_freed_once_another_is_asked_for(
    make_catalog: Callable[..., Catalog],
) -> None:
    catalog = make_catalog()

    async def ask() -> weakref.ref[Any]:
        evicted = weakref.ref((await catalog.find("a", None)).model)
        assert (await catalog.find("b", None)).name == "b"
        return evicted

    evicted = asyncio.run(ask())
    # The thread that loaded it may take a moment to let go.
    end_s = time.monotonic() + 20
    while evicted() is not None and time.monotonic() < end_s:
        gc.collect()
        time.sleep(0.01)
    assert evicted() is None


def test_a_request_does_not_wait_longer_for_a_load_which_goes_on(
    make_catalog: Callable[..., Catalog], repository: Repository
) -> None:
    may_go_on = threading.Event()
    repository.fetch = lambda: may_go_on.wait(20)
    catalog = make_catalog(load_timeout_s=0.05)

    async def ask() -> str:
        with pytest.raises(NotReady, match="a 1 is still being loaded") as caught:
            await catalog.find("a", None)
        assert caught.value.retry_after_s
        may_go_on.set()
        while True:
            with suppress(NotReady):
                return (await catalog.find("a", None)).name

    assert asyncio.run(ask()) == "a"


def test_only_who_waits_for_a_first_revision_is_told_to_ask_again_without_a_name(
    make_catalog: Callable[..., Catalog], tmp_path: Path
) -> None:
    catalog = make_catalog()
    for source, comes_back in ((NoChampion(), False), (DeployedChampion(tmp_path), True)):
        catalog._source = source
        with pytest.raises(NotReady, match="give a modelId") as caught:
            asyncio.run(catalog.find(None, None))
        assert (caught.value.retry_after_s is not None) is comes_back


@pytest.mark.parametrize(
    ("error", "comes_back"),
    [(TunelaneError("Cannot reach gs://b"), True), (DigestMismatch("a: another digest"), False)],
    ids=["bucket", "package"],
)
def test_what_cannot_be_loaded_says_when_to_ask_again_where_that_may_help(
    make_catalog: Callable[..., Catalog], repository: Repository, error: TunelaneError, comes_back: bool
) -> None:
    def fail() -> None:
        raise error

    repository.fetch = fail
    with pytest.raises(NotReady, match=f"a 1 cannot be loaded: {error}") as caught:
        asyncio.run(make_catalog().find("a", None))
    assert (caught.value.retry_after_s is not None) is comes_back
