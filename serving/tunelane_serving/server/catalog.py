"""Which loaded model a request means: the one that serves, or one of the repository."""

import asyncio
from typing import TYPE_CHECKING

from tunelane_serving.engine.engine import InferenceEngine
from tunelane_serving.errors import ContractError, InputError, TunelaneError
from tunelane_serving.models.loading import load_model
from tunelane_serving.problems import NotFound, NotReady, Problem
from tunelane_serving.server.champion import ChampionSource, NoChampion
from tunelane_serving.server.served import Served

if TYPE_CHECKING:
    from tunelane_serving.repository.repository import ModelRepository

# Until a place that did not answer is asked again, or a load that takes long may have ended.
LOAD_AGAIN_S = 5.0


class Catalog:
    """The models by name: the one that serves, and those of the repository, loaded when they are first asked for."""

    def __init__(
        self,
        source: ChampionSource,
        engine: InferenceEngine,
        repository: "ModelRepository | None" = None,
        *,
        load_timeout_s: float = 30.0,
    ) -> None:
        """Name the parts, and how long a request waits for a model to be loaded; the load goes on after that."""
        self._load_timeout_s = load_timeout_s
        self._source = source
        self._engine = engine
        self._repository = repository
        # By digest: what was asked for by name, under the name that it was last asked for.
        self._named: dict[str, Served] = {}

    def serving(self, model_id: str | None, version: str | None) -> Served | None:
        """Give the model that serves, where a request means that one; None where it does not, or there is none."""
        champion = self._source.current
        if champion is None or (model_id is None and version is not None):
            return None
        is_meant = model_id in (None, champion.name) and version in (None, champion.version)
        return champion if is_meant else None

    async def find(self, model_id: str | None, version: str | None) -> Served:
        """Give the model that a request names, loaded; without a name the one that serves.

        A name that the serving model has means that one, unless a version is named that it does not have.

        Raises:
            NotReady: no model is loaded yet, or what is stored cannot be loaded, or not in time.
            NotFound: there is no such model or version.
            DatabaseAway: what is stored cannot be looked up.
        """
        serving = self.serving(model_id, version)
        if serving is not None:
            return serving
        if model_id is None:
            if version is not None:
                raise NotFound("A version alone names no model; give modelId, too")
            # A server of its repository alone will never have one.
            retry_after_s = None if isinstance(self._source, NoChampion) else 1.0
            message = "No model serves unasked; give a modelId, or see why in GET /health"
            raise NotReady(message, retry_after_s=retry_after_s)
        repository = self._repository
        if repository is None:
            champion = self._source.current
            wanted, instead = _called(model_id, version), ""
            if champion is not None:
                instead = f"; {_called(champion.name, champion.version)} serves"
            raise NotFound(f"There is no model {wanted} here, and this server has no repository{instead}")
        stored = repository.remembered(model_id, version)
        if stored is None:
            stored = await asyncio.to_thread(repository.resolve, model_id, version)
        digest = stored.digest
        try:
            async with asyncio.timeout(self._load_timeout_s):
                model = await self._engine.load(digest, lambda: load_model(repository.package(digest), digest))
        except TimeoutError as error:
            message = f"{stored.model_id} {stored.version} is still being loaded; ask again"
            raise NotReady(message, retry_after_s=LOAD_AGAIN_S) from error
        except Problem:
            raise
        except TunelaneError as error:
            # A package that cannot be used stays so; a bucket that does not answer may do so later.
            retry_after_s = None if isinstance(error, ContractError | InputError) else LOAD_AGAIN_S
            message = f"{stored.model_id} {stored.version} cannot be loaded: {error}"
            raise NotReady(message, retry_after_s=retry_after_s) from error
        served = self._named.get(digest)
        if served is None or (served.model, served.name, served.version) != (model, stored.model_id, stored.version):
            self._forget_evicted()
            served = self._named[digest] = Served(model, stored.model_id, stored.version)
        return served

    def loaded(self) -> list[Served]:
        """List the models in memory that were asked for by name."""
        self._forget_evicted()
        return list(self._named.values())

    def _forget_evicted(self) -> None:
        """Let go of the models that the cache has let go of."""
        in_memory = {model.digest for model in self._engine.models.loaded()}
        self._named = {digest: served for digest, served in self._named.items() if digest in in_memory}


def _called(name: str, version: str | None) -> str:
    """Name a model for a person."""
    return f"{name!r} version {version!r}" if version else repr(name)
