"""Classifier and AsyncClassifier at a server that speaks HTTP, and does not always do so well."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tunelane_serving.client import (
    AsyncClassifier,
    ClassificationResult,
    Classifier,
    ClassifierError,
    InvalidInput,
    NotAllowed,
    Unavailable,
)

Connect = Callable[..., Any]


def test_a_text_is_classified(connect: Connect, fake: Any) -> None:
    assert connect(fake.url).classify("a good film") == ClassificationResult(
        label="positive",
        labels=("positive",),
        confidence=0.9,
        scores={"negative": 0.1, "positive": 0.9},
        inference_id="id of a good film",
        model="tickets",
        model_version="11",
        digest="d" * 64,
        latency_ms=1.5,
        fallback=False,
    )
    (asked,) = fake.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/predict", {"text": "a good film"})
    assert asked.headers["content-type"] == "application/json"
    assert "x-api-key" not in asked.headers and "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"notes": "Cut along a line."}, {"text": "Cut along a line."}),
        ({"text": "Scissors ", "notes": ["Cut.", " ", "Smiled."]}, {"text": "Scissors \nCut.\nSmiled."}),
        ({"notes": (note for note in ("One.", "Two."))}, {"text": "One.\nTwo."}),
        ({"image_uri": "gs://b/i.jpg"}, {"features": {"image_uri": "gs://b/i.jpg"}}),
        (
            {"text": "A ramp", "notes": "Marbles.", "image_uri": "gs://b/i.jpg"},
            {"features": {"image_uri": "gs://b/i.jpg", "text": "A ramp\nMarbles."}},
        ),
    ],
    ids=["notes", "text and notes", "notes of a generator", "image", "text, notes and image"],
)
def test_text_and_notes_are_one_text_and_an_image_makes_them_features(
    given: dict[str, Any], body: dict[str, Any], fake: Any
) -> None:
    with Classifier(fake.url) as classifier:
        classifier.classify(**given)
    assert fake.asked[0].body == body


@pytest.mark.parametrize("given", [{}, {"text": " \n"}, {"notes": ["", " "]}, {"text": "", "notes": None}])
def test_nothing_to_classify_is_not_even_asked(connect: Connect, given: dict[str, Any], fake: Any) -> None:
    with pytest.raises(InvalidInput, match="Pass text, notes or image_uri"):
        connect(fake.url).classify(**given)
    assert fake.asked == []


def test_a_model_of_the_repository_and_a_key_go_along(connect: Connect, fake: Any) -> None:
    classifier = connect(f"{fake.url}/behind/", api_key="k-1\n", model_id="moods", version="3")
    classifier.classify("good")
    classifier.classify_batch(["bad"])
    assert [asked.path for asked in fake.asked] == ["/behind/predict", "/behind/batch_predict"]
    assert fake.asked[0].body == {"text": "good", "modelId": "moods", "version": "3"}
    assert fake.asked[1].body == {"texts": ["bad"], "modelId": "moods", "version": "3"}
    assert {asked.headers["x-api-key"] for asked in fake.asked} == {"k-1"}


def test_a_batch_is_split_and_comes_back_in_its_order(connect: Connect, fake: Any) -> None:
    texts = [f"text {'x' * index}" for index in range(300)]
    results = connect(fake.url).classify_batch(texts)
    assert [result.inference_id for result in results] == [f"id of {text}" for text in texts]
    assert [len(asked.body["texts"]) for asked in fake.asked] == [128, 128, 44]
    assert connect(fake.url).classify_batch([]) == []
    assert len(fake.asked) == 3


def test_feedback_is_acknowledged_with_its_time(connect: Connect, fake: Any) -> None:
    classifier = connect(fake.url, api_key="k")
    assert classifier.feedback("id-1", "positive", correct=True) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    classifier.feedback("id-1", "negative")
    assert [asked.path for asked in fake.asked] == ["/feedback", "/feedback"]
    assert fake.asked[0].body == {"inferenceId": "id-1", "outcome": "positive", "correct": True}
    assert fake.asked[1].body == {"inferenceId": "id-1", "outcome": "negative", "correct": None}
    assert fake.asked[0].headers["x-api-key"] == "k"


def test_health_is_asked_once_and_not_ready_is_an_answer(connect: Connect, fake: Any, steps: Any) -> None:
    classifier = connect(fake.url)
    assert (classifier.health().ready, classifier.health().model) == (True, "tickets")
    fake.misbehave.append(steps.reply(503, b'{"live":true,"ready":false,"reloadError":"broken"}'))
    health = classifier.health()
    assert (health.ready, health.reload_error) == (False, "broken")
    fake.misbehave.append(steps.reply(503, b"<html>upstream</html>"))
    with pytest.raises(Unavailable, match="503"):
        classifier.health()
    fake.misbehave.append(steps.drop)
    with pytest.raises(Unavailable):
        classifier.health()
    assert len(fake.asked) == 5


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_asked_again(connect: Connect, status: int, fake: Any, steps: Any) -> None:
    fake.misbehave += [steps.problem(status, "overloaded"), steps.reply(status, b"<html>")]
    assert connect(fake.url).classify("good").label == "positive"
    assert [asked.body for asked in fake.asked] == [{"text": "good"}] * 3


def test_lost_connections_and_late_answers_are_asked_again(connect: Connect, fake: Any, steps: Any) -> None:
    fake.misbehave += [steps.drop, steps.cut_short, steps.never_answer, steps.drip]
    # Some more than it takes: on a busy machine a good answer may be late, too.
    assert connect(fake.url, attempt_timeout_s=0.3, retries=20).classify("good").label == "positive"
    assert len(fake.asked) >= 5


def test_feedback_is_asked_again(connect: Connect, fake: Any, steps: Any) -> None:
    fake.misbehave += [steps.problem(503, "database_away"), steps.drop]
    connect(fake.url).feedback("id-1", "positive")
    assert len(fake.asked) == 3


def test_after_the_last_repetition_the_servers_own_words_are_raised(connect: Connect, fake: Any, steps: Any) -> None:
    fake.misbehave += [steps.problem(503, "overloaded", message="256 requests wait.")] * 9
    with pytest.raises(Unavailable) as caught:
        connect(fake.url, retries=2).classify("good")
    error = caught.value
    assert len(fake.asked) == 3
    assert str(error) == error.message == "256 requests wait. (503 overloaded)"
    assert (error.status, error.code, error.retry_after_s, error.exit_code) == (503, "overloaded", None, 1)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(connect: Connect, form: str, fake: Any, steps: Any) -> None:
    came: list[float] = []

    def busy(handler: Any) -> None:
        came.append(time.monotonic())
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        steps.problem(429, "rate_limited", headers={"retry-after": "1" if form == "seconds" else later})(handler)

    def good(handler: Any) -> None:
        came.append(time.monotonic())
        steps.reply(*fake.answer(fake.asked[-1]))(handler)

    fake.misbehave += [busy, good]
    connect(fake.url).classify("good")
    assert came[1] - came[0] >= 0.9


def test_a_wait_beyond_the_deadline_is_not_begun(connect: Connect, fake: Any, steps: Any) -> None:
    fake.misbehave.append(steps.problem(429, "rate_limited", headers={"retry-after": "3600"}))
    with pytest.raises(Unavailable) as caught:
        connect(fake.url).classify("good")
    assert (caught.value.retry_after_s, len(fake.asked)) == (3600.0, 1)


@pytest.mark.parametrize("step", ["never_answer", "drip"])
def test_all_is_over_at_the_deadline(connect: Connect, step: str, fake: Any, steps: Any) -> None:
    fake.misbehave += [getattr(steps, step)] * 9
    with pytest.raises(Unavailable, match="did not answer within") as caught:
        connect(fake.url, timeout_s=0.3).classify("good")
    assert (caught.value.code, caught.value.status) == ("timeout", None)
    # None where the machine is so busy that the request has not been read yet.
    assert len(fake.asked) <= 1


def test_where_nobody_listens_it_says_so(connect: Connect) -> None:
    # Taken, so that nobody else listens there, and not listened at.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"http://127.0.0.1:{port}/predict cannot be asked: ") as caught:
            connect(f"http://127.0.0.1:{port}", retries=1).classify("good")
    assert (caught.value.code, len(str(caught.value).splitlines())) == ("no_connection", 1)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "features_mismatch", InvalidInput),
        (401, "unauthorized", NotAllowed),
        (403, "forbidden", NotAllowed),
        (404, "not_found", InvalidInput),
        (409, "not_kept", ClassifierError),
        (413, "body_too_large", InvalidInput),
        (422, "invalid_request", InvalidInput),
        (500, "internal_error", ClassifierError),
    ],
)
def test_what_does_not_pass_is_raised_at_once(
    connect: Connect, status: int, code: str, kind: type[ClassifierError], fake: Any, steps: Any
) -> None:
    fake.misbehave.append(steps.problem(status, code, message="No.\nNever.", details=("text: too\nlong",)))
    with pytest.raises(ClassifierError) as caught:
        connect(fake.url).classify("good")
    error = caught.value
    assert (type(error), error.status, error.code) == (kind, status, code)
    assert (str(error), error.details) == (f"No. Never. ({status} {code})", ("text: too long",))
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "answered something else than a Tunelane server does"),
        (b"<html>Welcome</html>", "answered something else"),
        (b"\xff", "answered something else"),
        (b"[" * 5000, "answered something else"),
        (b'{"label": "positive"}', "Object missing required field `labels`"),
        (b'{"predictions": []}', "missing required field"),
    ],
)
def test_another_servers_answer_is_named(connect: Connect, body: bytes, words: str, fake: Any, steps: Any) -> None:
    fake.misbehave.append(steps.reply(200, body))
    with pytest.raises(ClassifierError, match=words) as caught:
        connect(fake.url).classify("good")
    assert (caught.value.code, len(str(caught.value).splitlines())) == ("unexpected_answer", 1)


def test_a_batch_of_another_length_is_no_answer(connect: Connect, fake: Any, steps: Any) -> None:
    fake.misbehave.append(steps.reply(200, b'{"predictions": []}'))
    with pytest.raises(ClassifierError, match="0 predictions for 2 texts"):
        connect(fake.url).classify_batch(["good", "bad"])


def test_a_field_of_a_newer_server_is_passed_over_and_a_fallback_is_marked(
    connect: Connect, fake: Any, steps: Any
) -> None:
    body = (
        b'{"label":null,"labels":[],"confidence":0.5,"scores":{"a":0.5},"inferenceId":"i","model":"m","future":1,'
        b'"modelVersion":"","digest":"d","variant":"rules","latencyMs":0.1,"framework":"rules","fallback":true}'
    )
    fake.misbehave.append(steps.reply(200, body))
    result = connect(fake.url).classify("good")
    assert (result.label, result.labels, result.fallback) == (None, (), True)


def test_a_model_without_labels_is_no_classifier(connect: Connect, fake: Any, steps: Any) -> None:
    body = (
        b'{"label":null,"labels":[],"confidence":null,"scores":{},"inferenceId":"i","model":"encoder",'
        b'"modelVersion":"","digest":"d","variant":"int8","latencyMs":0.1,"embedding":[0.5]}'
    )
    fake.misbehave.append(steps.reply(200, body))
    with pytest.raises(ClassifierError, match="encoder gives no labels") as caught:
        connect(fake.url).classify("good")
    assert caught.value.code == "no_classifier"


def test_an_answer_that_sends_on_says_where(connect: Connect, fake: Any, steps: Any) -> None:
    fake.misbehave.append(steps.reply(308, b"", {"location": "https://new.example/predict"}))
    with pytest.raises(ClassifierError, match=r"sends on to https://new\.example/predict; give that address \(308\)"):
        connect(fake.url).classify("good")


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://host", "http://", "http://host:port", "http://[::1", "http://h/?q=1", "http://h\n"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    for kind in (Classifier, AsyncClassifier):
        with pytest.raises(InvalidInput, match=r"is no address of a server\. Pass http://HOST:PORT"):
            kind(url)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        Classifier("https://user:secret@host")
    assert "secret" not in str(caught.value)


def test_a_key_that_no_header_can_carry_is_refused(fake: Any) -> None:
    for key in ("k\nx: 1", "schlüssel"):
        with pytest.raises(InvalidInput, match="API key"):
            Classifier(fake.url, api_key=key)


def test_one_connection_is_kept_for_requests_in_a_row(connect: Connect, fake: Any) -> None:
    classifier = connect(fake.url)
    for _ in range(5):
        classifier.classify("good")
    assert fake.connections == 1


def test_threads_share_a_classifier(fake: Any) -> None:
    texts = [f"text {'x' * index}" for index in range(40)]
    with Classifier(fake.url) as classifier, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(classifier.classify, texts))
    assert [result.inference_id for result in results] == [f"id of {text}" for text in texts]


def test_tasks_share_a_classifier_and_a_cancelled_one_disturbs_no_other(fake: Any, steps: Any) -> None:
    reached = threading.Event()

    def hang(handler: Any) -> None:
        reached.set()
        steps.never_answer(handler)

    async def ask() -> list[ClassificationResult]:
        async with AsyncClassifier(fake.url) as classifier:
            fake.misbehave.append(hang)
            hanging = asyncio.create_task(classifier.classify("slow"))
            await asyncio.to_thread(reached.wait)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            return await asyncio.gather(*(classifier.classify(f"text {index}") for index in range(20)))

    assert [result.inference_id for result in asyncio.run(ask())] == [f"id of text {index}" for index in range(20)]
