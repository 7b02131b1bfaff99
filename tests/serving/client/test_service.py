"""How texts become requests, and the client beside what it needs."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.client import AsyncClassifier, Classifier, InvalidInput
from tunelane_serving.client.server import TunelaneServer
from tunelane_serving.client.service import Options, split
from tunelane_serving.client.vertex import VertexEndpoint
from tunelane_serving.server.wire import BatchPredictRequest


@given(st.lists(st.binary(max_size=400)), st.integers(1, 10), st.integers(512, 2000))
def test_parts_hold_all_items_in_order_within_the_limits(items: list[bytes], max_texts: int, max_bytes: int) -> None:
    parts = split(items, {"max_texts": max_texts, "max_body_bytes": max_bytes})
    assert [item for part in parts for item in part] == items
    for part in parts:
        assert 1 <= len(part) <= max_texts
        assert len(part) == 1 or len(b",".join(part)) + 512 <= max_bytes
    # No part could have taken the first item of the next one.
    for part, following in itertools.pairwise(parts):
        grown = [*part, following[0]]
        assert len(grown) > max_texts or len(b",".join(grown)) + 1 + 512 > max_bytes


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=300), max_size=40))
def test_every_request_is_one_that_the_server_takes(texts: list[str]) -> None:
    options: Options = {"max_texts": 7, "max_body_bytes": 4000}
    server = TunelaneServer("http://h", api_key="", model_id="m" * 128, version="v" * 64, options=options)
    endpoint = VertexEndpoint(
        "p", "l", "1", access_token=lambda _: "t", dedicated_dns="", feedback_url="", feedback_api_key="", base_url="",
        options=options,
    )  # fmt: skip
    bodies = [call.body for call in server.classify_batch(texts)]
    requests = [msgspec.json.decode(body, type=BatchPredictRequest) for body in bodies]
    assert [text for request in requests for text in request.texts] == texts
    instances = [msgspec.json.decode(call.body)["instances"] for call in endpoint.classify_batch(texts)]
    assert [instance["text"] for part in instances for instance in part] == texts
    assert all(len(body) <= 4000 for body in bodies)


@pytest.mark.parametrize("name", ["httpx", "google", "starlette", "sqlalchemy", "onnxruntime", "numpy"])
def test_the_client_needs_httpx_alone(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import tunelane_serving.client"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if name == "httpx":
        last = finished.stderr.splitlines()[-1]
        assert last == "ImportError: tunelane_serving.client needs httpx. Run: pip install 'tunelane[client]'"
    else:
        assert (finished.returncode, finished.stderr) == (0, "")


def test_importing_the_client_does_not_load_google_auth_or_the_server() -> None:
    code = (
        "import sys, tunelane_serving.client\n"
        "print(*sorted({'google.auth', 'starlette', 'uvicorn', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "\n"


@pytest.mark.parametrize("kind", [Classifier, AsyncClassifier])
def test_an_option_that_there_is_not_is_a_type_error(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"no option 'timeout'; there are timeout_s, attempt_timeout_s, retries"):
        kind("http://h", timeout=2)
    with pytest.raises(TypeError, match="no option 'model'"):
        kind.vertex("p", "l", "1", token=lambda: "t", model="m")


@pytest.mark.parametrize("vertex", [False, True])
def test_half_a_character_is_invalid_input(vertex: bool) -> None:
    if vertex:
        classifier = Classifier.vertex("p", "l", "1", token=lambda: "t", feedback_url="http://127.0.0.1:9")
    else:
        classifier = Classifier("http://127.0.0.1:9")
    half = "a \ud83d film"
    asks: list[Callable[[], Any]] = [
        lambda: classifier.classify(half),
        lambda: classifier.classify("a", image_uri=half),
        lambda: classifier.classify_batch(["good", half]),
        lambda: classifier.feedback(half, "positive"),
        lambda: classifier.feedback("id", half),
    ]
    with classifier:
        for ask in asks:
            with pytest.raises(InvalidInput, match="half a character") as caught:
                ask()
            assert caught.value.code == "invalid_input"
