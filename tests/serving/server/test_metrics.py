from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tunelane_serving.deployment import ActiveRevision, write_active
from tunelane_serving.package import package_digest, read_manifest, seal
from tunelane_serving.server.champion import DeployedChampion

Make = Callable[..., TestClient]
Labels = frozenset[tuple[str, str]]


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "reviews")


@pytest.fixture
def client(package: Path, make_client: Make) -> TestClient:
    return make_client("--package", package)


def _samples(client: TestClient) -> dict[tuple[str, Labels], float]:
    """What `GET /metrics` tells, by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _value(client: TestClient, name: str, **labels: str) -> float | None:
    return _samples(client).get((name, frozenset(labels.items())))


def test_metrics_are_in_the_text_format_of_prometheus(client: TestClient) -> None:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE tunelane_requests_total counter" in response.text
    assert client.post("/metrics").status_code == 405


def test_requests_count_by_route_and_status_and_their_time_by_route(client: TestClient) -> None:
    for _ in range(3):
        client.post("/predict", json={"text": "good"})
    client.post("/predict", json={"text": ""})
    client.get("/predict")
    client.get("/health")
    counts = {
        tuple(sorted(dict(labels).values())): value
        for (name, labels), value in _samples(client).items()
        if name == "tunelane_requests_total"
    }
    assert counts == {("/predict", "200"): 3, ("/predict", "422"): 1, ("/predict", "405"): 1, ("/health", "200"): 1}
    assert _value(client, "tunelane_request_duration_seconds_count", route="/predict") == 5
    assert 0 < _value(client, "tunelane_request_duration_seconds_sum", route="/predict") < 5


def test_paths_that_clients_make_up_are_one_series(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/nowhere/{number}")
    assert _value(client, "tunelane_requests_total", route="other", status="404") == 5
    assert not [labels for _, labels in _samples(client) if "nowhere" in str(labels)]


def test_a_crash_counts_as_a_500_and_as_a_failed_prediction(client: TestClient) -> None:
    client.services.source.current.model.run = None
    assert client.post("/predict", json={"text": "good"}).status_code == 500
    assert _value(client, "tunelane_requests_total", route="/predict", status="500") == 1
    assert _value(client, "tunelane_prediction_failures_total", model="reviews") == 1
    assert _value(client, "tunelane_prediction_confidence_count") == 0


def test_each_text_counts_with_its_label_and_confidence(client: TestClient) -> None:
    alone = client.post("/predict", json={"text": "good"}).json()
    batch = client.post("/batch_predict", json={"texts": ["bad", "so good", "awful"]}).json()["predictions"]
    assert _value(client, "tunelane_predictions_total", label="positive") == 2
    assert _value(client, "tunelane_predictions_total", label="negative") == 2
    confidences = [answer["confidence"] for answer in (alone, *batch)]
    assert _value(client, "tunelane_prediction_confidence_count") == 4
    assert _value(client, "tunelane_prediction_confidence_sum") == pytest.approx(sum(confidences))
    below = sum(confidence <= 0.95 for confidence in confidences)
    assert _value(client, "tunelane_prediction_confidence_bucket", le="0.95") == below


def test_a_multi_label_text_counts_once_for_each_label_and_under_none_where_it_got_none(
    tiny_package: Callable[..., Path], tmp_path: Path, make_client: Make
) -> None:
    package = tiny_package(tmp_path / "tickets", ("billing", "bug", "praise"), task="multi_label")
    seal(package, msgspec.structs.replace(read_manifest(package), thresholds={"bug": 0.2, "praise": 0.2}))
    client = make_client("--package", package)
    client.post("/batch_predict", json={"texts": ["bug praise", "the film"]})
    assert _value(client, "tunelane_predictions_total", label="bug") == 1
    assert _value(client, "tunelane_predictions_total", label="praise") == 1
    assert _value(client, "tunelane_predictions_total", label="") == 1
    assert _value(client, "tunelane_prediction_confidence_count") == 2


def test_the_model_that_answers_is_named(client: TestClient, package: Path) -> None:
    labels = {"model": "reviews", "model_version": "", "digest": package_digest(package), "variant": "fp32"}
    assert _value(client, "tunelane_model_info", **labels) == 1
    assert _value(client, "tunelane_model_loads_total") == 1
    assert _value(client, "tunelane_model_load_failures_total") == 0


def test_without_a_model_none_is_named(package: Path, make_client: Make) -> None:
    source = SimpleNamespace(current=None, reload_error="", loads=0, load_failures=0)
    client = make_client("--package", package, source=source)
    assert "tunelane_model_info{" not in client.get("/metrics").text
    client.post("/predict", json={"text": "good"})
    assert _value(client, "tunelane_requests_total", route="/predict", status="503") == 1


def test_a_new_revision_takes_the_old_ones_place_and_failures_count(
    package: Path, tiny_package: Callable[..., Path], deploy: Callable[..., str], tmp_path: Path, make_client: Make
) -> None:
    deployment = tmp_path / "deployment"
    source = DeployedChampion(deployment)
    client = make_client("--package", package, source=source)
    deploy(deployment, package, "1")
    source.poll()
    deploy(deployment, tiny_package(tmp_path / "second", bias=(1.0, 0.0)), "2")
    source.poll()
    write_active(deployment, ActiveRevision("sentiment", "3", "0" * 64))
    source.poll()
    source.poll()

    infos = [dict(labels) for name, labels in _samples(client) if name == "tunelane_model_info"]
    assert [info["model_version"] for info in infos] == ["2"]
    assert _value(client, "tunelane_model_loads_total") == 2
    assert _value(client, "tunelane_model_load_failures_total") == 1


def test_two_applications_in_one_process_count_apart(package: Path, make_client: Make) -> None:
    first, second = (make_client("--package", package) for _ in range(2))
    first.post("/predict", json={"text": "good"})
    assert _value(first, "tunelane_prediction_confidence_count") == 1
    assert _value(second, "tunelane_prediction_confidence_count") == 0
