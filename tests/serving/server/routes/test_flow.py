"""From an upload to the figures: models of every kind, in both frameworks, on SQLite and on PostgreSQL."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from starlette.testclient import TestClient

from tunelane_serving.package import Golden, package_digest, read_manifest, seal
from tunelane_serving.server.app import create_app

Make = Callable[..., TestClient]
Build = Callable[..., Path]
Upload = Callable[..., httpx.Response]
Recorded = Callable[..., list[dict[str, Any]]]

PRODUCTS = {
    "tent": "A light tent for two, for a weekend of hiking.",
    "pan": "A cast-iron frying pan.",
    "boots": "Waterproof walking boots.",
    "lamp": "A reading lamp for the bedside.",
}


@pytest.fixture(scope="module")
def reviews(tiny_package: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


def _predict(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _put(client: TestClient, upload: Upload, package: Path, model_id: str, **fields: Any) -> dict[str, Any]:
    answer = upload(client, package, model_id, ".tar", **fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_classifier_from_its_upload_to_its_accuracy(
    repository_client: Make, upload: Upload, recorded: Recorded, reviews: Path, database_url: str
) -> None:
    client = repository_client("--database", database_url)
    digest = _put(client, upload, reviews, "reviews")["digest"]

    good = _predict(client, text="a good film", modelId="reviews", userId="ada", sessionId="s-1")
    bad = _predict(client, text="awful", modelId="reviews")
    batch = client.post("/batch_predict", json={"texts": ["great", "hate"], "modelId": "reviews"}).json()["predictions"]
    assert [answer["label"] for answer in (good, bad, *batch)] == ["positive", "negative"] * 2
    assert {answer["digest"] for answer in (good, bad, *batch)} == {digest}
    assert (good["model"], good["modelVersion"], good["framework"]) == ("reviews", "1", "onnx")

    for answer, outcome in ((good, "positive"), (bad, "positive"), (batch[0], "positive")):
        receipt = client.post("/feedback", json={"inferenceId": answer["inferenceId"], "outcome": outcome})
        assert (receipt.status_code, receipt.json()["inferenceId"]) == (200, answer["inferenceId"])

    # Those of a batch end in any order.
    events = {event["input"]: event for event in recorded(client, model="reviews")}
    assert {text: (event["prediction"], event["correct"]) for text, event in events.items()} == {
        "a good film": (["positive"], True),
        "awful": (["negative"], False),
        "great": (["positive"], True),
        "hate": (["negative"], None),
    }
    first = events["a good film"]
    assert (first["id"], first["userId"], first["sessionId"]) == (good["inferenceId"], "ada", "s-1")
    assert (first["status"], first["outcome"]) == ("ok", "positive")
    assert (first["digest"], first["framework"]) == (digest, "onnx")
    assert first["confidence"] == pytest.approx(good["confidence"])

    metrics = client.get("/monitoring/metrics", params={"model": "reviews", "buckets": 2}).json()
    assert (metrics["count"], metrics["errors"], metrics["feedbackCount"]) == (4, 0, 3)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["labels"] == {"positive": 2, "negative": 2}
    assert 0 < metrics["p50LatencyMs"] <= metrics["p95LatencyMs"] <= metrics["p99LatencyMs"]
    assert metrics["meanConfidence"] == pytest.approx(np.mean([event["confidence"] for event in events.values()]))
    assert sum(bucket["count"] for bucket in metrics["buckets"]) == 4
    assert client.get("/monitoring/metrics", params={"model": "other"}).json()["count"] == 0

    drift = client.get("/monitoring/drift", params={"model": "reviews", "minimumEvents": 1}).json()
    assert (drift["status"], drift["digest"]) == ("no_reference", digest)


def test_features_of_digits_and_what_does_not_fit(
    repository_client: Make, upload: Upload, recorded: Recorded, digits_package: Path, database_url: str
) -> None:
    client = repository_client("--database", database_url)
    stored = _put(client, upload, digits_package, "digits")
    assert (stored["task"], stored["inputs"]) == (
        "tensors",
        [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 28, 28]}],
    )
    image = np.random.default_rng(5).random((1, 28, 28)).round(2).tolist()
    answer = _predict(client, modelId="digits", features={"image": image})
    assert (answer["label"], answer["labels"], answer["scores"], answer["confidence"]) == (None, [], {}, None)
    assert sum(answer["outputs"]["scores"]) == pytest.approx(1, abs=1e-5)

    row = [[0.0] * 28] * 27
    refused: list[tuple[Any, str]] = [
        ({}, "image: is missing; float32 [1, 28, 28] is expected"),
        ({"image": image, "colour": 1}, "colour: the model has no such input; it has image"),
        ({"image": 3}, "image: a list is expected, found a whole number"),
        ({"image": [row]}, "image[0]: 28 entries are expected, found 27"),
        ({"image": [[*row, [0.0] * 27 + ["x"]]]}, "image[0][27][27]: a number is expected, found 'x'"),
        ({"image": [[*row, [0.0] * 27 + [True]]]}, "image[0][27][27]: a number is expected, found true"),
        ({"image": [[*row, [0.0] * 27 + [1e39]]]}, "image: a number is out of the range of float32"),
    ]
    for features, detail in refused:
        response = client.post("/predict", json={"modelId": "digits", "features": features})
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert (error["code"], error["details"]) == ("features_mismatch", [detail])
    assert "takes no text; it takes features: image" in client.post(
        "/predict", json={"modelId": "digits", "text": "five"}
    ).text  # fmt: skip
    assert client.post("/batch_predict", json={"modelId": "digits", "texts": ["five"]}).status_code == 400

    events = recorded(client)
    assert [msgspec.json.decode(event["input"]) for event in events] == [{"image": image}]
    assert (events[0]["prediction"], events[0]["confidence"]) == ([], None)


@pytest.mark.parametrize("name", ["onnx", "tensorflow", "litert"])
def test_a_sentence_encoder_of_each_framework_from_upload_to_metrics(
    repository_client: Make,
    upload: Upload,
    recorded: Recorded,
    encoder_packages: Mapping[str, Path],
    database_url: str,
    name: str,
) -> None:
    client = repository_client("--database", database_url, "--allow-saved-models")
    framework = "onnx" if name == "onnx" else "tensorflow"
    stored = _put(client, upload, encoder_packages[name], "encoder", framework=framework)
    answer = _predict(client, text="My parcel never arrived.", modelId="encoder")
    assert (answer["framework"], answer["digest"]) == (framework, stored["digest"])
    assert np.linalg.norm(answer["embedding"]) == pytest.approx(1, abs=1e-5)
    given = {"inferenceId": answer["inferenceId"], "outcome": "complaint", "correct": True}
    assert client.post("/feedback", json=given).status_code == 200
    loaded = client.get("/health/ml").json()["models"]
    assert [(model["model"], model["framework"]) for model in loaded] == [("encoder", framework)]

    (event,) = recorded(client)
    assert (event["framework"], event["outcome"], event["correct"]) == (framework, "complaint", True)
    metrics = client.get("/monitoring/metrics").json()
    assert (metrics["count"], metrics["accuracy"], metrics["meanConfidence"]) == (1, 1.0, None)


def test_an_encoder_is_swapped_from_tensorflow_to_onnx_by_its_stage_alone(
    repository_client: Make, upload: Upload, recorded: Recorded, encoder_packages: Mapping[str, Path]
) -> None:
    client = repository_client("--allow-saved-models")
    for version in ("tensorflow", "onnx"):
        _put(client, upload, encoder_packages[version], "encoder", version=version)
    request = {
        "modelId": "encoder",
        "products": [{"id": name, "text": text} for name, text in PRODUCTS.items()],
        "context": {"text": "a hike in the mountains", "history": ["a rucksack"]},
        "userId": "ada",
    }

    def personalized(stage_of: str) -> dict[str, Any]:
        assert client.post(f"/model/encoder/{stage_of}/stage", json={"stage": "production"}).status_code == 200
        answer = client.post("/personalize", json=request)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    answers = {version: personalized(version) for version in ("tensorflow", "onnx", "tensorflow")}
    assert {version: (a["framework"], a["modelVersion"]) for version, a in answers.items()} == {
        "tensorflow": ("tensorflow", "tensorflow"),
        "onnx": ("onnx", "onnx"),
    }
    rankings = {
        version: {product["id"]: product["similarity"] for product in answer["ranking"]}
        for version, answer in answers.items()
    }
    assert list(rankings["onnx"]) == list(rankings["tensorflow"])
    assert set(rankings["onnx"]) == set(PRODUCTS)
    assert [product["rank"] for product in answers["onnx"]["ranking"]] == [1, 2, 3, 4]
    for name in PRODUCTS:
        assert rankings["onnx"][name] == pytest.approx(rankings["tensorflow"][name], abs=1e-5)

    # Side by side on one endpoint, by naming the version.
    vectors = [
        _predict(client, text="My parcel never arrived.", modelId="encoder", version=version)["embedding"]
        for version in ("onnx", "tensorflow")
    ]
    np.testing.assert_allclose(*vectors, atol=1e-5)

    ranked = [event for event in recorded(client) if event["prediction"]]
    assert [event["modelVersion"] for event in ranked] == ["tensorflow", "onnx", "tensorflow"]
    assert ranked[0]["prediction"] == list(rankings["tensorflow"])
    assert (ranked[0]["input"], ranked[0]["userId"]) == ("a hike in the mountains\na rucksack", "ada")


def test_personalize_refuses_what_it_cannot_rank(
    make_client: Make, encoder_packages: Mapping[str, Path], reviews: Path
) -> None:
    client = make_client("--package", encoder_packages["onnx"], "--max-products", "2", "--max-waiting", "4")
    product = {"id": "a", "text": "a pan"}
    context = {"text": "cooking"}
    for body, said in (
        ({"products": [], "context": context}, "no product"),
        ({"products": [product], "context": {}}, "context is empty"),
        ({"products": [product, product], "context": context}, "stands twice"),
        ({"products": [product | {"id": name} for name in "abc"], "context": context}, "at most 2"),
        ({"products": [product | {"text": " "}], "context": context}, "empty"),
        ({"products": [product], "context": context, "limit": 0}, "limit"),
        # As a whole it could never wait here, so asking again would not help.
        ({"products": [product], "context": {"history": ["a"] * 4}}, "5 texts or rows in all; at most 4"),
    ):
        answer = client.post("/personalize", json=body)
        assert (answer.status_code, said in answer.text) == (422, True), answer.text
    answer = client.post("/personalize", json={"products": [product], "context": context, "limit": 1})
    assert [ranked["id"] for ranked in answer.json()["ranking"]] == ["a"]
    other = make_client("--package", reviews).post("/personalize", json={"products": [product], "context": context})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "features_mismatch")


def test_the_version_in_production_answers_a_name_alone_and_steps_down(
    repository_client: Make, upload: Upload, tiny_package: Build, tmp_path: Path, database_url: str
) -> None:
    client = repository_client("--database", database_url)
    for number in (1, 2, 3):
        _put(client, upload, tiny_package(tmp_path / f"v{number}", bias=(float(number), 0.0)), "reviews")

    def answering(**names: str) -> str:
        answer = _predict(client, text="the film", modelId="reviews", **names)
        # The version is that of the very scores.
        bias = float(np.log(answer["scores"]["negative"] / answer["scores"]["positive"]))
        assert bias == pytest.approx(int(answer["modelVersion"]), abs=1e-3)
        return str(answer["modelVersion"])

    def stages() -> dict[str, str]:
        versions = client.get("/model/reviews/versions").json()["versions"]
        return {stored["version"]: stored["stage"] for stored in versions}

    assert answering() == "3"
    assert list(stages()) == ["3", "2", "1"]
    assert client.post("/model/reviews/1/stage", json={"stage": "production"}).json()["stage"] == "production"
    assert (answering(), answering(version="2")) == ("1", "2")
    client.post("/model/reviews/2/stage", json={"stage": "production"})
    assert answering() == "2"
    assert stages() == {"3": "development", "2": "production", "1": "staging"}
    client.post("/model/reviews/2/stage", json={"stage": "staging"})
    assert answering() == "3"
    for body, status in (({"modelId": "reviews", "version": "4"}, 404), ({"modelId": "other"}, 404)):
        assert client.post("/predict", json={"text": "good"} | body).status_code == status


def test_a_name_without_a_version_and_a_version_without_a_name(
    make_client: Make, reviews: Path, tiny_package: Build, tmp_path: Path, api_keys: Path, upload: Upload
) -> None:
    client = make_client("--package", reviews, "--api-keys", api_keys)
    client.headers["x-api-key"] = "secret"
    # The name of the package that serves means that one; its versions in the repository are asked for by number.
    _put(client, upload, tiny_package(tmp_path / "next", bias=(5.0, 0.0)), "reviews")
    assert _predict(client, text="good", modelId="reviews")["modelVersion"] == ""
    assert _predict(client, text="good", modelId="reviews", version="1")["modelVersion"] == "1"
    assert client.post("/predict", json={"text": "good", "version": "1"}).status_code == 404


def test_stored_features_of_an_entity_answer_for_it(
    repository_client: Make,
    upload: Upload,
    recorded: Recorded,
    reviews: Path,
    mixed_package: Path,
    database_url: str,
) -> None:
    client = repository_client("--database", database_url)
    _put(client, upload, reviews, "reviews")
    _put(client, upload, mixed_package, "mixed")
    of_user = {"text": "a good film", "numbers": [1, 2], "switch": True, "word": ["a"], "shoe size": 43}
    assert client.post("/features/user-17", json={"features": of_user}).json()["features"] == of_user
    client.post("/features/user-17", json={"features": {"shoe size": None}})
    assert "shoe size" not in client.get("/features/user-17").json()["features"]

    assert _predict(client, entityId="user-17", modelId="reviews")["label"] == "positive"
    # What is given stands before what is stored, and what the model does not take is left out.
    assert _predict(client, entityId="user-17", features={"text": "awful"}, modelId="reviews")["label"] == "negative"
    outputs = _predict(client, entityId="user-17", features={"numbers": [3, 4]}, modelId="mixed")["outputs"]
    assert outputs == {"doubled": [6, 8], "off": False, "same": ["a"], "constant": [1, 2, 3]}

    assert client.get("/features/nobody").status_code == 404
    assert client.post("/predict", json={"entityId": "nobody", "modelId": "reviews"}).status_code == 404
    client.post("/features/empty", json={"features": {"age": 3}})
    response = client.post("/predict", json={"entityId": "empty", "modelId": "reviews"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "features_mismatch")
    inputs = [event["input"] for event in recorded(client, model="reviews")]
    assert inputs == ["a good film", "awful"]


def test_request_ids_stand_in_answers_and_events(make_client: Make, recorded: Recorded, reviews: Path) -> None:
    client = make_client("--package", reviews)
    asked = {"text": "good", "userId": "ada", "sessionId": "s-1"}
    given = client.post("/predict", json=asked, headers={"x-request-id": "trace/7"})
    made = client.post("/batch_predict", json={"texts": ["good", "bad"], "userId": "bob"})
    # What no log could carry is replaced.
    odd = client.post("/predict", json={"text": "bad"}, headers={"x-request-id": "a" * 129})
    assert given.headers["x-request-id"] == "trace/7"
    assert odd.headers["x-request-id"] != "a" * 129
    assert client.get("/nowhere").headers["x-request-id"]
    assert client.post("/predict", json={}).headers["x-request-id"]
    events = recorded(client)
    assert [event["requestId"] for event in events] == [
        "trace/7", made.headers["x-request-id"], made.headers["x-request-id"], odd.headers["x-request-id"],
    ]  # fmt: skip
    assert [(event["userId"], event["sessionId"]) for event in events] == [
        ("ada", "s-1"), ("bob", ""), ("bob", ""), ("", ""),
    ]  # fmt: skip


def test_with_hashed_inputs_no_text_is_anywhere_in_the_database(
    make_client: Make,
    recorded: Recorded,
    encoder_packages: Mapping[str, Path],
    reviews: Path,
    tmp_path: Path,
) -> None:
    home = tmp_path / "hashed"
    client = make_client("--package", reviews, "--hash-inputs", "--home", home)
    word = "unutterable"
    asked = _predict(client, text=f"{word} film")
    client.post("/batch_predict", json={"texts": [word, word]})
    client.post("/vertex/predict", json={"instances": [word, {"text": word}]})
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [word]}
    assert client.post("/v2/models/reviews/infer", json={"inputs": [tensor]}).status_code == 200
    # A message of whatever fails may quote what it failed on.
    served = client.services.source.current

    def fail(_: object) -> None:
        raise ValueError(f"cannot read {word}")

    failing = replace(client.services.source.current, model=_changed(served.model, run=fail))
    client.services.source.current = failing
    assert client.post("/predict", json={"text": word}).status_code == 500
    client.services.source.current = served
    events = recorded(client)
    assert len(events) == 7
    assert all(event["inputHashed"] and len(event["input"]) == 64 for event in events)
    assert events[1]["input"] == events[2]["input"] != events[0]["input"]
    assert (events[-1]["status"], events[-1]["error"]) == ("error", "ValueError")
    assert client.post("/feedback", json={"inferenceId": asked["inferenceId"], "outcome": "positive"}).is_success

    encoder = make_client("--package", encoder_packages["onnx"], "--hash-inputs", "--home", home)
    products = [{"id": "a", "text": word}, {"id": "b", "text": "a pan"}]
    ranked = encoder.post("/personalize", json={"products": products, "context": {"text": word}})
    assert ranked.status_code == 200
    assert recorded(encoder)[-1]["prediction"] == ["a", "b"]
    for services in (client.services, encoder.services):
        services.database.close()
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"positive" in kept
    assert word.encode() not in kept
    with sqlite3.connect(home / "server.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM inference_events").fetchone() == (8,)


def _changed(model: Any, **changes: Any) -> Any:
    """Give the same model, but for what stands in `changes`."""
    changed = object.__new__(type(model))
    changed.__dict__.update(vars(model) | changes)
    return changed


def test_a_failed_prediction_is_an_event_and_a_refused_one_is_none(
    make_client: Make, recorded: Recorded, mixed_package: Path
) -> None:
    client = make_client("--package", mixed_package, "--name", "mixed")
    features = {"numbers": [3e38, 0], "switch": True, "word": ["a"]}
    refused = client.post("/predict", json={"features": features | {"switch": 1}})
    # Doubled it is more than a float32 holds, and JSON has no word for that.
    failed = client.post("/predict", json={"features": features, "userId": "ada"})
    assert (refused.status_code, failed.status_code) == (400, 500)
    assert _predict(client, features=features | {"numbers": [1, 2]})["outputs"]["doubled"] == [2, 4]
    events = recorded(client)
    assert [event["status"] for event in events] == ["error", "ok"]
    assert "not finite" in events[0]["error"]
    assert (events[0]["userId"], events[0]["prediction"]) == ("ada", [])
    metrics = client.get("/monitoring/metrics").json()
    assert (metrics["count"], metrics["errors"]) == (2, 1)
    assert [event["id"] for event in recorded(client, status="error")] == [events[0]["id"]]
    assert 'tunelane_prediction_failures_total{model="mixed"} 1.0' in client.get("/metrics").text


def test_a_failed_ranking_is_one_event(
    make_client: Make, recorded: Recorded, encoder_packages: Mapping[str, Path]
) -> None:
    client = make_client("--package", encoder_packages["onnx"], "--name", "encoder")
    served = client.services.source.current

    def fail(_: object) -> None:
        raise ValueError("broken")

    client.services.source.current = replace(served, model=_changed(served.model, run=fail))
    products = [{"id": name, "text": text} for name, text in PRODUCTS.items()]
    answer = client.post("/personalize", json={"products": products, "context": {"text": "hiking"}, "userId": "ada"})
    assert answer.status_code == 500
    (event,) = recorded(client)
    assert (event["status"], event["error"], event["input"]) == ("error", "ValueError: broken", "hiking")
    assert event["userId"] == "ada"


def test_kept_answers_say_so_and_are_never_another_models(
    repository_client: Make, upload: Upload, recorded: Recorded, tiny_package: Build, tmp_path: Path
) -> None:
    client = repository_client("--answer-cache-bytes", "1000000")
    for version, bias in (("v1", 0.0), ("v2", 4.0)):
        _put(client, upload, tiny_package(tmp_path / version, bias=(bias, 0.0)), "reviews", version=version)
    answers = [
        _predict(client, text="the film", modelId="reviews", version=version)
        for version in ("v1", "v2", "v1", "v2", "v1")
    ]
    assert [answer["cached"] for answer in answers] == [False, False, True, True, True]
    scores = [answer["scores"]["negative"] for answer in answers]
    assert scores == [scores[0], scores[1]] * 2 + [scores[0]]
    assert scores[0] != scores[1]
    assert len({answer["inferenceId"] for answer in answers}) == 5
    # Another text is another answer; so is the same one under the other name of a version.
    assert not _predict(client, text="the film ", modelId="reviews", version="v1")["cached"]
    client.post("/model/reviews/v1/stage", json={"stage": "production"})
    assert _predict(client, text="the film", modelId="reviews")["cached"]
    text = client.get("/metrics").text
    assert "tunelane_answer_cache_hits_total 4.0" in text
    # What was kept is an event all the same.
    assert len(recorded(client)) == 7


def test_each_labels_threshold_decides(
    repository_client: Make, upload: Upload, recorded: Recorded, tiny_package: Build, tmp_path: Path
) -> None:
    labels = ("billing", "bug", "praise")
    package = tiny_package(tmp_path / "tickets", labels, task="multi_label")
    manifest = read_manifest(package)
    client = repository_client()
    for version, thresholds in (("even", {}), ("strict", {"bug": 0.999}), ("lax", dict.fromkeys(labels, 0.01))):
        seal(package, msgspec.structs.replace(manifest, thresholds=thresholds))
        _put(client, upload, package, "tickets", version=version)
    text = "bug praise"
    chosen = {
        version: _predict(client, text=text, modelId="tickets", version=version)["labels"]
        for version in ("even", "strict", "lax")
    }
    assert chosen == {"even": ["bug", "praise"], "strict": ["praise"], "lax": ["billing", "bug", "praise"]}
    none = _predict(client, text="the film", modelId="tickets", version="even")
    assert (none["labels"], none["label"], none["confidence"]) == ([], None, max(none["scores"].values()))
    events = recorded(client)
    assert [event["prediction"] for event in events] == [*chosen.values(), []]
    counted = client.get("/monitoring/metrics").json()["labels"]
    assert (counted["bug"], counted["praise"], counted["billing"]) == (2, 3, 1)


def test_drift_is_measured_against_the_uploaded_packages_reference(
    repository_client: Make, upload: Upload, tiny_package: Build, tmp_path: Path
) -> None:
    package = tiny_package(tmp_path / "reviews")
    manifest = msgspec.to_builtins(read_manifest(package))
    manifest["reference"] = [{"name": "label", "counts": [900, 100], "categories": ["negative", "positive"]}]
    (package / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    client = repository_client()
    digest = _put(client, upload, package, "reviews")["digest"]
    assert digest == package_digest(package)
    for text in ["good"] * 60:
        _predict(client, text=text, modelId="reviews")
    client.services.recorder.close(timeout_s=20)
    query = {"model": "reviews", "minimumEvents": 50}
    drift = client.get("/monitoring/drift", params=query).json()
    assert (drift["status"], drift["events"], drift["digest"]) == ("drift", 60, digest)
    assert [feature["name"] for feature in drift["features"] if feature["drifted"]] == ["label"]
    assert client.get("/monitoring/drift", params=query | {"minimumEvents": 61}).json()["status"] == "too_few_events"
    assert client.get("/monitoring/drift", params={"model": "other"}).status_code == 404


def test_feedback_may_come_before_its_event_and_at_another_instance(
    make_client: Make, reviews: Path, recorded: Recorded, tmp_path: Path, database_url: str
) -> None:
    one, other = (
        make_client("--package", reviews, "--database", database_url, "--home", tmp_path / name) for name in "ab"
    )
    asked = _predict(one, text="a good film")
    early = other.post("/feedback", json={"inferenceId": asked["inferenceId"], "outcome": "negative"})
    assert early.status_code == 200
    assert [(event["id"], event["correct"]) for event in recorded(one)] == [(asked["inferenceId"], False)]
    # The newest counts, wherever it was given.
    one.post("/feedback", json={"inferenceId": asked["inferenceId"], "outcome": "positive"})
    (event,) = recorded(other)
    assert (event["outcome"], event["correct"]) == ("positive", True)


def test_pages_of_events_give_each_once(make_client: Make, recorded: Recorded, reviews: Path) -> None:
    client = make_client("--package", reviews)
    client.post("/batch_predict", json={"texts": ["good"] * 7})
    everything = [event["id"] for event in recorded(client)][::-1]
    pages: list[str] = []
    query = {"limit": "3"}
    while True:
        body = client.get("/monitoring/events", params=query).json()
        pages += [event["id"] for event in body["events"]]
        if body["nextCursor"] is None:
            break
        query["cursor"] = body["nextCursor"]
    assert pages == everything
    assert len(pages) == 7


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("/monitoring/events", {"limit": "0"}),
        ("/monitoring/events", {"limit": "x"}),
        ("/monitoring/events", {"colour": "red"}),
        ("/monitoring/events", [("limit", "1"), ("limit", "2")]),
        ("/monitoring/events", {"cursor": "not one"}),
        ("/monitoring/events", {"since": "yesterday"}),
        ("/monitoring/events", {"since": "2026-01-01T00:00:00"}),
        ("/monitoring/events", {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
        ("/monitoring/metrics", {"buckets": "501"}),
        ("/monitoring/drift", {"alpha": "0"}),
        ("/monitoring/drift", {"model": "a b"}),
    ],
)
def test_a_query_that_cannot_be_meant_is_a_422(make_client: Make, reviews: Path, route: str, query: Any) -> None:
    response = make_client("--package", reviews).get(route, params=query)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request"), response.text


def test_pages_of_an_application_need_no_key(make_client: Make, reviews: Path, api_keys: Path) -> None:
    client = TestClient(create_app(make_client("--package", reviews, "--api-keys", api_keys).services))
    for path in ("/", "/docs", "/openapi.json", "/health", "/health/ml", "/metrics", "/v2", "/v2/health/ready"):
        assert client.get(path).status_code == 200, path
    for path in ("/monitoring/events", "/monitoring/metrics", "/monitoring/drift", "/features/a"):
        assert client.get(path).status_code == 401, path


def test_a_golden_row_of_features_is_replayed_at_the_upload(
    repository_client: Make, upload: Upload, digits_package: Path, tmp_path: Path
) -> None:
    import shutil

    package = shutil.copytree(digits_package, tmp_path / "digits")
    manifest = read_manifest(package)
    golden = manifest.goldens[0]
    changed = Golden("", {"fp32": tuple(1 - score for score in golden.scores["fp32"])}, golden.features)
    seal(package, msgspec.structs.replace(manifest, goldens=(changed,)))
    refused = upload(repository_client(), package, "digits")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_package")
