import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from tunelane_serving.database.database import Database
from tunelane_serving.database.tables import events as table
from tunelane_serving.errors import InputError
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring import recorder as recorder_module
from tunelane_serving.monitoring.deleting import delete_events_before
from tunelane_serving.monitoring.journal import Journal
from tunelane_serving.monitoring.recorder import EventRecorder
from tunelane_serving.monitoring.storing import store_events
from tunelane_serving.problems import DatabaseAway

EventFactory = Callable[..., InferenceEvent]
RecorderFactory = Callable[..., EventRecorder]


class Unsteady(Database):
    """A database that goes away and comes back, or hangs, as the test says."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.away = False
        self.hanging = threading.Event()
        self.answering = threading.Event()
        self.answering.set()

    @contextmanager
    def transaction(self, **options: Any) -> Iterator[Connection]:
        if not self.answering.is_set():
            self.hanging.set()
            self.answering.wait(60)
        if self.away:
            raise DatabaseAway("The database does not answer: it is away")
        with super().transaction(**options) as connection:
            yield connection


@pytest.fixture
def unsteady(database_url: str) -> Iterator[Unsteady]:
    database = Unsteady(database_url)
    yield database
    database.answering.set()
    database.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecorderFactory]:
    """Give a factory of started recorders that hurry, all with one journal's directory."""
    for name in ("_START_DELAY_S", "_FIRST_EVENT_DELAY_S", "_GATHER_S", "_MIN_BACKOFF_S", "_MAX_BACKOFF_S"):
        monkeypatch.setattr(recorder_module, name, 0.01)
    started: list[EventRecorder] = []

    def make(database: Database, **options: Any) -> EventRecorder:
        recorder = EventRecorder(database, tmp_path / "journal", **options)
        recorder.start()
        started.append(recorder)
        return recorder

    yield make
    for recorder in started:
        recorder.close(timeout_s=5)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it does not happen"
        time.sleep(0.005)


def stored_ids(database: Database) -> list[str]:
    """Ids in the order in which they were written, which both dialects keep for rows that are never updated."""
    place = text("rowid") if database.url.startswith("sqlite") else text("ctid")
    with database.transaction() as connection:
        return list(connection.execute(select(table.c.id).order_by(place)).scalars())


def test_recorded_events_are_soon_in_the_database(
    database: Database, start: RecorderFactory, make_event: EventFactory
) -> None:
    recorder = start(database)
    for number in range(1200):
        recorder.record(make_event(id=str(number)))
    wait_until(lambda: not recorder.waiting)
    assert stored_ids(database) == [str(number) for number in range(1200)]
    assert (recorder.in_journal, recorder.dropped, recorder.database_away) == (0, 0, False)


def test_an_event_is_stored_as_it_was(database: Database, start: RecorderFactory, make_event: EventFactory) -> None:
    recorder = start(database)
    recorder.record(
        make_event(
            id="1",
            time=1234.5,
            input="Grüße 😀",
            prediction=("joy", 'so "called"'),
            scores=(0.125, 0.875),
            confidence=0.875,
            length_tokens=7,
            oov_share=0.5,
            request_id="r",
            user_id="u",
            session_id="s",
        )
    )
    recorder.record(make_event(id="2", status="error", error="the graph gave scores that are not finite"))
    recorder.close(timeout_s=30)
    with database.transaction() as connection:
        good, failed = (row._asdict() for row in connection.execute(select(table).order_by(table.c.id)))
    assert good == {
        "id": "1",
        "time": 1234.5,
        "model": "emotions",
        "model_version": "1",
        "digest": "d" * 64,
        "framework": "onnx",
        "status": "ok",
        "latency_ms": 2.5,
        "input": "Grüße 😀",
        "input_hashed": False,
        "label": "joy",
        "prediction": '["joy","so \\"called\\""]',
        "scores": "[0.125,0.875]",
        "confidence": 0.875,
        "length_tokens": 7,
        "oov_share": 0.5,
        "error": "",
        "request_id": "r",
        "user_id": "u",
        "session_id": "s",
    }
    assert failed["status"] == "error"
    assert failed["error"] == "the graph gave scores that are not finite"
    assert (failed["label"], failed["prediction"], failed["confidence"]) == ("", "[]", None)


