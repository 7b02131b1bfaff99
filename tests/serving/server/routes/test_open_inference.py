"""The Open Inference Protocol, held against its published text.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md: what a test quotes
stands there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tunelane_serving.models.loading import load_model
from tunelane_serving.package import Tensor, package_digest
from tunelane_serving.server.inference_protocol import output_tensors

Make = Callable[..., TestClient]
Build = Callable[..., Path]
Json = dict[str, Any]

# "Tensor Data Types".
DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip


@pytest.fixture(scope="module")
def reviews(tiny_package: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


@pytest.fixture
def client(reviews: Path, make_client: Make) -> TestClient:
    return make_client("--package", reviews, "--max-texts", "4")


@pytest.fixture
def client_of_mixed(mixed_package: Path, make_client: Make) -> TestClient:
    return make_client("--package", mixed_package, "--name", "mixed")


def _tensor(name: str, datatype: str, shape: list[int], data: Any) -> Json:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _texts(*texts: str) -> Json:
    return _tensor("text", "BYTES", [len(texts)], list(texts))


def _infer(client: TestClient, *inputs: Json, model: str = "reviews", **rest: Any) -> Json:
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": list(inputs)} | rest)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def _outputs(body: Json) -> dict[str, Json]:
    return {output["name"]: output for output in body["outputs"]}


def _assert_error(answer: Any, *statuses: int) -> str:
    # "A failed inference request must be indicated by an HTTP error status (typically 400). The HTTP body must contain
    # the $inference_error_response object": "error", a string. The same stands of metadata.
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"}
    assert isinstance(body["error"], str)
    message: str = body["error"]
    return message


def test_the_server_lives_and_is_ready(client: TestClient) -> None:
    # The objects $live_server_response and $ready_server_response have the field "live", a $bool.
    for route in ("/v2/health/live", "/v2/health/ready"):
        answer = client.get(route)
        assert (answer.status_code, answer.json()["live"]) == (200, True)
    # What KServe's own server calls it.
    assert client.get("/v2/health/ready").json()["ready"] is True


def test_without_a_model_the_server_lives_and_is_not_ready(reviews: Path, make_client: Make) -> None:
    # "The “server ready” health API indicates if all the models are ready for inferencing."
    nothing = SimpleNamespace(current=None, reload_error="", loads=0, load_failures=0)
    client = make_client("--package", reviews, source=nothing)
    assert client.get("/v2/health/live").status_code == 200
    answer = client.get("/v2/health/ready")
    assert (answer.status_code, answer.json()["live"], answer.json()["ready"]) == (503, False, False)


def test_the_server_describes_itself(client: TestClient) -> None:
    # "A successful server metadata request is indicated by a 200 HTTP status code": name, version, extensions.
    answer = client.get("/v2")
    assert answer.status_code == 200
    assert answer.json().keys() == {"name", "version", "extensions"}
    assert answer.json()["extensions"] == []


def test_a_model_is_ready_by_its_name(client: TestClient) -> None:
    # "The model ready endpoint returns the readiness probe response for the server along with the name of the model."
    answer = client.get("/v2/models/reviews/ready")
    assert (answer.status_code, answer.json()) == (200, {"name": "reviews", "ready": True})


def test_a_model_that_is_not_there_is_an_error_everywhere(client: TestClient) -> None:
    for path in ("/v2/models/other", "/v2/models/reviews/versions/7"):
        assert path.rpartition("/")[2] in _assert_error(client.get(path), 404) or "other" in path
        _assert_error(client.get(f"{path}/ready"), 404)
        _assert_error(client.post(f"{path}/infer", json={"inputs": [_texts("good")]}), 404)
    # "All strings in all contexts are case-sensitive."
    _assert_error(client.get("/v2/models/Reviews"), 404)


def test_a_version_that_is_not_there_is_named_beside_the_one_that_serves(reviews: Path, make_client: Make) -> None:
    client = make_client("--package", reviews, "--mode", "serverless")
    said = _assert_error(client.get("/v2/models/reviews/versions/7"), 404)
    assert said == "There is no model 'reviews' version '7' here, and this server has no repository; 'reviews' serves"


def test_metadata_of_a_text_model(client: TestClient) -> None:
    # Model metadata are name, versions (optional), platform, inputs, outputs; "variable-size dimensions are specified
    # as -1"; "versions" is "optional for models that don’t allow a version to be explicitly requested".
    body = client.get("/v2/models/reviews").json()
    assert body == {
        "name": "reviews",
        "versions": [],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }


def test_metadata_of_tensors_have_the_graphs_inputs_and_outputs(mixed_package: Path, make_client: Make) -> None:
    body = make_client("--package", mixed_package, "--name", "mixed").get("/v2/models/mixed").json()
    assert body["inputs"] == [
        {"name": "numbers", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "switch", "datatype": "BOOL", "shape": [-1]},
        {"name": "word", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert body["outputs"] == [
        {"name": "doubled", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "off", "datatype": "BOOL", "shape": [-1]},
        {"name": "same", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "constant", "datatype": "INT64", "shape": [-1, 3]},
    ]


def test_versions_are_asked_for_by_name(
    repository_client: Make, upload: Callable[..., Any], tiny_package: Build, tmp_path: Path
) -> None:
    # "versions": "the model versions that may be explicitly requested via the appropriate endpoint". "If a version is
    # not provided the server may choose a version based on its own policies": the one in production.
    client = repository_client()
    for version, bias in (("v1", (0.0, 0.0)), ("v2", (9.0, 0.0))):
        package = tiny_package(tmp_path / version, bias=bias)
        assert upload(client, package, "reviews", version=version).status_code == 201
    client.post("/model/reviews/v1/stage", json={"stage": "production"})

    assert client.get("/v2/models/reviews").json()["versions"] == ["v1", "v2"]
    assert client.get("/v2/models/reviews/versions/v2").json()["versions"] == ["v2", "v1"]
    for version in ("v1", "v2"):
        assert client.get(f"/v2/models/reviews/versions/{version}/ready").json() == {"name": "reviews", "ready": True}
    answers = {
        path: client.post(f"/v2/models/reviews{path}/infer", json={"inputs": [_texts("the film")]}).json()
        for path in ("", "/versions/v1", "/versions/v2")
    }
    assert {path: body["model_version"] for path, body in answers.items()} == {
        "": "v1", "/versions/v1": "v1", "/versions/v2": "v2",
    }  # fmt: skip
    assert answers[""]["outputs"] == answers["/versions/v1"]["outputs"]
    assert _outputs(answers["/versions/v2"])["scores"]["data"][0] > 0.99
    _assert_error(client.get("/v2/models/reviews/versions/v3"), 404)


def test_texts_are_answered_as_predict_does(client: TestClient) -> None:
    # "If the output is batched, the shape and data represents the full shape of the entire batch"; "tensor data must be
    # presented in row-major order".
    texts = ("a good film", "it was awful", "the film")
    body = _infer(client, _texts(*texts))
    alone = [client.post("/predict", json={"text": text}).json() for text in texts]
    assert body["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [3], "data": [answer["label"] for answer in alone]},
        {
            "name": "scores",
            "datatype": "FP32",
            "shape": [3, 2],
            "data": [score for answer in alone for score in answer["scores"].values()],
        },
    ]


def test_an_answer_names_its_model_and_gives_the_id_back(client: TestClient, reviews: Path) -> None:
    # "id": "optional, but if specified this identifier must be returned in the response". "Inference servers that do
    # not implement versioning should not provide this field": a package that is served by itself has no version.
    # "$parameter = $string : $string | $number | $boolean".
    body = _infer(client, _texts("good", "bad"), id="42")
    assert body.keys() == {"model_name", "id", "parameters", "outputs"}
    assert (body["model_name"], body["id"]) == ("reviews", "42")
    assert body["parameters"]["digest"] == package_digest(reviews)
    assert all(isinstance(value, str | float | bool) for value in body["parameters"].values())
    assert len(set(body["parameters"]["inference_ids"].split(","))) == 2


def test_without_an_id_it_is_that_of_the_request(client: TestClient) -> None:
    answer = client.post("/v2/models/reviews/infer", json={"inputs": [_texts("good")]}, headers={"x-request-id": "r-1"})
    assert answer.json()["id"] == answer.headers["x-request-id"] == "r-1"


def test_feedback_goes_to_the_inference_ids(client: TestClient, recorded: Callable[..., list[Json]]) -> None:
    ids = _infer(client, _texts("good", "bad"), id="42")["parameters"]["inference_ids"].split(",")
    assert client.post("/feedback", json={"inferenceId": ids[1], "outcome": "positive"}).status_code == 200
    events = {event["id"]: event for event in recorded(client)}
    assert [(events[name]["input"], events[name]["correct"]) for name in ids] == [("good", None), ("bad", False)]
    assert {event["requestId"] for event in events.values()} == {"42"}


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2, 2], [[1, 2], [4, 5]]),
        ([2, 2], [1, 2, 4, 5]),
        ([1, 2], [[0.5, -1.5]]),
        ([1, 2], [0.5, -1.5]),
    ],
)
def test_data_may_be_nested_or_flat(mixed_package: Path, make_client: Make, shape: list[int], data: Any) -> None:
    # "Tensor elements may be presented in their nature multi-dimensional representation, or as a flattened one-
    # dimensional representation": the specification's own matrix, both ways.
    client = make_client("--package", mixed_package, "--name", "mixed")
    rows = shape[0]
    body = _infer(
        client,
        _tensor("numbers", "FP32", shape, data),
        _tensor("switch", "BOOL", [rows], [True] * rows),
        _tensor("word", "BYTES", [rows, 1], ["a"] * rows),
        model="mixed",
    )
    assert _outputs(body)["doubled"] == _tensor("doubled", "FP32", shape, (2 * np.ravel(data)).tolist())


def test_several_inputs_and_outputs_of_several_datatypes(mixed_package: Path, make_client: Make) -> None:
    # "An inference request to a model with two inputs", here three; "optional, if not specified all outputs produced by
    # the model will be returned".
    client = make_client("--package", mixed_package, "--name", "mixed")
    inputs = (
        _tensor("word", "BYTES", [2, 1], ["naïve", "🎬"]),
        _tensor("switch", "BOOL", [2], [True, False]),
        _tensor("numbers", "FP32", [2, 2], [1, 2, 3, 4.5]),
    )
    assert _infer(client, *inputs, model="mixed")["outputs"] == [
        _tensor("doubled", "FP32", [2, 2], [2, 4, 6, 9]),
        _tensor("off", "BOOL", [2], [False, True]),
        _tensor("same", "BYTES", [2, 1], ["naïve", "🎬"]),
        # Without a batch axis in the graph: once a row.
        _tensor("constant", "INT64", [2, 3], [1, 2, 3, 1, 2, 3]),
    ]
    # "The inference server must return the “output0” output tensor."
    wanted = _infer(client, *inputs, model="mixed", outputs=[{"name": "off"}, {"name": "doubled"}])
    assert [output["name"] for output in wanted["outputs"]] == ["off", "doubled"]


def test_large_whole_numbers_and_texts_come_out_as_they_are() -> None:
    tensors = (Tensor("numbers", "uint64", ("batch", 2)), Tensor("words", "string", ("batch",)))
    served: Any = SimpleNamespace(
        labels=(), is_text_model=False, model=SimpleNamespace(manifest=SimpleNamespace(inputs=tensors, outputs=tensors))
    )
    rows: list[Any] = [
        SimpleNamespace(outputs={"numbers": [1, 2**64 - 1], "words": "a\0"}),
        SimpleNamespace(outputs={"numbers": [2**53 + 1, 0], "words": "b"}),
    ]
    outputs = output_tensors(served, rows)
    assert (outputs["numbers"].shape, outputs["numbers"].data) == ((2, 2), [1, 2**64 - 1, 2**53 + 1, 0])
    assert (outputs["words"].shape, outputs["words"].data) == ((2,), ["a\0", "b"])


def test_digits_are_answered_as_predict_does(digits_package: Path, make_client: Make) -> None:
    client = make_client("--package", digits_package, "--name", "digits")
    images = np.random.default_rng(3).random((2, 1, 28, 28)).round(3)
    body = _infer(client, _tensor("image", "FP32", list(images.shape), images.tolist()), model="digits")
    alone = [client.post("/predict", json={"features": {"image": image.tolist()}}).json() for image in images]
    assert _outputs(body)["scores"]["shape"] == [2, 10]
    assert _outputs(body)["scores"]["data"] == [score for answer in alone for score in answer["outputs"]["scores"]]


def test_several_labels_are_a_json_list_in_one_element(tiny_package: Build, tmp_path: Path, make_client: Make) -> None:
    package = tiny_package(tmp_path / "tickets", ("billing", "bug", "praise"), task="multi_label")
    client = make_client("--package", package)
    body = _infer(client, _texts("praise", "the film"), model="tickets")
    assert _outputs(body)["labels"] == _tensor("labels", "BYTES", [2], ['["praise"]', "[]"])
    assert _outputs(body)["scores"]["shape"] == [2, 3]


def test_parameters_that_are_not_known_are_left_alone(client: TestClient) -> None:
    # "Currently no parameters are defined."
    parameters = {"priority": 1, "headers": "none", "binary_data_output": False}
    tensor = _texts("good") | {"parameters": {"content_type": "str"}}
    body = _infer(client, tensor, parameters=parameters, outputs=[{"name": "label", "parameters": {"top": 1.5}}])
    assert _outputs(body)["label"]["data"] == ["positive"]


@pytest.mark.parametrize("datatype", [*(name for name in DATATYPES if name != "BYTES"), "FLOAT", "bytes", ""])
def test_another_datatype_than_the_models_is_an_error(client: TestClient, datatype: str) -> None:
    # "The server can decide to coerce each element to the required type or return an error".
    answer = client.post("/v2/models/reviews/infer", json={"inputs": [_tensor("text", datatype, [1], ["good"])]})
    message = _assert_error(answer, *((400,) if datatype in DATATYPES else (422,)))
    assert "BYTES" in message or "datatype" in message


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "text: is missing"),
        ([_tensor("words", "BYTES", [1], ["good"])], "no such input; there is text"),
        ([_texts("good"), _tensor("other", "FP32", [1], [1])], "'other': there is no such input"),
        ([_texts("good"), _texts("bad")], "stands twice"),
        ([_tensor("text", "BYTES", [2], ["good"])], "the data are not those of the shape"),
        ([_tensor("text", "BYTES", [], ["good"])], "the shape does not fit [-1]"),
        ([_tensor("text", "BYTES", [-1], ["good"])], "the shape does not fit [-1]"),
        ([_tensor("text", "BYTES", [1] * 70, ["good"])], "the shape does not fit [-1]"),
        ([_tensor("text", "BYTES", [1, 2], ["good", "bad"])], "the shape does not fit [-1]"),
        ([_tensor("text", "BYTES", [2, 1], [["good", "bad"]])], "the data are not those of the shape"),
        ([_tensor("text", "BYTES", [2], [["good", "bad"]])], "the data are not those of the shape"),
        ([_tensor("text", "BYTES", [1], [1])], "strings, one a row"),
        ([_tensor("text", "BYTES", [1], [None])], "strings, one a row"),
        ([_tensor("text", "BYTES", [1], [{}])], "strings, one a row"),
        ([_tensor("text", "BYTES", [0], [])], "0 rows; from 1 to 4"),
        ([_tensor("text", "BYTES", [1 << 70], [])], "the data are not those of the shape"),
        ([_texts(*["good"] * 5)], "5 rows; from 1 to 4"),
        ([_texts("good", " ")], "texts[1] is empty"),
        ([{"name": "text", "shape": [1], "datatype": "BYTES"}], "data"),
        ([_tensor("text", "BYTES", ["1"], ["good"])], "shape"),
        ([_texts("good") | {"parameters": {"a": [1]}}], "parameters"),
    ],
)
def test_an_input_that_does_not_fit_is_an_error(client: TestClient, inputs: list[Json], said: str) -> None:
    assert said in _assert_error(client.post("/v2/models/reviews/infer", json={"inputs": inputs}), 400, 422)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"numbers": None}, "numbers: is missing"),
        ({"numbers": _tensor("numbers", "FP64", [1, 2], [1, 2])}, "FP64 is given, FP32 is expected"),
        ({"numbers": _tensor("numbers", "FP32", [1, 3], [1, 2, 3])}, "the shape does not fit [-1, 2]"),
        ({"numbers": _tensor("numbers", "FP32", [2], [1, 2])}, "the shape does not fit [-1, 2]"),
        ({"numbers": _tensor("numbers", "FP32", [2, 2], [1, 2, 3, 4])}, "different numbers of rows"),
        ({"numbers": _tensor("numbers", "FP32", [1 << 62, 0], [])}, "the shape does not fit [-1, 2]"),
        ({"numbers": _tensor("numbers", "FP32", [1, 2], ["1", "2"])}, "a number is expected, found '1'"),
        ({"numbers": _tensor("numbers", "FP32", [1, 2], [1e300, 0])}, "out of the range of float32"),
        ({"switch": _tensor("switch", "BOOL", [1], [1])}, "true or false is expected"),
        ({"word": _tensor("word", "BYTES", [1, 1], [1])}, "a text is expected"),
    ],
)
def test_tensors_that_do_not_fit_are_errors_that_say_where(
    mixed_package: Path, make_client: Make, changed: Mapping[str, Json | None], said: str
) -> None:
    client = make_client("--package", mixed_package, "--name", "mixed")
    inputs: dict[str, Json | None] = {
        "numbers": _tensor("numbers", "FP32", [1, 2], [1, 2]),
        "switch": _tensor("switch", "BOOL", [1], [True]),
        "word": _tensor("word", "BYTES", [1, 1], ["a"]),
    }
    given = [tensor for tensor in (inputs | dict(changed)).values() if tensor is not None]
    assert said in _assert_error(client.post("/v2/models/mixed/infer", json={"inputs": given}), 400)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(-1, 3) | st.sampled_from([1 << 62, 1 << 64]), max_size=3),
    datatype=st.sampled_from(DATATYPES) | st.just("FP32"),
    data=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=9,
        ),
        max_size=4,
    ),
)
def test_whatever_stands_in_a_tensor_the_server_does_not_fail(
    client_of_mixed: TestClient, shape: list[int], datatype: str, data: list[Any]
) -> None:
    rows = shape[0] if shape and 0 <= shape[0] <= 3 else 1
    inputs = [
        _tensor("numbers", datatype, shape, data),
        _tensor("switch", "BOOL", [rows], [True] * rows),
        _tensor("word", "BYTES", [rows, 1], ["a"] * rows),
    ]
    answer = client_of_mixed.post("/v2/models/mixed/infer", json={"inputs": inputs})
    if answer.status_code != 200:
        _assert_error(answer, 400, 422)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "not valid JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "inputs"),
        (b'{"inputs": [], "id": 42}', 422, "id"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}], "outputs": ["label"]}',
         422, "outputs"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}], '
         b'"outputs": [{"name": "logits"}]}', 422, "no output 'logits'; reviews gives label, scores"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ' + b"[" * 9999 + b"]" * 9999,
         400, ""),
    ],
)  # fmt: skip
def test_what_is_no_inference_request_is_an_error(client: TestClient, body: bytes, status: int, said: str) -> None:
    assert said in _assert_error(client.post("/v2/models/reviews/infer", content=body), status)


def test_a_body_that_is_too_large_is_an_error_in_the_protocols_shape(reviews: Path, make_client: Make) -> None:
    client = make_client("--package", reviews, "--max-body-bytes", "100")
    _assert_error(client.post("/v2/models/reviews/infer", json={"inputs": [_texts("good " * 100)]}), 413)


def test_a_graph_that_fails_is_an_error_in_the_protocols_shape(mixed_package: Path, make_client: Make) -> None:
    client = make_client("--package", mixed_package, "--name", "mixed")
    inputs = [
        # Doubled it is more than a float32 holds.
        _tensor("numbers", "FP32", [1, 2], [3e38, 0]),
        _tensor("switch", "BOOL", [1], [True]),
        _tensor("word", "BYTES", [1, 1], ["a"]),
    ]
    assert "log says why" in _assert_error(client.post("/v2/models/mixed/infer", json={"inputs": inputs}), 500)


def test_platforms_and_vectors_of_two_frameworks(encoder_packages: Mapping[str, Path], make_client: Make) -> None:
    # "Platform names use the format “<project>_<format>”": onnx_onnxv1 and tensorflow_savedmodel are on the list.
    bodies = {}
    for name, platform in (("onnx", "onnx_onnxv1"), ("tensorflow", "tensorflow_savedmodel")):
        client = make_client("--package", encoder_packages[name], "--name", "encoder")
        assert client.get("/v2/models/encoder").json()["platform"] == platform
        bodies[name] = _outputs(_infer(client, _texts("My parcel never arrived.", "yes"), model="encoder"))["embedding"]
    assert bodies["onnx"]["shape"] == bodies["tensorflow"]["shape"] == [2, 384]
    np.testing.assert_allclose(bodies["onnx"]["data"], bodies["tensorflow"]["data"], atol=1e-5)
    expected = load_model(encoder_packages["onnx"], None)
    first = expected.run([expected.prepare("My parcel never arrived.")])[0]
    np.testing.assert_array_equal(np.float32(bodies["onnx"]["data"][:384]), first.vector)


def test_who_has_no_key_is_told_in_the_protocols_shape(reviews: Path, make_client: Make, api_keys: Path) -> None:
    client = make_client("--package", reviews, "--api-keys", api_keys)
    for answer in (
        client.post("/v2/models/reviews/infer", json={"inputs": [_texts("good")]}),
        client.get("/v2/models/reviews"),
        client.get("/v2/models/reviews/ready"),
    ):
        assert "API key" in _assert_error(answer, 401)
    # Probes have none.
    assert client.get("/v2/health/ready").status_code == 200
