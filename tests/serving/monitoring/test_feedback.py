import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from tunelane_serving.database.database import Database
from tunelane_serving.database.tables import feedback as table
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring.event_pages import StoredEvent, events
from tunelane_serving.monitoring.feedback import give_feedback
from tunelane_serving.monitoring.storing import store_events
from tunelane_serving.problems import DatabaseAway, InvalidRequest

EventFactory = Callable[..., InferenceEvent]


def the_event(database: Database) -> StoredEvent:
    found, cursor = events(database)
    assert (len(found), cursor) == (1, None)
    return found[0]


def test_feedback_is_there_when_it_is_acknowledged(database: Database, make_event: EventFactory) -> None:
    store_events(database, [make_event(id="1", prediction=("joy",))])
    give_feedback(database, inference_id="1", outcome="anger", correct=None, now_s=1234.5)
    # Another connection, as another instance would have.
    other = Database(database.url)
    event = the_event(other)
    other.close()
    assert (event.outcome, event.correct) == ("anger", False)
    assert event.feedback_time is not None
    assert event.feedback_time.timestamp() == 1234.5


def test_feedback_may_come_before_its_event(database: Database, make_event: EventFactory) -> None:
    give_feedback(database, inference_id="1", outcome="joy", now_s=1.0)
    assert events(database) == ([], None)
    store_events(database, [make_event(id="1", prediction=("joy",))])
    assert the_event(database).correct is True


def test_the_newest_feedback_counts_whatever_its_clock_says(database: Database, make_event: EventFactory) -> None:
    store_events(database, [make_event(id="1", prediction=("joy",))])
    give_feedback(database, inference_id="1", outcome="joy", now_s=20.0)
    give_feedback(database, inference_id="1", outcome="anger", now_s=10.0)
    event = the_event(database)
    assert (event.outcome, event.correct) == ("anger", False)


@pytest.mark.parametrize(
    ("prediction", "outcome", "given", "correct"),
    [
        (("joy",), "joy", None, True),
        (("joy",), "anger", None, False),
        (("joy",), "Joy", None, False),
        (("joy",), "anger", True, True),
        (("joy",), "joy", False, False),
        (("joy",), "", None, None),
        (("joy",), "", True, True),
        (("joy", "love"), "joy", None, None),
        (("joy", "love"), "joy", True, True),
        ((), "joy", None, None),
        ((), "joy", False, False),
        (('so "called"',), 'so "called"', None, True),
        (('a","b',), 'a","b', None, True),
        (("50%_off\\",), "50%_off\\", None, True),
        (("悲しみ",), "悲しみ", None, True),
    ],
)
def test_correct_follows_from_exactly_one_predicted_label(
    tmp_path: Path,
    make_event: EventFactory,
    prediction: tuple[str, ...],
    outcome: str,
    given: bool | None,
    correct: bool | None,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'tunelane.db'}")
    check_correct(database, make_event, prediction, outcome, given, correct)
    database.close()


def test_correct_is_the_same_on_postgresql(postgres_database_url: str, make_event: EventFactory) -> None:
    database = Database(postgres_database_url)
    (mark,) = test_correct_follows_from_exactly_one_predicted_label.pytestmark
    for case in mark.args[1]:
        with database.transaction() as connection:
            connection.exec_driver_sql("TRUNCATE inference_events, feedback")
        check_correct(database, make_event, *case)
    database.close()


def check_correct(
    database: Database,
    make_event: EventFactory,
    prediction: tuple[str, ...],
    outcome: str,
    given: bool | None,
    correct: bool | None,
) -> None:
    store_events(database, [make_event(id="1", prediction=prediction)])
    give_feedback(database, inference_id="1", outcome=outcome, correct=given, now_s=1.0)
    event = the_event(database)
    assert (event.prediction, event.outcome, event.correct) == (prediction, outcome, correct)


def test_many_callers_at_once_all_find_theirs(database: Database) -> None:
    def give(number: int) -> None:
        give_feedback(database, inference_id=str(number), outcome="joy", now_s=float(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(give, range(300)))
    with database.transaction() as connection:
        stored = connection.execute(select(table.c.inference_id, table.c.time)).all()
    assert sorted((int(id_), time_s) for id_, time_s in stored) == [(n, float(n)) for n in range(300)]


class Slow(Database):
    """Holds its first transaction until told, and counts them; fails where asked to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.transactions = 0
        self.fails = False
        self.begun = threading.Event()
        self.go_on = threading.Event()

    @contextmanager
    def transaction(self, **options: Any) -> Iterator[Connection]:
        self.transactions += 1
        self.begun.set()
        self.go_on.wait(30)
        if self.fails:
            raise DatabaseAway("The database does not answer: it is away")
        with super().transaction(**options) as connection:
            yield connection


def give_while_the_first_is_writing(database: Slow, callers: int) -> list[BaseException | None]:
    """Let one call begin and the others gather behind it; give what each raised."""

    def give(number: int) -> None:
        give_feedback(database, inference_id=str(number), outcome="joy", now_s=0.0)

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(give, 0)]
        database.begun.wait(30)
        calls += [pool.submit(give, number) for number in range(1, callers)]
        # Every one of them stands in the line.
        from tunelane_serving.monitoring import feedback

        while len(feedback._groups[database]._rows) < callers - 1:
            threading.Event().wait(0.001)
        database.go_on.set()
        return [call.exception(30) for call in calls]


def test_callers_who_wait_share_one_transaction(tmp_path: Path) -> None:
    database = Slow(f"sqlite:///{tmp_path / 'tunelane.db'}")
    assert give_while_the_first_is_writing(database, 8) == [None] * 8
    assert database.transactions == 2
    with Database(database.url).transaction() as connection:
        assert len(connection.execute(select(table.c.number)).all()) == 8
    database.close()


def test_every_caller_of_a_transaction_that_fails_hears_of_it(tmp_path: Path) -> None:
    database = Slow(f"sqlite:///{tmp_path / 'tunelane.db'}")
    database.fails = True
    assert [type(error) for error in give_while_the_first_is_writing(database, 4)] == [DatabaseAway] * 4
    database.fails = False
    give_feedback(database, inference_id="1", outcome="joy", now_s=0.0)
    database.close()


@pytest.mark.parametrize(
    ("inference_id", "outcome", "message"),
    [
        ("", "joy", "inferenceId: 1 to 128 characters"),
        ("x" * 129, "joy", "inferenceId: 1 to 128 characters"),
        ("a\0", "joy", "inferenceId: holds a character that is no text"),
        ("a", "\0", "outcome: holds a character that is no text"),
        ("a", "\ud800", "outcome: holds a character that is no text"),
    ],
)
def test_what_no_database_holds_is_refused(tmp_path: Path, inference_id: str, outcome: str, message: str) -> None:
    database = Database(f"sqlite:///{tmp_path / 'tunelane.db'}")
    with pytest.raises(InvalidRequest, match=message):
        give_feedback(database, inference_id=inference_id, outcome=outcome, now_s=0.0)


def test_a_database_that_is_away_acknowledges_nothing(tmp_path: Path) -> None:
    database = Database(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(DatabaseAway):
        give_feedback(database, inference_id="1", outcome="joy", now_s=0.0)
