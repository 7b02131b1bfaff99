"""What the routes work with: everything that lives as long as the server."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunelane_serving.engine.engine import InferenceEngine
from tunelane_serving.problems import NotKept
from tunelane_serving.server.catalog import Catalog
from tunelane_serving.server.champion import ChampionSource
from tunelane_serving.server.drift_watch import DriftWatch
from tunelane_serving.server.keys import ApiKeys
from tunelane_serving.server.limits import Limits
from tunelane_serving.server.logs import AccessLog
from tunelane_serving.server.metrics import ServerMetrics

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database
    from tunelane_serving.monitoring.recorder import EventRecorder
    from tunelane_serving.repository.repository import ModelRepository


@dataclass(frozen=True)
class Services:
    """Made by the command (or a test), closed by it.

    `database`, `recorder` and `drift_watch` are None where the server keeps nothing: serverless without a database.
    `repository` is None in serverless mode.
    """

    source: ChampionSource
    engine: InferenceEngine
    catalog: Catalog
    limits: Limits
    keys: ApiKeys
    metrics: ServerMetrics
    database: "Database | None" = None
    recorder: "EventRecorder | None" = None
    repository: "ModelRepository | None" = None
    drift_watch: DriftWatch | None = None
    access_log: AccessLog | None = None
    mode: Literal["standalone", "serverless"] = "standalone"
    hash_inputs: bool = False
    allow_saved_models: bool = False
    # A server that has only a repository is ready without a model that serves unasked.
    serves_repository_alone: bool = False


def required_database(services: Services) -> "Database":
    """Give the database; raises NotKept where there is none."""
    if services.database is None:
        raise NotKept("This server has no database, so it keeps no events, feedback or features; pass --database URL")
    return services.database
