"""The classifier at a Vertex AI endpoint, which is a server here that answers as Google's API does."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from tunelane_serving.client import AsyncClassifier, Classifier, ClassifierError, InvalidInput, NotAllowed, Unavailable
from tunelane_serving.client.service import Options
from tunelane_serving.client.vertex import VertexEndpoint

Connect = Callable[..., Any]

_PATH = "/v1/projects/my-project/locations/europe-west1/endpoints/123"


@pytest.fixture
def endpoint(connect: Connect, fake: Any) -> Callable[..., Any]:
    def endpoint(**named: Any) -> Any:
        given = {"token": lambda: "t-1", "base_url": fake.url, **named}
        return connect("my-project", "europe-west1", "123", vertex=True, **given)

    return endpoint


def test_a_text_is_an_instance(endpoint: Callable[..., Any], fake: Any) -> None:
    result = endpoint().classify("a good film", notes=["Seen twice."])
    assert (result.label, result.confidence, result.inference_id) == (
        "positive", 0.9, "id of a good film\nSeen twice.",
    )  # fmt: skip
    (asked,) = fake.asked
    assert (asked.method, asked.path) == ("POST", f"{_PATH}:predict")
    assert asked.body == {"instances": [{"text": "a good film\nSeen twice."}]}
    assert asked.headers["authorization"] == "Bearer t-1"


def test_an_image_makes_features_of_an_instance(endpoint: Callable[..., Any], fake: Any) -> None:
    endpoint().classify("A ramp", image_uri="gs://b/i.jpg")
    assert fake.asked[0].body == {"instances": [{"features": {"image_uri": "gs://b/i.jpg", "text": "A ramp"}}]}


def test_a_batch_is_split_and_comes_back_in_its_order(endpoint: Callable[..., Any], fake: Any) -> None:
    texts = [f"text {'x' * index}" for index in range(10)]
    results = endpoint(max_texts=4).classify_batch(texts)
    assert [result.inference_id for result in results] == [f"id of {text}" for text in texts]
    assert [len(asked.body["instances"]) for asked in fake.asked] == [4, 4, 2]


def test_health_is_that_of_the_model_with_most_of_the_traffic(
    endpoint: Callable[..., Any], fake: Any, steps: Any
) -> None:
    classifier = endpoint()
    health = classifier.health()
    assert (health.ready, health.model, health.model_version) == (True, "moods", "3")
    assert (fake.asked[0].method, fake.asked[0].path) == ("GET", _PATH)
    assert fake.asked[0].headers["authorization"] == "Bearer t-1"
    fake.misbehave.append(steps.reply(200, b'{"name": "e"}'))
    assert not classifier.health().ready


def test_feedback_goes_to_a_server_that_never_sees_the_token(endpoint: Callable[..., Any], fake: Any) -> None:
    classifier = endpoint(feedback_url=f"{fake.url}/own/feedback", feedback_api_key="k-1")
    assert isinstance(classifier.feedback("id-1", "positive", correct=False), datetime)
    (asked,) = fake.asked
    assert asked.path == "/own/feedback"
    assert asked.body == {"inferenceId": "id-1", "outcome": "positive", "correct": False}
    assert asked.headers["x-api-key"] == "k-1" and "authorization" not in asked.headers


def test_without_a_place_for_feedback_it_says_so(endpoint: Callable[..., Any], fake: Any) -> None:
    with pytest.raises(ClassifierError, match="Pass feedback_url") as caught:
        endpoint().feedback("id-1", "positive")
    assert (caught.value.code, fake.asked) == ("not_configured", [])


def test_a_token_is_asked_for_each_attempt(endpoint: Callable[..., Any], fake: Any, steps: Any) -> None:
    tokens = iter(["t-1", "t-2"])
    fake.misbehave.append(
        steps.reply(429, b'{"error": {"code": 429, "message": "Q.", "status": "RESOURCE_EXHAUSTED"}}')
    )
    endpoint(token=lambda: next(tokens)).classify("good")
    assert [asked.headers["authorization"] for asked in fake.asked] == ["Bearer t-1", "Bearer t-2"]


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "INVALID_ARGUMENT", InvalidInput),
        (401, "UNAUTHENTICATED", NotAllowed),
        (403, "PERMISSION_DENIED", NotAllowed),
        (404, "NOT_FOUND", InvalidInput),
        (503, "UNAVAILABLE", Unavailable),
    ],
)
def test_googles_errors_are_the_same_errors(
    endpoint: Callable[..., Any], status: int, name: str, kind: type[ClassifierError], fake: Any, steps: Any
) -> None:
    body = {"error": {"code": status, "message": "It is so.", "status": name, "details": [{"@type": "x"}]}}
    fake.misbehave.append(steps.reply(status, json.dumps(body).encode()))
    with pytest.raises(ClassifierError) as caught:
        endpoint(retries=0).classify("good")
    error = caught.value
    assert (type(error), str(error), error.details) == (kind, f"It is so. ({status} {name})", ())


def test_the_addresses_are_googles(fake: Any) -> None:
    def named(dedicated_dns: str) -> VertexEndpoint:
        return VertexEndpoint(
            "example.com:p", "us-central1", "9", access_token=lambda _: "t", dedicated_dns=dedicated_dns,
            feedback_url="", feedback_api_key="", base_url="", options=Options(),
        )  # fmt: skip

    resource = (
        "https://us-central1-aiplatform.googleapis.com/v1/projects/example.com:p/locations/us-central1/endpoints/9"
    )
    assert named("").classify("x", None).url == f"{resource}:predict"
    own = "9.us-central1-42.prediction.vertexai.goog"
    dedicated = named(own)
    assert dedicated.classify("x", None).url == (
        f"https://{own}/v1/projects/example.com:p/locations/us-central1/endpoints/9:predict"
    )
    assert dedicated.health().url == resource


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"project": "a/b"}, "project 'a/b' cannot be used"),
        ({"location": ""}, "location '' cannot be used"),
        ({"endpoint_id": "../7"}, "endpoint_id '../7' cannot be used"),
        ({"base_url": "nowhere"}, "'nowhere' is no address"),
        ({"feedback_url": "nowhere"}, "'nowhere' is no address"),
        ({"token": None}, "Pass credentials"),
    ],
)
def test_a_name_or_address_that_is_none_is_refused(given: dict[str, Any], words: str) -> None:
    names = {"project": "p", "location": "l", "endpoint_id": "1", "token": lambda: "t", **given}
    for kind in (Classifier, AsyncClassifier):
        with pytest.raises(InvalidInput, match=words):
            kind.vertex(**names)


class Credentials:
    """What google-auth's credentials are to the client."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.refreshed = 0

    @property
    def valid(self) -> bool:
        return self.token is not None

    def refresh(self, request: Callable[..., Any]) -> None:  # noqa: ARG002 - google-auth's
        self.refreshed += 1
        self.token = f"t-{self.refreshed}"


