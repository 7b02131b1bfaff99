"""The collection of example requests works: played from the top against a fresh server, and read as Postman does."""

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tunelane_serving.packing import pack_embedder
from tunelane_serving.server.openapi import document, operation_id
from tunelane_serving.server.routes.all import OPERATIONS

_COLLECTION = Path(__file__).parents[3] / "docs" / "api" / "tunelane.postman_collection.json"
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_VARIABLE = re.compile(r"\{\{(\w+)\}\}")
# The whole language of the scripts: what a line may be.
_HOLDS_STATUS = re.compile(r'pm\.test\("answers (\d+)", \(\) => pm\.response\.to\.have\.status\((\d+)\)\);')
_KEEPS_VALUE = re.compile(r'pm\.collectionVariables\.set\("(\w+)", pm\.response\.json\(\)\["(\w+)"\]\);')


@pytest.fixture(scope="module")
def collection() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(_COLLECTION.read_text())
    return read


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return document(OPERATIONS)


@pytest.fixture
def encoder_archive(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    """An embedding model's package, as it is uploaded."""
    made = tiny_package(tmp_path / "made")
    package = tmp_path / "package"
    graph, tokenizer = made / "onnx" / "model.onnx", made / "tokenizer.json"
    pack_embedder(graph, tokenizer, package, max_length_tokens=32, pooling="none", golden_texts=["a good film"])
    return Path(shutil.make_archive(str(tmp_path / "encoder"), "gztar", package))


class Player:
    """Plays a collection as newman does: fills in its variables and its key, and minds its scripts."""

    def __init__(self, collection: Mapping[str, Any], given: Mapping[str, str]) -> None:
        self._variables = {one["key"]: one["value"] for one in collection["variable"]} | given
        self._auth = collection["auth"]

    def play(self, client: httpx.Client, item: Mapping[str, Any]) -> httpx.Response:
        """Send an item's request, and do what its script says with the answer."""
        request = item["request"]
        url = request["url"]
        filled = {one["key"]: one["value"] for one in url.get("variable", [])}
        parts = [filled[part[1:]] if part.startswith(":") else part for part in url["path"]]
        assert url["raw"] == "/".join((*url["host"], *url["path"]))
        response = client.request(
            request["method"],
            self._fill("/".join((*url["host"], *parts))),
            params={one["key"]: self._fill(one["value"]) for one in url.get("query", []) if not one.get("disabled")},
            headers={
                **{one["key"]: self._fill(one["value"]) for one in request["header"]},
                **self._key(request.get("auth", self._auth)),
            },
            **self._body(request.get("body")),
        )
        self._run(item["event"][0]["script"]["exec"], response)
        return response

    def _key(self, auth: Mapping[str, Any]) -> dict[str, str]:
        if auth["type"] == "noauth":
            return {}
        values = {one["key"]: self._fill(one["value"]) for one in auth["apikey"]}
        assert values["in"] == "header"
        return {values["key"]: values["value"]}

    def _body(self, body: Mapping[str, Any] | None) -> dict[str, Any]:
        if body is None:
            return {}
        if body["mode"] == "raw":
            return {"content": self._fill(body["raw"])}
        fields = [one for one in body["formdata"] if not one.get("disabled")]
        return {
            "data": {one["key"]: self._fill(one["value"]) for one in fields if one["type"] == "text"},
            "files": {one["key"]: Path(self._fill(one["src"])).read_bytes() for one in fields if one["type"] == "file"},
        }

    def _run(self, lines: list[str], response: httpx.Response) -> None:
        holds, *keeps = lines
        match = _HOLDS_STATUS.fullmatch(holds)
        assert match is not None, holds
        assert response.status_code == int(match[1]) == int(match[2]), response.text
        for line in keeps:
            match = _KEEPS_VALUE.fullmatch(line)
            assert match is not None, line
            self._variables[match[1]] = response.json()[match[2]]

    def _fill(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            assert self._variables[match[1]], f"{match[1]} is not set yet"
            return self._variables[match[1]]

        return _VARIABLE.sub(value, text)


def _items(collection: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for folder in collection["item"]:
        yield from folder["item"]


def _path(item: Mapping[str, Any]) -> str:
    """The request's path as OpenAPI writes it."""
    return "/" + "/".join(re.sub(r"^:(\w+)$", r"{\1}", part) for part in item["request"]["url"]["path"])


def _operation(item: Mapping[str, Any], api: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api["paths"][_path(item)][item["request"]["method"].lower()]
    return found


def _check(answer: Any, schema: Mapping[str, Any], api: Mapping[str, Any]) -> None:
    whole = {**schema, "components": api["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(answer)


def test_every_request_gets_its_documented_answer_from_a_fresh_server(
    collection: dict[str, Any],
    api: dict[str, Any],
    start_server: Callable[..., Any],
    tiny_package: Callable[..., Path],
    encoder_archive: Path,
    api_keys: Path,
    tmp_path: Path,
) -> None:
    package = tiny_package(tmp_path / "served")
    server = start_server("--package", package, "--name", "sentiment", "--api-keys", api_keys)
    player = Player(collection, {"baseUrl": server.url, "apiKey": "secret", "packageArchive": str(encoder_archive)})
    answers = {}
    for item in _items(collection):
        response = player.play(server.client, item)
        answers[item["name"]] = response
        documented = _operation(item, api)["responses"][str(response.status_code)]
        ((media_type, media),) = documented["content"].items()
        assert response.headers["content-type"].partition(";")[0] == media_type, item["name"]
        _check(response.json() if media_type == "application/json" else response.text, media["schema"], api)

    predicted = answers["POST /predict"].json()
    assert answers["POST /feedback"].json()["inferenceId"] == predicted["inferenceId"]
    ranking = answers["POST /personalize"].json()
    assert (ranking["model"], ranking["modelVersion"]) == ("encoder", "1")
    assert answers["GET /features/{entity}"].json() == answers["POST /features/{entity}"].json()
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.process.stderr.read()


def test_the_examples_of_answers_fit_the_types(collection: dict[str, Any], api: dict[str, Any]) -> None:
    shown = 0
    for item in _items(collection):
        for response in item["response"]:
            documented = _operation(item, api)["responses"][str(response["code"])]
            _check(json.loads(response["body"]), documented["content"]["application/json"]["schema"], api)
            shown += 1
    assert shown == sum(operation.answer is not None for operation in OPERATIONS)


def test_there_is_one_request_for_each_operation(collection: dict[str, Any], api: dict[str, Any]) -> None:
    found = [_operation(item, api)["operationId"] for item in _items(collection)]
    assert sorted(found) == sorted(map(operation_id, OPERATIONS))


def test_folders_are_the_documents_tags(collection: dict[str, Any], api: dict[str, Any]) -> None:
    assert [folder["name"] for folder in collection["item"]] == [tag["name"] for tag in api["tags"]]
    for folder in collection["item"]:
        assert {_operation(item, api)["tags"][0] for item in folder["item"]} == {folder["name"]}


def test_the_key_goes_where_a_right_is_needed_and_nowhere_else(collection: dict[str, Any], api: dict[str, Any]) -> None:
    for item in _items(collection):
        open_to_all = item["request"].get("auth") == {"type": "noauth"}
        assert open_to_all == ("x-right" not in _operation(item, api)), item["name"]


def test_every_variable_is_declared_and_set_before_it_is_used(collection: dict[str, Any]) -> None:
    declared = {one["key"]: one["value"] for one in collection["variable"]}
    assert set(_VARIABLE.findall(_COLLECTION.read_text())) <= set(declared)
    # Given by whoever plays it.
    known = {"baseUrl", "apiKey", "packageArchive"}
    for item in _items(collection):
        assert set(_VARIABLE.findall(json.dumps(item["request"]))) <= known, item["name"]
        known |= {match[1] for line in item["event"][0]["script"]["exec"] if (match := _KEEPS_VALUE.fullmatch(line))}
    assert known == set(declared)


def test_it_has_the_form_of_collections_2_1(collection: dict[str, Any]) -> None:
    # What the schema at this address requires of the parts that are used here.
    assert collection["info"].keys() == {"name", "description", "schema"}
    assert collection["info"]["schema"] == _SCHEMA
    assert collection.keys() == {"info", "auth", "variable", "item"}
    for folder in collection["item"]:
        assert folder.keys() == {"name", "description", "item"}
    for item in _items(collection):
        assert item.keys() == {"name", "event", "request", "response"}
        _check_request(item["request"])
        for event in item["event"]:
            assert event["listen"] == "test"
            assert event["script"]["type"] == "text/javascript"
            assert all(isinstance(line, str) for line in event["script"]["exec"])
        for response in item["response"]:
            assert HTTPStatus(response["code"]).phrase == response["status"]
            assert isinstance(response["body"], str)
            _check_pairs(response["header"])


def _check_request(request: Mapping[str, Any]) -> None:
    assert request.keys() <= {"method", "header", "url", "description", "auth", "body"}
    assert request["method"] in ("GET", "POST")
    assert request["description"]
    _check_pairs(request["header"])
    url = request["url"]
    assert url.keys() <= {"raw", "host", "path", "query", "variable"}
    assert {part[1:] for part in url["path"] if part.startswith(":")} == {one["key"] for one in url.get("variable", [])}
    _check_pairs([*url.get("query", []), *url.get("variable", [])])
    body = request.get("body")
    if body is not None and body["mode"] == "formdata":
        for field in body["formdata"]:
            assert isinstance(field["src" if field["type"] == "file" else "value"], str)
    elif body is not None:
        assert body["mode"] == "raw"
        json.loads(body["raw"])


def _check_pairs(pairs: list[dict[str, Any]]) -> None:
    for pair in pairs:
        assert isinstance(pair["key"], str)
        assert isinstance(pair["value"], str)