def test_an_event_is_stored_once_however_often_it_comes(
    database: Database, start: RecorderFactory, make_event: EventFactory
) -> None:
    recorder = start(database)
    for name in ("1", "2", "1", "1"):
        recorder.record(make_event(id=name))
    wait_until(lambda: not recorder.waiting)
    recorder.record(make_event(id="2"))
    recorder.close(timeout_s=30)
    assert stored_ids(database) == ["1", "2"]
    assert recorder.dropped == 0


def test_while_the_database_is_away_events_wait_in_the_journal_and_follow_in_order(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory, tmp_path: Path
) -> None:
    unsteady.away = True
    recorder = start(unsteady)
    for number in range(700):
        recorder.record(make_event(id=str(number)))
    wait_until(lambda: recorder.in_journal == 700 and not recorder.waiting and recorder.database_away)
    unsteady.away = False
    for number in range(700, 1400):
        recorder.record(make_event(id=str(number)))
    wait_until(lambda: not recorder.waiting and not recorder.in_journal and not recorder.database_away)
    assert stored_ids(unsteady) == [str(number) for number in range(1400)]
    assert list((tmp_path / "journal").iterdir()) == []
    assert recorder.dropped == 0


def test_a_server_that_crashes_and_returns_gets_every_event(
    postgres_server: Any, postgres_database_url: str, start: RecorderFactory, make_event: EventFactory
) -> None:
    database = Database(postgres_database_url)
    recorder = start(database)
    recorder.record(make_event(id="before"))
    wait_until(lambda: not recorder.waiting)
    # A crash of the server may take commits that are not durable, but none from before a durable one.
    with database.transaction() as connection:
        connection.execute(text("CREATE TABLE flushed (number int)"))
    postgres_server.stop()
    try:
        recorder.record(make_event(id="meanwhile"))
        wait_until(lambda: recorder.in_journal == 1 and recorder.database_away)
    finally:
        postgres_server.start()
    recorder.record(make_event(id="after"))
    wait_until(lambda: not recorder.waiting and not recorder.in_journal)
    assert stored_ids(database) == ["before", "meanwhile", "after"]
    database.close()


