"""What the monitoring's tests share: a database on both dialects, and events to put into it."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tunelane_serving.database.database import Database
from tunelane_serving.events import InferenceEvent


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give an empty database, on SQLite and on PostgreSQL."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def make_event() -> Callable[..., InferenceEvent]:
    """Give a factory of events; what is not named has a plain value."""

    def make(**changes: Any) -> InferenceEvent:
        plain: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "time": 1000.0,
            "model": "emotions",
            "model_version": "1",
            "digest": "d" * 64,
            "framework": "onnx",
            "input": "a good film",
            "status": "ok",
            "latency_ms": 2.5,
        }
        return InferenceEvent(**plain | changes)

    return make
