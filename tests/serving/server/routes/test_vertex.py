"""Vertex AI's custom containers and Cloud Run: their contracts, their ports, and their ends.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements,
https://cloud.google.com/run/docs/container-contract
"""

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tunelane_serving.packing import archive
from tunelane_serving.server.app import create_app

Make = Callable[..., TestClient]
Build = Callable[..., Path]
Start = Callable[..., Any]
Recorded = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def reviews(tiny_package: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


@pytest.fixture
def client(reviews: Path, make_client: Make) -> TestClient:
    return make_client("--package", reviews, "--max-texts", "3")


def _predictions(client: httpx.Client, route: str = "/vertex/predict", **body: Any) -> list[dict[str, Any]]:
    answer = client.post(route, json=body)
    assert answer.status_code == 200, answer.text
    # "Format: {"predictions": […]}", one for each instance, in order.
    assert answer.json().keys() == {"predictions"}
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def test_instances_are_texts_or_objects_and_answered_in_order_as_by_predict(client: TestClient) -> None:
    instances = ["a good film", {"text": "it was awful"}, {"features": {"text": "great"}}]
    answers = _predictions(client, instances=instances)
    alone = [client.post("/predict", json={"text": text}).json() for text in ("a good film", "it was awful", "great")]
    assert [answer["label"] for answer in answers] == ["positive", "negative", "positive"]
    assert [answer["scores"] for answer in answers] == [answer["scores"] for answer in alone]
    assert answers[0].keys() == alone[0].keys()


def test_parameters_go_for_all_instances_and_unknown_ones_are_left_alone(
    client: TestClient, recorded: Recorded
) -> None:
    parameters = {"userId": "ada", "sessionId": "s-1", "confidenceThreshold": 0.5}
    _predictions(client, instances=["good", "bad"], parameters=parameters)
    _predictions(client, instances=["good"], parameters=None)
    assert [(event["userId"], event["sessionId"]) for event in recorded(client)] == [
        ("ada", "s-1"), ("ada", "s-1"), ("", ""),
    ]  # fmt: skip


def test_instances_of_a_graph_are_features(mixed_package: Path, make_client: Make) -> None:
    client = make_client("--package", mixed_package)
    features = {"numbers": [1, 2], "switch": False, "word": ["a"]}
    answers = _predictions(client, instances=[features, {"features": features | {"numbers": [0, 0.5]}}])
    assert [answer["outputs"]["doubled"] for answer in answers] == [[2, 4], [0, 1]]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "instances"),
        ({"instances": []}, 422, "at least one"),
        ({"instances": ["good"] * 4}, 422, "at most 3"),
        ({"instances": "good"}, 422, "instances"),
        ({"instances": [1]}, 422, "instances"),
        ({"instances": [["good"]]}, 422, "instances"),
        ({"instances": ["good", " "]}, 422, "empty"),
        ({"instances": [{"words": "good"}]}, 400, "feature 'text'"),
        ({"instances": [{"text": 3}]}, 400, "feature 'text'"),
        ({"instances": ["good"], "parameters": {"userId": 3}}, 422, "userId"),
    ],
)
def test_what_is_no_prediction_request_is_an_error(
    client: TestClient, body: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/vertex/predict", json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]


def test_the_container_answers_under_the_names_that_vertex_gives_it(start_server: Start, reviews: Path) -> None:
    predict = "/v1/endpoints/417/deployedModels/99:predict"
    server = start_server(
        AIP_HTTP_PORT="8080",
        AIP_STORAGE_URI=str(reviews),
        AIP_PREDICT_ROUTE=predict,
        AIP_HEALTH_ROUTE="/v1/endpoints/417/deployedModels/99",
    )
    # A container is reached from outside. What lies in the storage is what is served.
    assert server.url.startswith("http://0.0.0.0:")
    assert server.client.get("/v1/endpoints/417/deployedModels/99").status_code == 200
    health = server.client.get("/vertex/health").json()
    assert (health["ready"], health["model"], health["mode"]) == (True, "reviews", "serverless")
    answers = _predictions(server.client, predict, instances=["good", {"text": "bad"}], parameters={"userId": "ada"})
    assert [answer["label"] for answer in answers] == ["positive", "negative"]
    assert server.client.get("/nowhere").status_code == 404
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("with_database", [False, True])
def test_on_cloud_run_nothing_is_kept_without_a_database(
    start_server: Start, reviews: Path, api_keys: Path, tmp_path: Path, with_database: bool
) -> None:
    home = tmp_path / "home"
    database = tmp_path / "server.sqlite"
    arguments = ("--database", f"sqlite:///{database}") if with_database else ()
    server = start_server(
        "--package", reviews, "--api-keys", api_keys, "--home", home, *arguments, K_SERVICE="reviews", PORT="8080"
    )
    server.client.headers["x-api-key"] = "secret"
    assert server.url.startswith("http://0.0.0.0:")
    assert server.client.get("/health").json()["mode"] == "serverless"
    answer = server.client.post("/predict", json={"text": "good"}).json()
    assert answer["label"] == "positive"

    # One package for a revision's life, whatever is kept.
    with archive(reviews, tmp_path / "package.zip").open("rb") as stream:
        upload = server.client.post("/model/upload", data={"modelId": "reviews"}, files={"package": stream})
    stage = server.client.post("/model/reviews/1/stage", json={"stage": "production"})
    assert [(response.status_code, response.json()["error"]["code"]) for response in (upload, stage)] == [
        (403, "forbidden")
    ] * 2

    kept = [
        server.client.post("/feedback", json={"inferenceId": answer["inferenceId"], "outcome": "negative"}),
        server.client.post("/features/user-17", json={"features": {"text": "awful"}}),
        server.client.get("/features/user-17"),
        server.client.post("/predict", json={"entityId": "user-17"}),
        server.client.get("/monitoring/events"),
        server.client.get("/monitoring/metrics"),
        server.client.get("/monitoring/drift"),
    ]
    if with_database:
        assert [response.status_code for response in kept] == [200] * 7
    else:
        assert [(response.status_code, response.json()["error"]["code"]) for response in kept] == [
            (409, "not_kept")
        ] * 7
        assert server.client.get("/health/ml").json()["database"] == "none"
    assert server.end(signal.SIGTERM) == 0
    if with_database:
        with sqlite3.connect(database) as connection:
            assert connection.execute("SELECT label FROM inference_events ORDER BY time").fetchall() == [
                ("positive",),
                ("negative",),
            ]
            assert connection.execute("SELECT outcome FROM feedback").fetchall() == [("negative",)]
    else:
        assert not home.exists() or not any(path.is_file() for path in home.rglob("*"))


def test_sigterm_finishes_what_runs_and_writes_its_events(
    start_server: Start, patient_package: Path, tmp_path: Path, until: Callable[..., None]
) -> None:
    database = tmp_path / "server.sqlite"
    server = start_server(
        "--package", patient_package, "--name", "patient", "--workers", "1", "--database", f"sqlite:///{database}",
        K_SERVICE="patient",
    )  # fmt: skip

    def ask(_: int) -> tuple[int, str]:
        answer = httpx.post(f"{server.url}/predict", json={"features": {"rounds": 1000}}, timeout=20)
        return answer.status_code, answer.json()["inferenceId"]

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, number) for number in range(8)]

        def all_are_taken() -> bool:
            """Whether all but the one that runs are done or wait."""
            done = sum(task.done() for task in asked)
            waiting = server.client.get("/health/ml").json()["queueDepth"]
            return done == 8 or (waiting > 0 and done + waiting == 7)

        until(all_are_taken)
        signalled_s = time.monotonic()
        assert server.end(signal.SIGTERM) == 0
        assert time.monotonic() - signalled_s < 8
        answers = [task.result() for task in asked]
    assert {status for status, _ in answers} == {200}
    with sqlite3.connect(database) as connection:
        events = connection.execute("SELECT id, status, input FROM inference_events").fetchall()
    assert {name for name, _, _ in events} == {name for _, name in answers}
    assert {(status, json.loads(text)["rounds"]) for _, status, text in events} == {("ok", 1000)}
    # Whoever comes after it is turned away at the door.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=1)


