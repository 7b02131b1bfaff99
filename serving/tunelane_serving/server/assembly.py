"""The server's parts, made from its options and put together; and taken apart again in the right order."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunelane_serving.engine.answer_cache import AnswerCache
from tunelane_serving.engine.engine import InferenceEngine
from tunelane_serving.engine.model_cache import ModelCache
from tunelane_serving.engine.scheduler import Scheduler
from tunelane_serving.errors import InputError
from tunelane_serving.server.catalog import Catalog
from tunelane_serving.server.champion import DeployedChampion
from tunelane_serving.server.drift_watch import DriftWatch
from tunelane_serving.server.keys import ApiKeys, read_keys
from tunelane_serving.server.logs import AccessLog
from tunelane_serving.server.opening import Opening
from tunelane_serving.server.options import Options
from tunelane_serving.server.retention import Retention
from tunelane_serving.server.services import Services

if TYPE_CHECKING:
    from tunelane_serving.repository.blobs import Blobs

# With the requests that are finished before, below the 8 s that a process is given to end.
_FINISH_ITEMS_S = 0.5
_FLUSH_EVENTS_S = 2.0
_STOP_LOADING_S = 0.5


@dataclass(frozen=True)
class Assembly:
    """The running parts behind the routes."""

    services: Services
    retention: Retention | None = None

    def close(self) -> bool:
        """Finish what runs, write the events, stop the threads; False if one still runs or loads a model after that."""
        services = self.services
        follower = services.source if isinstance(services.source, DeployedChampion) else None
        if follower is not None:
            # No load begins any more; one under way has until the end of all this.
            follower.stop(timeout_s=0)
        idle = services.engine.close(timeout_s=_FINISH_ITEMS_S)
        if self.retention is not None:
            self.retention.stop()
        if services.drift_watch is not None:
            services.drift_watch.stop()
        if services.recorder is not None:
            services.recorder.close(timeout_s=_FLUSH_EVENTS_S)
        if services.database is not None:
            services.database.close()
        if follower is not None:
            idle = follower.stop(timeout_s=_STOP_LOADING_S) and idle
        return idle


def assemble(options: Options, environment: Mapping[str, str], opening: Opening | None = None) -> Assembly:
    """Make the parts and start their threads.

    Args:
        options: what was asked for.
        environment: variables; the API keys may stand there.
        opening: the model source, where that is being opened already.

    Raises:
        InputError: an option names what cannot be used.
        ContractError: the model cannot be loaded, and there is no fallback.
    """
    opening = opening or Opening(options)
    metrics = opening.metrics
    keys = _keys(options, environment)
    source = opening.result()
    engine = InferenceEngine(
        Scheduler(
            options.workers,
            max_waiting=options.limits.max_waiting,
            max_batch=options.max_batch,
            batch_anyway=options.batch_digests,
            on_batch=metrics.count_batch,
        ),
        ModelCache(
            max_models=options.limits.max_models,
            max_bytes=options.limits.max_model_bytes,
            on_load=metrics.count_load,
        ),
        AnswerCache(options.answer_cache_bytes) if options.answer_cache_bytes else None,
    )
    database = recorder = repository = drift_watch = retention = None
    url = _database_url(options)
    if url is not None:
        from tunelane_serving.database.database import Database
        from tunelane_serving.monitoring.recorder import EventRecorder

        database = Database(url)
        database.check_url()
        recorder = EventRecorder(database, options.home / "journal")
        recorder.start()
        retention = Retention(database, keep_days=options.keep_events_days)
        retention.start()
        drift_watch = DriftWatch(database, source)
        drift_watch.start()
        if options.mode == "standalone":
            from tunelane_serving.repository.repository import ModelRepository

            repository = ModelRepository(database, _blobs(options))
    return Assembly(
        Services(
            source=source,
            engine=engine,
            catalog=Catalog(source, engine, repository, load_timeout_s=options.limits.inference_timeout_s),
            limits=options.limits,
            keys=keys,
            metrics=metrics,
            database=database,
            recorder=recorder,
            repository=repository,
            drift_watch=drift_watch,
            access_log=AccessLog() if options.access_log else None,
            mode=options.mode,
            hash_inputs=options.hash_inputs,
            allow_saved_models=options.allow_saved_models,
            serves_repository_alone=options.repository,
        ),
        retention,
    )


def _database_url(options: Options) -> str | None:
    """Give the database; a standalone server has a SQLite file of its own, a serverless one only what it is given."""
    if options.database is not None:
        return options.database
    if options.mode == "serverless":
        return None
    from tunelane_serving.database.database import sqlite_url

    try:
        return sqlite_url(options.home / "server.sqlite")
    except OSError as error:
        raise InputError(f"Cannot write {options.home}: {error.strerror}; pass another --home") from error


def _blobs(options: Options) -> "Blobs":
    from tunelane_serving.repository.blobs import BucketBlobs, FolderBlobs

    place = options.packages or str(options.home / "packages")
    if place.startswith("gs://"):
        from tunelane_serving.fetching.gs import CloudStorage

        return BucketBlobs(CloudStorage(place), options.home / "packages")
    return FolderBlobs(Path(place))


def _keys(options: Options, environment: Mapping[str, str]) -> ApiKeys:
    if options.api_keys is not None:
        try:
            return read_keys(options.api_keys.read_bytes(), str(options.api_keys))
        except OSError as error:
            raise InputError(f"{options.api_keys}: {error.strerror}; --api-keys names a JSON file") from error
    if content := environment.get("TUNELANE_API_KEYS"):
        return read_keys(content.encode(), "TUNELANE_API_KEYS")
    return ApiKeys()
