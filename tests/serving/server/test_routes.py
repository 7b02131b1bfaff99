import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from tunelane_serving.models.loading import load_classifier
from tunelane_serving.models.model import Classification
from tunelane_serving.package import package_digest, read_manifest, seal
from tunelane_serving.server.routes import health

LIMITS = ("--max-body-bytes", "2000", "--max-texts", "3", "--max-text-chars", "100")

Make = Callable[..., TestClient]


@pytest.fixture(scope="module")
def package(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


@pytest.fixture
def client(package: Path, make_client: Make) -> TestClient:
    return make_client("--package", package, *LIMITS)


def _assert_error(response, status: int, code: str) -> str:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() <= {"code", "message", "details"}
    assert body["error"]["code"] == code
    return body["error"]["message"]


def test_predict_answers_as_the_classifier_does_and_names_its_model(client: TestClient, package: Path) -> None:
    body = client.post("/predict", json={"text": "a good film"}).json()

    expected = load_classifier(package, None).classify("a good film")
    assert body["label"] == "positive"
    assert body["labels"] == ["positive"]
    assert list(body["scores"]) == ["negative", "positive"]
    assert list(body["scores"].values()) == expected.scores.tolist()
    assert body["confidence"] == body["scores"]["positive"]
    assert re.fullmatch("[0-9a-f]{32}", body["inferenceId"])
    assert (body["model"], body["modelVersion"], body["variant"]) == ("reviews", "", "fp32")
    assert body["digest"] == package_digest(package)
    assert 0 < body["latencyMs"] < 5000


def test_every_answer_has_an_id_of_its_own(client: TestClient) -> None:
    bodies = client.post("/batch_predict", json={"texts": ["good"] * 3}).json()["predictions"]
    bodies.append(client.post("/predict", json={"text": "good"}).json())
    assert len({body["inferenceId"] for body in bodies}) == 4


def test_a_batch_answers_in_order_and_exactly_as_one_by_one(client: TestClient) -> None:
    texts = ["bad", "so the film was good and a great love", "it was awful"]
    batch = client.post("/batch_predict", json={"texts": texts}).json()["predictions"]
    alone = [client.post("/predict", json={"text": text}).json() for text in texts]
    assert [body["label"] for body in batch] == ["negative", "positive", "negative"]
    assert [body["scores"] for body in batch] == [body["scores"] for body in alone]
    assert batch[0].keys() == alone[0].keys()


def test_a_text_of_any_script_is_answered(client: TestClient) -> None:
    for text in ("добрый 🎬", "\u0000", "\u200b", "a\nb\tc", "é" * 100):
        assert client.post("/predict", json={"text": text}).status_code == 200, text


@pytest.mark.parametrize(
    ("thresholds", "labels", "confidence_of"),
    [({}, ["praise"], "praise"), ({"praise": 0.99, "bug": 0.2}, ["bug"], "bug"), ({"praise": 0.99}, [], "praise")],
)
def test_a_multi_label_answer_has_no_single_label_and_the_confidence_of_the_chosen(
    tiny_package: Callable[..., Path], tmp_path: Path, make_client: Make, thresholds, labels, confidence_of
) -> None:
    package = tiny_package(tmp_path / "tickets", ("billing", "bug", "praise"), task="multi_label")
    seal(package, msgspec.structs.replace(read_manifest(package), thresholds=thresholds))
    body = make_client("--package", package).post("/predict", json={"text": "praise praise praise bug"}).json()
    assert body["label"] is None
    assert body["labels"] == labels
    assert body["confidence"] == body["scores"][confidence_of]


@pytest.mark.parametrize("route", ["/predict", "/batch_predict"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"good", b'{"text": "\xff"}', b'{"texts": ["\xff"]}', b'\xef\xbb\xbf{"text": "a"}']
)
def test_a_body_that_is_not_json_is_a_400(client: TestClient, route: str, body: bytes) -> None:
    if b"text" in body and (b"texts" in body) != (route == "/batch_predict"):
        return
    _assert_error(client.post(route, content=body), 400, "malformed_json")


@pytest.mark.parametrize(
    ("route", "body", "said"),
    [
        ("/predict", {}, "Give a text"),
        ("/predict", [], "object"),
        ("/predict", {"text": None}, "Give a text"),
        ("/predict", {"text": "good", "features": {}}, "a text goes with neither"),
        ("/predict", {"text": ["good"]}, "$.text"),
        ("/predict", {"text": "good", "top_k": 1}, "`top_k`"),
        ("/predict", {"texts": ["good"]}, "`texts`"),
        ("/predict", {"text": ""}, "empty"),
        ("/predict", {"text": " \n\t"}, "empty"),
        ("/predict", {"text": "a" * 101}, "101 characters; at most 100"),
        ("/batch_predict", {"text": "good"}, '{"texts": …}'),
        ("/batch_predict", {"texts": "good"}, "$.texts"),
        ("/batch_predict", {"texts": ["good", 1]}, "$.texts"),
        ("/batch_predict", {"texts": []}, "at least one"),
        ("/batch_predict", {"texts": ["good"] * 4}, "4 texts; at most 3"),
        ("/batch_predict", {"texts": ["good", ""]}, "texts[1] is empty"),
        ("/batch_predict", {"texts": ["good", "a" * 101]}, "texts[1] has 101"),
    ],
)
def test_json_that_is_not_a_request_is_a_422_that_says_why(client: TestClient, route: str, body, said: str) -> None:
    assert said in _assert_error(client.post(route, json=body), 422, "invalid_request")


def test_limits_hold_up_to_their_last_unit(client: TestClient) -> None:
    assert client.post("/predict", json={"text": "a" * 100}).status_code == 200
    assert client.post("/batch_predict", json={"texts": ["good"] * 3}).status_code == 200
    body = json.dumps({"text": "good"}).encode()
    assert client.post("/predict", content=body.ljust(2000)).status_code == 200
    assert "2000 bytes" in _assert_error(client.post("/predict", content=body.ljust(2001)), 413, "body_too_large")


def test_a_chunked_body_is_counted_too(client: TestClient) -> None:
    response = client.post("/predict", content=(b" " * 500 for _ in range(5)))
    assert "content-length" not in response.request.headers
    _assert_error(response, 413, "body_too_large")


def test_unknown_paths_and_methods_are_errors_of_the_same_shape(client: TestClient) -> None:
    assert "/nowhere" in _assert_error(client.get("/nowhere"), 404, "not_found")
    _assert_error(client.post("/predict/", json={"text": "good"}), 404, "not_found")
    response = client.get("/predict")
    assert "POST" in _assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    _assert_error(client.delete("/health"), 405, "method_not_allowed")
    response = client.delete("/features/user-17")
    assert "GET, HEAD, POST" in _assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


def test_health_names_what_serves(client: TestClient, package: Path) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {
        "live": True,
        "ready": True,
        "model": "reviews",
        "modelVersion": "",
        "digest": package_digest(package),
        "variant": "fp32",
        "framework": "onnx",
        "backend": f"onnxruntime {version('onnxruntime')}",
        "fallback": False,
        "fallbackReason": "",
        "reloadError": "",
        "mode": "standalone",
    }


@pytest.fixture
def unknown_distributions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No package is known by the name that it is looked for: TensorFlow may be installed as tensorflow-cpu."""

    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    health._with_version.cache_clear()
    with monkeypatch.context() as changed:
        changed.setattr(importlib.metadata, "version", unknown)
        yield
    health._with_version.cache_clear()


@pytest.mark.usefixtures("unknown_distributions")
def test_a_framework_installed_under_another_name_does_not_cost_the_health(client: TestClient) -> None:
    response = client.get("/health")
    assert (response.status_code, response.json()["backend"]) == (200, "onnxruntime")


def test_without_a_model_the_server_lives_but_is_not_ready(package: Path, make_client: Make) -> None:
    client = make_client("--package", package, source=_source(None, reload_error="no such package"))
    response = client.get("/health")
    assert response.status_code == 503
    body = response.json()
    assert (body["live"], body["ready"], body["digest"]) == (True, False, "")
    assert body["reloadError"] == "no such package"
    _assert_error(client.post("/predict", json={"text": "good"}), 503, "not_ready")
    _assert_error(client.post("/batch_predict", json={"texts": ["good"]}), 503, "not_ready")
    assert client.get("/").status_code == 200


def test_a_crash_is_a_500_without_internals(package: Path, make_client: Make) -> None:
    def crash(_: object) -> list[Classification]:
        raise RuntimeError("/secret/path is broken")

    client = make_client("--package", package)
    response = _answering(client, crash, make_client, package).post("/predict", json={"text": "good"})
    assert "secret" not in _assert_error(response, 500, "internal_error")


def _source(served: Any, *, reload_error: str = "") -> Any:
    return SimpleNamespace(current=served, reload_error=reload_error, loads=0, load_failures=0)


def _answering(client: TestClient, run: Callable[[object], object], make_client: Make, package: Path) -> TestClient:
    """Serve the same model, but for what it answers."""
    served = client.services.source.current
    model = load_classifier(package, None)
    model.run = run
    return make_client("--package", package, source=_source(replace(served, model=model)))


def test_the_page_needs_nothing_but_this_server(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
