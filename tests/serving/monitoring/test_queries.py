import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy import event as sqlalchemy_event

from tunelane_serving.database.database import Database
from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring import figures as figures_module
from tunelane_serving.monitoring.event_pages import StoredEvent, events
from tunelane_serving.monitoring.feedback import give_feedback
from tunelane_serving.monitoring.figures import Bucket, Metrics, metrics
from tunelane_serving.monitoring.observations import observations
from tunelane_serving.monitoring.selecting import decode_labels
from tunelane_serving.monitoring.storing import store_events
from tunelane_serving.problems import InvalidRequest
from tunelane_serving.server import wire

EventFactory = Callable[..., InferenceEvent]


@dataclass(frozen=True)
class Given:
    """Feedback as it was given."""

    inference_id: str
    outcome: str
    correct: bool | None


LABELS = st.sampled_from(["joy", "anger", 'so "called"'])
# Few values, so that times are equal and stand on the edges of buckets.
TIMES_S = st.one_of(st.integers(0, 12).map(float), st.floats(0, 12))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[InferenceEvent], list[Given]]:
    made = []
    for number in range(draw(st.integers(0, 25))):
        failed = draw(st.booleans()) and draw(st.booleans())
        made.append(
            InferenceEvent(
                id=f"event{number:02}",
                time=draw(TIMES_S),
                model=draw(st.sampled_from(["a", "b"])),
                model_version=draw(st.sampled_from(["1", "2"])),
                digest=draw(st.sampled_from(["c", "d"])) * 64,
                framework="onnx",
                input="text",
                status="error" if failed else "ok",
                latency_ms=draw(st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0, 100))),
                prediction=() if failed else tuple(draw(st.lists(LABELS, max_size=2, unique=True))),
                confidence=None if failed else draw(st.one_of(st.none(), st.floats(0, 1))),
                length_tokens=draw(st.one_of(st.none(), st.integers(0, 50))),
                error="failed" if failed else "",
            )
        )
    ids = st.sampled_from([*(event.id for event in made), "of no event"])
    feedback = st.builds(Given, ids, st.one_of(LABELS, st.just("")), st.sampled_from([None, None, True, False]))
    return made, draw(st.lists(feedback, max_size=12))


def fill(database: Database, made: Sequence[InferenceEvent], feedback: Sequence[Given]) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM inference_events")
        connection.exec_driver_sql("DELETE FROM feedback")
    # Some feedback is there before its event.
    half = len(feedback) // 2
    for item in feedback[:half]:
        give(database, item)
    if made:
        store_events(database, made)
    for item in feedback[half:]:
        give(database, item)


def give(database: Database, item: Given) -> None:
    give_feedback(database, inference_id=item.inference_id, outcome=item.outcome, correct=item.correct, now_s=99.0)


def verdict(event: InferenceEvent, feedback: Sequence[Given]) -> bool | None:
    """Whether an event was right, in plain Python."""
    newest = next((item for item in reversed(feedback) if item.inference_id == event.id), None)
    if newest is None:
        return None
    if newest.correct is not None:
        return newest.correct
    return newest.outcome == event.prediction[0] if len(event.prediction) == 1 and newest.outcome else None


def percentile(latencies: Sequence[float], percent: int) -> float | None:
    return sorted(latencies)[math.ceil(len(latencies) * percent / 100) - 1] if latencies else None


def mean(values: Sequence[float | bool]) -> float | None:
    return sum(values) / len(values) if values else None


def figures(chosen: Sequence[InferenceEvent], feedback: Sequence[Given]) -> dict[str, Any]:
    verdicts = [right for event in chosen if (right := verdict(event, feedback)) is not None]
    return {
        "count": len(chosen),
        "errors": sum(event.status == "error" for event in chosen),
        "mean_latency_ms": mean([event.latency_ms for event in chosen]),
        "p50_latency_ms": percentile([event.latency_ms for event in chosen], 50),
        "p95_latency_ms": percentile([event.latency_ms for event in chosen], 95),
        "p99_latency_ms": percentile([event.latency_ms for event in chosen], 99),
        "mean_confidence": mean([event.confidence for event in chosen if event.confidence is not None]),
        "feedback_count": len(verdicts),
        "accuracy": mean(verdicts),
        "labels": dict(
            Counter(label for event in chosen if event.confidence is not None for label in event.prediction)
        ),
    }


