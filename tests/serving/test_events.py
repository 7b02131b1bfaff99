"""The inference event's rules."""

import pytest

from tunelane_serving.contract import decode, encode
from tunelane_serving.errors import ContractError
from tunelane_serving.events import InferenceEvent

_GOOD = {
    "id": "e",
    "time": 1.0,
    "model": "reviews",
    "model_version": "1",
    "digest": "0",
    "framework": "onnx",
    "input": "text",
    "status": "ok",
    "latency_ms": 1.0,
}


def test_an_event_needs_no_more_than_this_and_writes_no_more():
    event = InferenceEvent(**_GOOD)
    assert b"feedback_time" not in encode(event)
    assert decode(encode(event), InferenceEvent, "event") == event


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ""}, "id: an event needs an id"),
        ({"latency_ms": -0.1}, "latency_ms: cannot be negative"),
        ({"status": "error"}, "error: a failed prediction says why"),
        ({"correct": False}, "feedback_time: feedback has a time"),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        InferenceEvent(**(_GOOD | change))


@pytest.mark.parametrize(("field", "value"), [("framework", b'"torch"'), ("status", b'"fine"')])
def test_a_value_outside_the_list_names_its_field(field, value):
    content = encode(InferenceEvent(**_GOOD)).replace(b'"%s"' % _GOOD[field].encode(), value)
    with pytest.raises(ContractError, match=rf"event: field {field}: Invalid enum value"):
        decode(content, InferenceEvent, "event")


def test_feedback_belongs_to_an_event():
    event = InferenceEvent(**_GOOD, outcome="negative", correct=False, feedback_time=2.0)
    assert decode(encode(event), InferenceEvent, "event") == event