def test_credentials_are_refreshed_once_and_when_they_are_over(endpoint: Callable[..., Any], fake: Any) -> None:
    credentials = Credentials()
    classifier = endpoint(token=None, credentials=credentials)
    classifier.classify("good")
    classifier.classify("good")
    credentials.token = None
    classifier.classify("good")
    assert [asked.headers["authorization"] for asked in fake.asked] == ["Bearer t-1", "Bearer t-1", "Bearer t-2"]


def test_threads_refresh_credentials_once(fake: Any) -> None:
    credentials = Credentials()
    with Classifier.vertex("p", "l", "1", credentials=credentials, base_url=fake.url) as classifier:
        threads = [threading.Thread(target=classifier.classify, args=("good",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (credentials.refreshed, len(fake.asked)) == (1, 8)


def test_a_service_accounts_own_credentials_work(endpoint: Callable[..., Any], fake: Any, steps: Any) -> None:
    service_account = pytest.importorskip("google.oauth2.service_account")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    credentials = service_account.Credentials.from_service_account_info(
        {"client_email": "a@b.example", "token_uri": f"{fake.url}/token", "private_key": key.decode()},
        scopes=["https://www.googleapis.com/auth/cloud-platform"],
    )

    def grant(handler: Any) -> None:
        steps.reply(200, b'{"access_token": "t-9", "expires_in": 3600, "token_type": "Bearer"}')(handler)

    fake.misbehave.append(grant)
    assert endpoint(token=None, credentials=credentials).classify("good").label == "positive"
    assert [asked.path for asked in fake.asked] == ["/token", f"{_PATH}:predict"]
    assert fake.asked[1].headers["authorization"] == "Bearer t-9"


def test_credentials_that_give_no_token_are_not_allowed(endpoint: Callable[..., Any], fake: Any) -> None:
    class Refused(Credentials):
        def refresh(self, request: Callable[..., Any]) -> None:  # noqa: ARG002 - google-auth's
            raise RuntimeError("invalid_grant:\nthe key was revoked")

    with pytest.raises(NotAllowed, match="Google gives no access token: invalid_grant: the key was revoked"):
        endpoint(token=None, credentials=Refused()).classify("good")
    assert fake.asked == []


def test_a_token_server_that_is_away_is_asked_again(endpoint: Callable[..., Any], fake: Any, steps: Any) -> None:
    fake.misbehave.append(steps.drop)
    assert endpoint(token=None, credentials=Asking(f"{fake.url}/health")).classify("good").label == "positive"
    assert [asked.path for asked in fake.asked] == ["/health", "/health", f"{_PATH}:predict"]


class Asking(Credentials):
    """Asks a server for its token, as google-auth's do."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def refresh(self, request: Callable[..., Any]) -> None:
        while request(self._url, timeout=120).status != 200:
            time.sleep(0.3)
        super().refresh(request)


@pytest.mark.parametrize("step", ["never_answer", "drip"])
def test_getting_a_token_is_over_with_the_attempt(
    endpoint: Callable[..., Any], fake: Any, steps: Any, step: str
) -> None:
    fake.misbehave.append(getattr(steps, step))
    # Some more repetitions than it takes: on a busy machine a good answer may be late, too.
    classifier = endpoint(token=None, credentials=Asking(f"{fake.url}/health"), attempt_timeout_s=0.3, retries=20)
    assert classifier.classify("good").label == "positive"
    paths = [asked.path for asked in fake.asked]
    assert paths[:2] == ["/health", "/health"]
    assert paths[-1] == f"{_PATH}:predict"


def test_a_token_server_that_is_busy_is_asked_again_by_the_clients_own_waits(
    endpoint: Callable[..., Any], fake: Any, steps: Any
) -> None:
    busy = steps.reply(503, b"", {"retry-after": "7"})
    fake.misbehave += [busy] * 5
    # Less than the server asks to wait for.
    classifier = endpoint(token=None, credentials=Asking(f"{fake.url}/health"), timeout_s=6)
    with pytest.raises(Unavailable, match=r"Google gives no access token now: .*/health answered with 503") as caught:
        classifier.classify("good")
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == ("no_token", 503, 7.0)
    assert [asked.path for asked in fake.asked] == ["/health"]


def test_a_thread_waits_for_another_ones_refresh_as_long_as_its_attempt(fake: Any) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    class Slow(Credentials):
        def refresh(self, request: Callable[..., Any]) -> None:
            begun.set()
            assert may_go_on.wait(60)
            super().refresh(request)

    def try_to_classify() -> None:
        with suppress(ClassifierError):
            classifier.classify("good")

    options: Options = {"attempt_timeout_s": 0.1, "timeout_s": 0.1}
    with Classifier.vertex("p", "l", "1", credentials=Slow(), base_url=fake.url, **options) as classifier:
        first = threading.Thread(target=try_to_classify)
        first.start()
        assert begun.wait(60)
        with pytest.raises(Unavailable, match="did not answer within"):
            classifier.classify("good")
        may_go_on.set()
        first.join()


def test_googles_errors_that_pass_are_asked_again(endpoint: Callable[..., Any], fake: Any) -> None:
    class Passing(Exception):
        retryable = True

    class Once(Credentials):
        def refresh(self, request: Callable[..., Any]) -> None:
            super().refresh(request)
            if self.refreshed == 1:
                self.token = None
                raise Passing("the metadata server is starting")

    assert endpoint(token=None, credentials=Once()).classify("good").label == "positive"
    assert fake.asked[0].headers["authorization"] == "Bearer t-2"