def check_figures(found: object, expected: dict[str, Any]) -> None:
    for item in fields(found):  # type: ignore[arg-type]
        if item.name in expected:
            value = getattr(found, item.name)
            # The order of a sum is the database's.
            assert value == (
                pytest.approx(expected[item.name], rel=1e-12) if isinstance(value, float) else expected[item.name]
            ), item.name


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories(),
    model=st.sampled_from([None, "a"]),
    version=st.sampled_from([None, "1"]),
    range_s=st.tuples(st.integers(0, 6), st.integers(1, 7)),
    buckets=st.sampled_from([1, 3, 7]),
)
def test_metrics_are_what_plain_python_makes_of_the_events(
    database: Database,
    history: tuple[list[InferenceEvent], list[Given]],
    model: str | None,
    version: str | None,
    range_s: tuple[int, int],
    buckets: int,
) -> None:
    made, feedback = history
    fill(database, made, feedback)
    since_s, until_s = float(range_s[0]), float(sum(range_s))
    chosen = [
        event
        for event in made
        if since_s <= event.time < until_s and model in (None, event.model) and version in (None, event.model_version)
    ]
    found = metrics(database, model=model, version=version, since_s=since_s, until_s=until_s, buckets=buckets)
    check_figures(found, figures(chosen, feedback))
    assert len(found.buckets) == buckets
    width_s = (until_s - since_s) / buckets
    for number, bucket in enumerate(found.buckets):
        inside = [event for event in chosen if min(int((event.time - since_s) / width_s), buckets - 1) == number]
        check_figures(bucket, figures(inside, feedback))
        assert bucket.start.timestamp() == pytest.approx(since_s + number * width_s)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories(),
    model=st.sampled_from([None, "a"]),
    version=st.sampled_from([None, "1"]),
    status=st.sampled_from([None, "ok", "error"]),
    since_s=st.sampled_from([None, 2.0]),
    until_s=st.sampled_from([None, 9.0]),
    limit=st.integers(1, 6),
)
def test_pages_hold_every_event_once_the_newest_first(
    database: Database,
    history: tuple[list[InferenceEvent], list[Given]],
    model: str | None,
    version: str | None,
    status: Literal["ok", "error"] | None,
    since_s: float | None,
    until_s: float | None,
    limit: int,
) -> None:
    made, feedback = history
    fill(database, made, feedback)
    expected = [
        event
        for event in sorted(made, key=lambda event: (event.time, event.id), reverse=True)
        if model in (None, event.model)
        and version in (None, event.model_version)
        and status in (None, event.status)
        and (since_s is None or event.time >= since_s)
        and (until_s is None or event.time < until_s)
    ]
    found: list[StoredEvent] = []
    cursor: str | None = None
    while True:
        page, cursor = events(
            database,
            model=model,
            version=version,
            status=status,
            since_s=since_s,
            until_s=until_s,
            limit=limit,
            cursor=cursor,
        )
        found += page
        if cursor is None:
            break
        assert len(page) == limit
    assert [event.id for event in found] == [event.id for event in expected]
    assert [event.correct for event in found] == [verdict(event, feedback) for event in expected]


def test_new_events_do_not_disturb_who_turns_the_pages(database: Database, make_event: EventFactory) -> None:
    store_events(database, [make_event(id=str(number), time=5.0) for number in range(4)])
    first, cursor = events(database, limit=2)
    store_events(database, [make_event(id="9", time=5.0), make_event(id="8", time=6.0)])
    second, _ = events(database, limit=2, cursor=cursor)
    assert [event.id for event in first + second] == ["3", "2", "1", "0"]


