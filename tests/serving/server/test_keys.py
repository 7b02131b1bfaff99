import hashlib
import json
from typing import Any

import pytest
from starlette.requests import Request

from tunelane_serving.errors import InputError
from tunelane_serving.problems import Forbidden, RateLimited, Unauthorized
from tunelane_serving.server.keys import ApiKeys, read_keys


def _entry(name: str, key: str, *rights: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "rights": rights, **more}


def _request(headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


def _read(*entries: dict[str, Any]) -> ApiKeys:
    return read_keys(json.dumps(entries).encode(), "keys.json")


def test_without_keys_everything_is_open_but_management() -> None:
    keys = ApiKeys()
    for right in ("predict", "feedback", "monitor"):
        keys.require(_request({}), right)
    with pytest.raises(Forbidden, match="--api-keys"):
        keys.require(_request({}), "manage")


@pytest.mark.parametrize(
    "headers",
    [{"x-api-key": "alpha"}, {"authorization": "Bearer alpha"}, {"authorization": "bearer  alpha "}],
)
def test_a_key_is_taken_from_its_header_or_as_a_bearer_token(headers: dict[str, str]) -> None:
    _read(_entry("app", "alpha", "predict")).require(_request(headers), "predict")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "ALPHA"},
        {"x-api-key": "alph"},
        {"authorization": "alpha"},
        {"authorization": "Basic alpha"},
        {"x-api-key": hashlib.sha256(b"alpha").hexdigest()},
    ],
)
def test_what_is_no_key_is_not_let_in(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        _read(_entry("app", "alpha", "predict")).require(_request(headers), "predict")


def test_a_key_is_good_for_its_rights_alone() -> None:
    keys = _read(_entry("app", "alpha", "predict", "feedback"), _entry("operator", "beta", "manage"))
    keys.require(_request({"x-api-key": "alpha"}), "feedback")
    keys.require(_request({"x-api-key": "beta"}), "manage")
    for key, right in (("alpha", "manage"), ("alpha", "monitor"), ("beta", "predict")):
        with pytest.raises(Forbidden, match=f"not good for '{right}'"):
            keys.require(_request({"x-api-key": key}), right)


def test_a_key_that_is_used_up_says_when_to_come_back_and_others_go_on() -> None:
    keys = _read(_entry("app", "alpha", "predict", requests_per_minute=3), _entry("other", "beta", "predict"))
    for _ in range(3):
        keys.require(_request({"x-api-key": "alpha"}), "predict")
    with pytest.raises(RateLimited) as refused:
        keys.require(_request({"x-api-key": "alpha"}), "predict")
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 20
    for _ in range(10):
        keys.require(_request({"x-api-key": "beta"}), "predict")


def test_a_refused_request_takes_nothing_from_the_key() -> None:
    keys = _read(_entry("app", "alpha", "predict", requests_per_minute=1))
    for _ in range(5):
        with pytest.raises(Forbidden):
            keys.require(_request({"x-api-key": "alpha"}), "manage")
    keys.require(_request({"x-api-key": "alpha"}), "predict")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "keys.json"),
        (b"{}", "JSON list"),
        (b"[]", "no key in it"),
        (b"\xff", "keys.json"),
        (b'[{"name": "a", "sha256": "abc", "rights": []}]', "sha256"),
        (b'[{"name": "a", "key": "abc", "rights": []}]', "key"),
        (json.dumps([_entry("a", "x", "delete")]).encode(), "rights"),
        (json.dumps([_entry("a", "x", requests_per_minute=0)]).encode(), "requests_per_minute"),
        (json.dumps([_entry("a", "x"), _entry("a", "y")]).encode(), "stands twice"),
        (json.dumps([_entry("a", "x"), _entry("b", "x")]).encode(), "stands twice"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line_that_says_why(content: bytes, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_keys(content, "keys.json")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
