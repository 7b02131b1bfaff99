"""What one answer leaves behind."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from starlette.testclient import TestClient

from tunelane_serving.events import InferenceEvent
from tunelane_serving.models.model import Answer, Classification, Embedding, Outputs
from tunelane_serving.server.answering import Asked, note_answer
from tunelane_serving.server.served import Served

_VALUES = np.array([0.25, 0.75], np.float32)


class _Kept:
    """Takes events, and keeps them."""

    def __init__(self) -> None:
        self.events: list[Callable[[], InferenceEvent]] = []

    def record(self, event: Callable[[], InferenceEvent]) -> None:
        self.events.append(event)


def _reachable(root: object) -> list[object]:
    """Everything that an object holds, but not through modules, classes or functions."""
    found: dict[int, object] = {}
    left = [root]
    while left:
        item = left.pop()
        if id(item) in found or isinstance(item, type | type(gc) | type(_reachable)):
            continue
        found[id(item)] = item
        left += gc.get_referents(item)
    return list(found.values())


@pytest.mark.parametrize(
    ("answer", "length_tokens"),
    [
        (Classification(("positive",), _VALUES, 3, 0.5), 3),
        (Embedding(_VALUES, 3, 0.5), 3),
        (Outputs({"numbers": _VALUES}), None),
    ],
)
def test_an_event_that_waits_holds_neither_the_vectors_nor_the_model(
    make_client: Callable[..., TestClient],
    tiny_package: Callable[..., Path],
    tmp_path: Path,
    answer: Answer,
    length_tokens: int | None,
) -> None:
    client: Any = make_client("--package", tiny_package(tmp_path / "reviews"))
    recorder = _Kept()
    services = replace(client.services, recorder=recorder)
    serving = services.source.current
    served = Served(serving.model, serving.name, "7")
    prediction = note_answer(services, served, "a good film", Asked("r", 0.0, "u", "s"), "i", answer)
    values = [value for value in (prediction.embedding, prediction.outputs) if value is not UNSET]
    assert len(values) == (0 if isinstance(answer, Classification) else 1)

    (event,) = recorder.events
    arguments = [item for item in event.args if item is not services]  # type: ignore[attr-defined]
    held = _reachable(arguments)
    assert not any(any(item is one for one in (serving.model, served, *values)) for item in held)
    assert not any(isinstance(item, np.ndarray) for item in held)
    made = event()
    assert (made.id, made.model, made.model_version, made.digest) == ("i", "reviews", "7", serving.model.digest)
    assert (made.framework, made.status, made.input, made.request_id) == ("onnx", "ok", "a good film", "r")
    assert (made.length_tokens, made.latency_ms) == (length_tokens, prediction.latency_ms)
    assert (made.prediction, made.confidence) == (prediction.labels, prediction.confidence)
    assert made.scores == tuple(prediction.scores.values())