def test_a_database_that_cannot_be_used_fills_the_journal(
    tmp_path: Path, start: RecorderFactory, make_event: EventFactory, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = start(Database(f"sqlite:///{tmp_path}/none/tunelane.db"))
    recorder.record(make_event())
    wait_until(lambda: recorder.in_journal == 1 and recorder.database_away and bool(caplog.records))
    recorder.close(timeout_s=30)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is None


def test_a_full_queue_drops_the_newest_and_counts_them(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory
) -> None:
    unsteady.answering.clear()
    recorder = start(unsteady, max_waiting=3)
    recorder.record(make_event(id="0"))
    unsteady.hanging.wait(30)
    for number in range(1, 10):
        recorder.record(make_event(id=str(number)))
    assert recorder.waiting == 4
    assert recorder.dropped == 6
    unsteady.answering.set()
    wait_until(lambda: not recorder.waiting)
    assert stored_ids(unsteady) == ["0", "1", "2", "3"]


def test_beyond_a_full_journal_events_wait_in_memory_and_then_the_newest_are_dropped(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory
) -> None:
    unsteady.away = True
    recorder = start(unsteady, max_waiting=3, max_journal_bytes=450)
    recorder.record(make_event(id="00"))
    wait_until(lambda: recorder.in_journal == 1)
    for number in range(1, 20):
        recorder.record(make_event(id=f"{number:02}"))
    assert recorder.dropped
    # Not at once: for a moment an event may stand in neither of the two that are counted one after the other.
    wait_until(lambda: recorder.in_journal + recorder.waiting >= 4)
    unsteady.away = False
    wait_until(lambda: not recorder.waiting and not recorder.in_journal)
    stored = stored_ids(unsteady)
    assert stored[:4] == ["00", "01", "02", "03"]
    assert stored == sorted(stored)
    assert len(stored) + recorder.dropped == 20


def test_a_journal_that_cannot_be_written_keeps_the_events_in_memory(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "append", fail)
    unsteady.away = True
    recorder = start(unsteady)
    recorder.record(make_event(id="1"))
    wait_until(lambda: recorder.database_away and (recorder.waiting, recorder.in_journal) == (1, 0))
    unsteady.away = False
    wait_until(lambda: not recorder.waiting)
    assert stored_ids(unsteady) == ["1"]


def test_an_event_that_the_database_refuses_does_not_hold_up_the_others(
    database: Database, start: RecorderFactory, make_event: EventFactory, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = start(database)
    recorder.record(make_event(id="1"))
    # SQLite takes NaN for null, PostgreSQL no name of more than 128 characters, neither of them half a character.
    recorder.record(make_event(id="2", model="m" * 200, latency_ms=float("nan")))
    recorder.record(make_event(id="3", input="\ud800"))
    recorder.record(make_event(id="4"))
    wait_until(lambda: not recorder.waiting)
    assert stored_ids(database) == ["1", "4"]
    assert recorder.dropped == 2
    said = [record.getMessage() for record in caplog.records if record.name == recorder_module.__name__]
    assert [message[:8] for message in said] == ["Event 2 ", "Event 3 "]


def test_half_a_character_does_not_stop_the_journal(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory
) -> None:
    unsteady.away = True
    recorder = start(unsteady)
    recorder.record(make_event(id="1", input="\ud800"))
    recorder.record(make_event(id="2"))
    wait_until(lambda: recorder.in_journal == 2)
    unsteady.away = False
    wait_until(lambda: not recorder.in_journal and recorder.dropped > 0)
    assert stored_ids(unsteady) == ["2"]
    assert recorder.dropped == 1


def test_a_nul_character_is_replaced_for_no_database_holds_it_everywhere(
    database: Database, make_event: EventFactory
) -> None:
    store_events(database, [make_event(id="1", input="a\0b", user_id="\0")])
    with database.transaction() as connection:
        assert connection.execute(select(table.c.input, table.c.user_id)).one() == ("a\ufffdb", "\ufffd")


def test_close_writes_what_waits(database: Database, tmp_path: Path, make_event: EventFactory) -> None:
    recorder = EventRecorder(database, tmp_path / "journal")
    recorder.start()
    for number in range(600):
        recorder.record(make_event(id=str(number)))
    recorder.close(timeout_s=30)
    assert len(stored_ids(database)) == 600
    recorder.record(make_event())
    assert (recorder.waiting, recorder.dropped) == (0, 1)
    recorder.close(timeout_s=1)


def test_close_leaves_in_the_journal_what_the_next_start_writes(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory, tmp_path: Path
) -> None:
    unsteady.away = True
    first = start(unsteady)
    first.record(make_event(id="1"))
    wait_until(lambda: first.database_away)
    first.record(make_event(id="2"))
    first.close(timeout_s=30)
    assert first.dropped == 0
    unsteady.away = False
    second = start(unsteady)
    second.record(make_event(id="3"))
    wait_until(lambda: not second.waiting and not second.in_journal)
    second.close(timeout_s=30)
    assert stored_ids(unsteady) == ["1", "2", "3"]
    assert list((tmp_path / "journal").iterdir()) == []


def test_close_gives_up_a_database_that_hangs_and_no_event_is_lost_or_doubled(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory
) -> None:
    unsteady.answering.clear()
    hanging = start(unsteady)
    hanging.record(make_event(id="1"))
    unsteady.hanging.wait(30)
    hanging.record(make_event(id="2"))
    hanging.close(timeout_s=0.05)
    # The transaction that hung comes through after all.
    unsteady.answering.set()
    wait_until(lambda: not hanging.waiting)
    following = start(unsteady)
    following.record(make_event(id="3"))
    wait_until(lambda: not following.waiting and not following.in_journal)
    assert sorted(stored_ids(unsteady)) == ["1", "2", "3"]


def test_close_finds_every_event_while_the_writer_goes_on(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory
) -> None:
    unsteady.answering.clear()
    hanging = start(unsteady)
    hanging.record(make_event(id="1"))
    unsteady.hanging.wait(30)

    def made(number: int) -> InferenceEvent:
        if threading.current_thread() is threading.main_thread():
            # The writer comes back in the middle of the closing.
            unsteady.answering.set()
            give_up_at = time.monotonic() + 1
            while hanging.waiting and time.monotonic() < give_up_at:
                time.sleep(0.005)
        return make_event(id=str(number))

    for number in range(2, 700):
        hanging.record(partial(made, number))
    hanging.close(timeout_s=0.05)
    wait_until(lambda: not hanging._thread.is_alive())
    start(unsteady)
    wait_until(lambda: len(stored_ids(unsteady)) == 699)
    assert hanging.dropped == 0


def test_an_event_that_cannot_be_made_is_dropped_and_the_others_are_stored(
    database: Database, start: RecorderFactory, make_event: EventFactory, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> InferenceEvent:
        raise ZeroDivisionError("made of nothing")

    recorder = start(database)
    for event in (make_event(id="1"), fail, make_event(id="2")):
        recorder.record(event)
    wait_until(lambda: not recorder.waiting)
    assert stored_ids(database) == ["1", "2"]
    assert (recorder.dropped, recorder.database_away) == (1, False)
    assert "made of nothing" in caplog.text
    last = EventRecorder(database, Path(recorder._directory))
    last.record(fail)
    last.close(timeout_s=1)
    assert last.dropped == 1


def test_an_event_that_is_no_json_stops_neither_the_journal_nor_the_others(
    unsteady: Unsteady, start: RecorderFactory, make_event: EventFactory
) -> None:
    unsteady.away = True
    recorder = start(unsteady)
    recorder.record(make_event(id="1", scores=(object(),)))
    recorder.record(make_event(id="2", length_tokens=1 << 70))
    recorder.record(make_event(id="3"))
    wait_until(lambda: recorder.in_journal == 3)
    unsteady.away = False
    wait_until(lambda: not recorder.in_journal)
    for event in (make_event(id="4", scores=(object(),)), make_event(id="5")):
        recorder.record(event)
    wait_until(lambda: not recorder.waiting and not recorder.in_journal)
    assert stored_ids(unsteady) == ["3", "5"]
    assert (recorder.dropped, recorder.database_away) == (3, False)


def test_a_journal_file_that_cannot_be_read_is_said_and_left_behind(
    unsteady: Unsteady,
    start: RecorderFactory,
    make_event: EventFactory,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    unsteady.away = True
    recorder = start(unsteady)
    recorder.record(make_event(id="1"))
    wait_until(lambda: recorder.in_journal == 1)
    # Reading a directory fails as reading a broken disk does.
    directory = os.open(tmp_path, os.O_RDONLY)
    os.dup2(directory, recorder._journal._files[0]._reader.fileno())
    os.close(directory)
    unsteady.away = False
    recorder.record(make_event(id="2"))
    wait_until(lambda: not recorder.waiting and not recorder.in_journal and not recorder.database_away)
    recorder.record(make_event(id="3"))
    wait_until(lambda: not recorder.waiting)
    assert stored_ids(unsteady)[-1] == "3"
    said = [record.getMessage() for record in caplog.records if "journal" in record.getMessage()]
    assert any("cannot be read: Is a directory" in message for message in said)
    recorder.close(timeout_s=30)
    # Its events are not lost: the next start reads them.
    start(unsteady)
    wait_until(lambda: sorted(stored_ids(unsteady)) == ["1", "2", "3"])


def test_an_event_with_feedback_in_it_is_refused_for_feedback_is_kept_apart(
    database: Database, make_event: EventFactory
) -> None:
    with pytest.raises(ValueError, match="feedback is stored by give_feedback"):
        store_events(database, [make_event(outcome="joy")])
    with pytest.raises(ValueError, match="feedback is stored by give_feedback"):
        store_events(database, [make_event(correct=True, feedback_time=1.0)])


def test_a_recorder_that_never_started_leaves_its_events_in_the_journal(
    database: Database, start: RecorderFactory, make_event: EventFactory, tmp_path: Path
) -> None:
    recorder = EventRecorder(database, tmp_path / "journal")
    recorder.record(make_event(id="1"))
    recorder.close(timeout_s=1)
    following = start(database)
    wait_until(lambda: stored_ids(database) == ["1"])
    assert following.dropped == 0


def test_a_journal_that_cannot_be_made_says_so_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    recorder = EventRecorder(Database(f"sqlite:///{tmp_path}/tunelane.db"), tmp_path / "journal")
    with pytest.raises(InputError, match=r"Cannot make the event journal .*journal: .*Choose a directory"):
        recorder.start()


def test_sqlalchemy_is_not_imported_before_an_event_is_written(tmp_path: Path) -> None:
    # The start is long, so that a slow machine does not get to its end: only closing ends it.
    program = f"""
import sys, time
from pathlib import Path
from tunelane_serving.database.database import Database
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring import recorder as module
from tunelane_serving.monitoring.recorder import EventRecorder
assert module._START_DELAY_S > 0
module._START_DELAY_S = 1000.0
recorder = EventRecorder(Database("sqlite:///{tmp_path}/tunelane.db"), Path("{tmp_path}/journal"))
recorder.start()
recorder.record(InferenceEvent("1", 0.0, "m", "1", "d", "onnx", "text", "ok", 1.0))
assert recorder.waiting == 1
time.sleep(0.3)
assert "sqlalchemy" not in sys.modules
recorder.close(timeout_s=30)
assert "sqlalchemy" in sys.modules
assert recorder.waiting == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_old_events_go_and_their_feedback_with_them(
    database: Database, make_event: EventFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunelane_serving.database.tables import feedback
    from tunelane_serving.monitoring import deleting
    from tunelane_serving.monitoring.feedback import give_feedback

    monkeypatch.setattr(deleting, "_DELETED_AT_ONCE", 3)
    store_events(database, [make_event(id=str(number), time=float(number)) for number in range(10)])
    for id_, time_s in (("2", 3.0), ("6", 5.0), ("8", 9.0), ("yet to come", 6.5), ("never came", 1.0)):
        give_feedback(database, inference_id=id_, outcome="joy", now_s=time_s)
    assert delete_events_before(database, 7.0) == 7
    assert sorted(stored_ids(database)) == ["7", "8", "9"]
    with database.transaction() as connection:
        assert list(connection.execute(select(feedback.c.inference_id)).scalars()) == ["8"]
    assert delete_events_before(database, 7.0) == 0


# Records numbered events as fast as it can, into a database that comes and goes.
_KILLED = """
import random, sys, time
from contextlib import contextmanager
from pathlib import Path
from tunelane_serving.database.database import Database
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring import recorder as module
from tunelane_serving.problems import DatabaseAway

class Unsteady(Database):
    away = False
    @contextmanager
    def transaction(self, **options):
        if self.away:
            raise DatabaseAway("away")
        with super().transaction(**options) as connection:
            yield connection

url, journal, name, seed = sys.argv[1:]
choice = random.Random(int(seed))
for constant in ("_START_DELAY_S", "_FIRST_EVENT_DELAY_S", "_GATHER_S", "_MIN_BACKOFF_S", "_MAX_BACKOFF_S"):
    setattr(module, constant, 0.005)
database = Unsteady(url)
recorder = module.EventRecorder(database, Path(journal))
recorder.start()

def record(number):
    recorder.record(InferenceEvent(f"{name}-{number}", float(number), name, "1", "d", "onnx", "text", "ok", 1.0))

record(0)
while recorder.waiting:
    time.sleep(0.005)
print("started", flush=True)
number = 1
while True:
    database.away = choice.random() < 0.5
    for _ in range(choice.randrange(200)):
        record(number)
        number += 1
    time.sleep(choice.random() * 0.05)
"""


def kill_and_check(database: Database, journal: Path, times: int, seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311 - moments, not secrets
    names = [f"run{number}" for number in range(times)]
    for number, name in enumerate(names):
        arguments = [sys.executable, "-c", _KILLED, database.url, str(journal), name, str(seed + number)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            time.sleep(choice.random())
            process.send_signal(signal.SIGKILL)
    last = EventRecorder(database, journal)
    last.start()
    last.close(timeout_s=60)
    assert last.in_journal == 0
    assert list(journal.iterdir()) == []
    with database.transaction() as connection:
        if database.url.startswith("sqlite"):
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        for name in names:
            times_s = connection.execute(select(table.c.time).where(table.c.model == name).order_by(table.c.time))
            stored = list(times_s.scalars())
            # The events of the last moment are missing, none before them, and none is there twice.
            assert stored
            assert stored == [float(number) for number in range(len(stored))]


def test_a_killed_process_leaves_whole_events_without_gaps(database: Database, tmp_path: Path) -> None:
    kill_and_check(database, tmp_path / "journal", 2, seed=1)


@pytest.mark.slow
def test_processes_killed_at_random_moments_leave_whole_events_without_gaps(database: Database, tmp_path: Path) -> None:
    kill_and_check(database, tmp_path / "journal", 30, seed=100)


def test_a_server_that_is_at_work_at_once_does_not_wait_for_a_calm_start(
    database: Database, start: RecorderFactory, make_event: EventFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_START_DELAY_S", 1000.0)
    monkeypatch.setattr(recorder_module, "_FIRST_EVENT_DELAY_S", 1000.0)
    busy = start(database, max_waiting=100)
    for _ in range(10):
        busy.record(make_event())
    end_s = time.monotonic() + 20
    while busy.waiting and time.monotonic() < end_s:
        time.sleep(0.02)
    assert busy.waiting == 0