def test_sigterm_does_not_wait_for_what_never_ends(
    start_server: Start, patient_package: Path, until: Callable[..., None]
) -> None:
    server = start_server("--package", patient_package, "--workers", "1")
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(_ask_for_ever, server.url) for _ in range(2)]
        until(lambda: server.client.get("/health/ml").json()["queueDepth"] == 1)
        assert server.end(signal.SIGTERM) == 0
        # Answered or cut off: nobody is left waiting.
        assert all(task.result() in (None, 400, 500, 503) for task in asked)


def _ask_for_ever(url: str) -> int | None:
    try:
        return httpx.post(f"{url}/predict", json={"features": {"rounds": 1 << 40}}, timeout=30).status_code
    except httpx.TransportError:
        return None


def test_a_route_that_vertex_names_means_there_what_vertex_sends(make_client: Make, reviews: Path) -> None:
    services = make_client("--package", reviews).services
    client = TestClient(create_app(services, aliases=[("/predict", "/vertex/predict"), ("/", "/vertex/health")]))
    assert [answer["label"] for answer in _predictions(client, "/predict", instances=["good", "bad"])] == [
        "positive",
        "negative",
    ]
    assert client.get("/").json()["ready"] is True
    assert client.get("/health").json()["ready"] is True


def test_vertex_may_name_one_path_for_both_routes(start_server: Start, reviews: Path) -> None:
    server = start_server("--package", reviews, AIP_PREDICT_ROUTE="/both", AIP_HEALTH_ROUTE="/both")
    assert [answer["label"] for answer in _predictions(server.client, "/both", instances=["good"])] == ["positive"]
    assert server.client.get("/both").json()["ready"] is True