def test_an_event_comes_back_whole(database: Database, make_event: EventFactory) -> None:
    event = make_event(
        id="1",
        time=1_700_000_000.25,
        status="ok",
        input="Grüße 😀",
        input_hashed=True,
        prediction=("joy", "anger"),
        scores=(0.75, 0.5),
        confidence=0.75,
        request_id="r",
        user_id="u",
        session_id="s",
    )
    store_events(database, [event])
    assert events(database)[0] == [
        StoredEvent(
            id="1",
            time=datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC),
            model="emotions",
            model_version="1",
            digest="d" * 64,
            framework="onnx",
            status="ok",
            latency_ms=2.5,
            input="Grüße 😀",
            input_hashed=True,
            prediction=("joy", "anger"),
            confidence=0.75,
            error="",
            request_id="r",
            user_id="u",
            session_id="s",
            outcome="",
            correct=None,
            feedback_time=None,
        )
    ]


def test_an_empty_database_has_empty_answers(database: Database) -> None:
    assert events(database) == ([], None)
    assert metrics(database, since_s=0.0, until_s=2.0, buckets=2) == Metrics(
        model=None,
        model_version=None,
        since=datetime(1970, 1, 1, tzinfo=UTC),
        until=datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC),
        count=0,
        errors=0,
        mean_latency_ms=None,
        p50_latency_ms=None,
        p95_latency_ms=None,
        p99_latency_ms=None,
        mean_confidence=None,
        feedback_count=0,
        accuracy=None,
        labels={},
        buckets=tuple(
            Bucket(datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC), 0, 0, None, None, None, None) for second in range(2)
        ),
    )
    observed = observations(database, "d" * 64, since_s=0.0, until_s=1.0)
    assert (observed.labels, observed.events, observed.oov_share.shape) == ([], 0, (0,))


def test_answers_convert_to_what_goes_over_the_wire(database: Database, make_event: EventFactory) -> None:
    store_events(database, [make_event(id="1", prediction=("joy",), confidence=0.5)])
    give_feedback(database, inference_id="1", outcome="joy", now_s=1001.0)
    event = msgspec.convert(events(database)[0][0], wire.Event, from_attributes=True)
    assert (event.id, event.correct) == ("1", True)
    found = metrics(database, since_s=0.0, until_s=2000.0, buckets=4)
    sent = msgspec.convert(found, wire.MonitoringMetrics, from_attributes=True)
    assert (sent.count, sent.labels, sent.accuracy) == (1, {"joy": 1}, 1.0)
    assert [bucket.count for bucket in sent.buckets] == [0, 0, 1, 0]


def test_percentiles_beyond_the_limit_are_those_of_the_newest(
    database: Database, make_event: EventFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "MAX_PERCENTILE_EVENTS", 10)
    store_events(database, [make_event(time=float(number), latency_ms=float(100 - number)) for number in range(50)])
    found = metrics(database, since_s=0.0, until_s=50.0, buckets=2)
    assert (found.count, found.p99_latency_ms, found.p50_latency_ms) == (50, 60.0, 55.0)
    assert [bucket.p95_latency_ms for bucket in found.buckets] == [None, 60.0]
    assert found.mean_latency_ms == pytest.approx(75.5)


@pytest.mark.parametrize(("since_s", "until_s"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_an_empty_range_is_refused(since_s: float, until_s: float) -> None:
    with pytest.raises(InvalidRequest, match="until: must be after since"):
        metrics(Database("sqlite:///unused.db"), since_s=since_s, until_s=until_s, buckets=1)


def test_no_bucket_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="buckets: at least 1"):
        metrics(Database("sqlite:///unused.db"), since_s=0.0, until_s=1.0, buckets=0)


@pytest.mark.parametrize("cursor", ["", "x", "ä", "W10", "WzEsMl0", "WzEuMCwiXHUwMDAwIl0", "=" * 5, "\0"])
def test_a_cursor_that_was_not_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor: pass the nextCursor of the page before, as it is"):
        events(Database("sqlite:///unused.db"), cursor=cursor)


def test_a_name_that_no_database_holds_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="modelVersion: holds a NUL character"):
        events(Database("sqlite:///unused.db"), version="\0")


