"""Old events go, whatever happens."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tunelane_serving.database.database import Database
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring.event_pages import events
from tunelane_serving.monitoring.storing import store_events
from tunelane_serving.server import retention as module
from tunelane_serving.server.retention import Retention


class _Failing(Database):
    """Fails, where asked to, as no database should."""

    fails = False

    @contextmanager
    def transaction(self, **options: Any) -> Iterator[Connection]:
        if self.fails:
            raise RuntimeError("of no known kind")
        with super().transaction(**options) as connection:
            yield connection


def _event(id_: str, time_s: float) -> InferenceEvent:
    return InferenceEvent(id_, time_s, "reviews", "1", "d" * 64, "onnx", "text", "ok", 1.0)


def _until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def test_what_is_older_than_the_days_that_are_kept_goes(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'tunelane.db'}")) as database:
        now_s = time.time()
        store_events(database, [_event("old", now_s - 3 * 86400), _event("new", now_s - 86400)])
        Retention(database, keep_days=2).delete()
        assert [event.id for event in events(database)[0]] == ["new"]


def test_a_failure_of_any_kind_is_logged_and_the_next_time_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_FIRST_AFTER_S", 0.01)
    monkeypatch.setattr(module, "_PERIOD_S", 0.01)
    with closing(_Failing(f"sqlite:///{tmp_path / 'tunelane.db'}")) as database:
        store_events(database, [_event("old", 0.0)])
        database.fails = True
        retention = Retention(database, keep_days=1)
        retention.start()
        _until(lambda: "old events were not deleted: of no known kind" in caplog.text)
        database.fails = False
        _until(lambda: not events(database)[0])
        retention.stop()
        _until(lambda: not any(thread.name == "retention" for thread in threading.enumerate()))
