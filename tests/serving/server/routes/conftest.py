"""Fixtures for the routes' tests: a server with a repository, uploads, what was recorded, and further graphs."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from tunelane_serving.packing import archive, pack_tensors


@pytest.fixture
def repository_client(make_client: Callable[..., TestClient], api_keys: Path) -> Callable[..., TestClient]:
    """Make a client, by a key that may do everything, of a server that has its repository alone."""

    def make(*arguments: str | Path) -> TestClient:
        client = make_client("--repository", "--api-keys", api_keys, *arguments)
        client.headers["x-api-key"] = "secret"
        return client

    return make


@pytest.fixture
def upload(tmp_path: Path) -> Callable[..., httpx.Response]:
    """Upload a package as an archive; further fields that are no texts go as JSON."""

    def upload(client: httpx.Client, package: Path, model_id: str, suffix: str = ".tar.gz", **fields: Any) -> Any:
        packed = archive(package, tmp_path / f"upload{suffix}")
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        with packed.open("rb") as stream:
            return client.post("/model/upload", data={"modelId": model_id} | form, files={"package": stream})

    return upload


@pytest.fixture
def recorded() -> Callable[..., list[dict[str, Any]]]:
    """Give the events of an application in this process, the oldest first. It records none after that."""

    def recorded(client: TestClient, **query: str) -> list[dict[str, Any]]:
        client.services.recorder.close(timeout_s=20)
        found = client.get("/monitoring/events", params=query)
        assert found.status_code == 200, found.text
        return found.json()["events"][::-1]

    return recorded


@pytest.fixture(scope="session")
def mixed_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack a graph of three inputs and four outputs.

    `numbers` (batch, 2) float32, `switch` (batch,) bool, `word` (batch, 1) string; out come `doubled` (batch, 2)
    float32, `off` (batch,) bool, `same` (batch, 1) string, and `constant` (3,) int64, which has no batch axis.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["numbers", "numbers"], ["doubled"]),
            helper.make_node("Not", ["switch"], ["off"]),
            helper.make_node("Identity", ["word"], ["same"]),
            helper.make_node("Identity", ["three"], ["constant"]),
        ],
        "mixed",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ("batch", 2)),
            helper.make_tensor_value_info("switch", TensorProto.BOOL, ("batch",)),
            helper.make_tensor_value_info("word", TensorProto.STRING, ("batch", 1)),
        ],
        [
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, ("batch", 2)),
            helper.make_tensor_value_info("off", TensorProto.BOOL, ("batch",)),
            helper.make_tensor_value_info("same", TensorProto.STRING, ("batch", 1)),
            helper.make_tensor_value_info("constant", TensorProto.INT64, (3,)),
        ],
        [numpy_helper.from_array(np.array([1, 2, 3]), "three")],
    )
    return _packed(graph, tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="session")
def patient_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack a graph that takes as long as it is told: `rounds` (batch,) int64, each some 0.05 ms; `result` is 0."""
    from onnx import TensorProto, helper, numpy_helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going_on"], ["still_going_on"]),
            helper.make_node("MatMul", ["before", "zeros"], ["after"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, ()),
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, (128, 128)),
        ],
        [
            helper.make_tensor_value_info("still_going_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, (128, 128)),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Squeeze", ["rounds"], ["count"]),
            helper.make_node("Loop", ["count", "", "zeros"], ["product"], body=body),
            helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
            helper.make_node("Unsqueeze", ["sum", "first"], ["result"]),
        ],
        "patient",
        [helper.make_tensor_value_info("rounds", TensorProto.INT64, ("batch",))],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ("batch",))],
        [
            numpy_helper.from_array(np.zeros((128, 128), np.float32), "zeros"),
            numpy_helper.from_array(np.array([0]), "first"),
        ],
    )
    return _packed(graph, tmp_path_factory.mktemp("patient"))


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, as long as it takes within reason."""

    def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    return until


def _packed(graph: Any, directory: Path) -> Path:
    import onnx
    from onnx import helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, directory / "graph.onnx")
    pack_tensors(directory / "graph.onnx", directory / "package")
    return directory / "package"