def test_a_range_may_begin_before_and_end_after_all_years(database: Database, make_event: EventFactory) -> None:
    store_events(database, [make_event()])
    found = metrics(database, since_s=-1e11, until_s=1e12, buckets=500)
    assert found.count == 1
    assert (found.since.year, found.until.year) == (1, 9999)


def test_observations_are_the_newest_answered_events_of_one_package(
    database: Database, make_event: EventFactory
) -> None:
    store_events(
        database,
        [
            make_event(time=1.0, prediction=("too old",)),
            make_event(time=2.0, prediction=("beyond the limit",)),
            make_event(time=3.0, prediction=("joy",), confidence=0.5, length_tokens=3, oov_share=0.25),
            make_event(time=4.0, prediction=("anger", "joy"), confidence=0.75),
            make_event(time=5.0, status="error", error="failed", length_tokens=9),
            make_event(time=6.0, digest="e" * 64, prediction=("another's",)),
            make_event(time=7.0, length_tokens=7),
            make_event(time=8.0, prediction=("too new",)),
        ],
    )
    observed = observations(database, "d" * 64, since_s=2.0, until_s=8.0, limit=3)
    assert observed.events == 3
    assert sorted(observed.labels) == ["anger", "joy", "joy"]
    np.testing.assert_array_equal(observed.confidence, [np.nan, 0.75, 0.5])
    np.testing.assert_array_equal(observed.length_tokens, [7, np.nan, 3])
    np.testing.assert_array_equal(observed.oov_share, [np.nan, np.nan, 0.25])
    assert observed.confidence.dtype == np.float64


def test_no_query_reads_a_whole_table(tmp_path: Path, make_event: EventFactory) -> None:
    """On SQLite, whose plan does not depend on how much is in the tables."""
    database = Database(f"sqlite:///{tmp_path / 'tunelane.db'}")
    plans: list[str] = []

    def explain(_: object, cursor: Any, statement: str, parameters: Any, *__: object) -> None:
        if statement.startswith("SELECT"):
            plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    store_events(database, [make_event()])
    sqlalchemy_event.listen(Engine, "before_cursor_execute", explain)
    try:
        events(database, limit=5)
        events(database, model="a", limit=5)
        metrics(database, since_s=0.0, until_s=1.0, buckets=3)
        observations(database, "d" * 64, since_s=0.0, until_s=1.0)
    finally:
        sqlalchemy_event.remove(Engine, "before_cursor_execute", explain)
    read = [plan for plan in plans if "inference_events" in plan or "feedback" in plan]
    assert len(read) > 6
    assert [plan for plan in read if "USING" not in plan] == []
    database.close()


def test_a_ranking_is_no_choice_of_labels(database: Database, make_event: EventFactory) -> None:
    products = tuple(f"product {number}" for number in range(200))
    store_events(
        database,
        [
            make_event(time=1.0, prediction=products, scores=(0.5,) * 200),
            make_event(time=2.0, prediction=("joy",), confidence=0.5),
        ],
    )
    assert metrics(database, since_s=0.0, until_s=9.0).labels == {"joy": 1}
    observed = observations(database, "d" * 64, since_s=0.0, until_s=9.0)
    assert (observed.labels, observed.events) == (["joy"], 2)
    assert events(database)[0][1].prediction == products


def test_no_long_prediction_is_remembered() -> None:
    short, long = ('["joy"]', msgspec.json.encode(["a" * 256] * 200).decode())
    assert decode_labels(short) is decode_labels(short)
    assert decode_labels(long) == decode_labels(long)
    assert decode_labels(long) is not decode_labels(long)
