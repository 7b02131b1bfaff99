"""The OpenAPI document is whole: valid, every route in it, every example of its type, every error said."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tunelane_serving.problems import MethodNotAllowed, Problem
from tunelane_serving.server import wire
from tunelane_serving.server.examples import ANSWERS
from tunelane_serving.server.keys import Right
from tunelane_serving.server.openapi import document, operation_id, problems_of
from tunelane_serving.server.routes.all import OPERATIONS


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return document(OPERATIONS)


def _operations(api: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _walk(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _walk(inner)


def _media(operation: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an operation takes and gives, by media type."""
    for carrier in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from carrier.get("content", {}).items()


def _schemas(api: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from api["components"]["schemas"].values()
    for _, _, operation in _operations(api):
        yield from (media["schema"] for _, media in _media(operation))
        yield from (parameter["schema"] for parameter in operation.get("parameters", []))


def _check(value: Any, schema: Mapping[str, Any], api: Mapping[str, Any]) -> None:
    whole = {**schema, "components": api["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


def test_the_document_is_openapi_3_1(api: dict[str, Any]) -> None:
    OPENAPI_31_VALIDATOR.validate(api)


def test_every_schema_is_json_schema(api: dict[str, Any]) -> None:
    for schema in _schemas(api):
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere_and_every_component_is_used(api: dict[str, Any]) -> None:
    referenced = {part["$ref"] for part in _walk(api) if "$ref" in part}
    assert referenced == {f"#/components/schemas/{name}" for name in api["components"]["schemas"]}


def test_every_operation_says_what_it_is(api: dict[str, Any]) -> None:
    operations = [operation for _, _, operation in _operations(api)]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    tags = [tag["name"] for tag in api["tags"]]
    for operation in operations:
        assert operation["summary"]
        assert len(operation["tags"]) == 1
        assert set(operation["tags"]) <= set(tags)
        assert all(answer["description"] for answer in operation["responses"].values())
    assert {operation["tags"][0] for operation in operations} == set(tags)
    assert all(tag["description"] for tag in api["tags"])


def test_every_route_of_the_application_is_in_it_and_no_other(
    api: dict[str, Any], make_client: Callable[..., TestClient]
) -> None:
    app: Any = make_client("--repository").app
    # What else there is wraps the routes.
    while not isinstance(app, Starlette):
        app = app._app
    # Starlette answers HEAD wherever there is GET.
    found = {(route.path, method) for route in app.routes for method in route.methods - {"HEAD"}}
    assert found == {(path, method) for path, method, _ in _operations(api)}


def test_a_path_and_its_parameters_name_the_same(api: dict[str, Any]) -> None:
    for path, _, operation in _operations(api):
        parameters = [one for one in operation.get("parameters", []) if one["in"] == "path"]
        assert [one["name"] for one in parameters] == re.findall(r"\{(\w+)\}", path)
        assert all(one["required"] for one in parameters)
        for one in parameters:
            _check(one["example"], one["schema"], api)


def test_examples_fit_their_own_types(api: dict[str, Any]) -> None:
    for path, method, operation in _operations(api):
        for media_type, media in _media(operation):
            schema = media["schema"]
            if media_type == "multipart/form-data":
                # A file has no example.
                schema = {**schema, "required": [name for name in schema["required"] if name != "package"]}
            if "example" in media:
                _check(media["example"], schema, api)
        assert method == "GET" or "example" in next(iter(operation["requestBody"]["content"].values())), path


def test_every_json_answer_has_an_example() -> None:
    assert set(ANSWERS) == {operation_id(operation) for operation in OPERATIONS if operation.answer is not None}
    for operation in OPERATIONS:
        if operation.answer is not None:
            assert type(ANSWERS[operation_id(operation)]) is operation.answer


def test_links_lead_to_operations_and_take_what_answers_have(api: dict[str, Any]) -> None:
    by_id = {operation["operationId"]: operation for _, _, operation in _operations(api)}
    links = 0
    for operation in by_id.values():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                target = by_id[link["operationId"]]
                taken = {**link.get("parameters", {}), **link.get("requestBody", {})}
                properties = _properties(api, answer["content"]["application/json"]["schema"])
                for value in taken.values():
                    if value.startswith("$response.body#/"):
                        assert value.removeprefix("$response.body#/") in properties
                assert set(link.get("parameters", {})) == {
                    one["name"] for one in target.get("parameters", []) if one["required"]
                }
                links += 1
    assert links > 0


def _properties(api: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
    return found


def test_every_problem_is_documented_with_its_code(api: dict[str, Any]) -> None:
    documented = set()
    for operation in OPERATIONS:
        answers = api["paths"][operation.path][operation.method.lower()]["responses"]
        for status, problems in problems_of(operation).items():
            answer = answers[str(status)]
            assert all(f"`{problem.code}`" in answer["description"] for problem in problems)
            if operation.error is wire.ErrorBody:
                said = answer["content"]["application/json"]["schema"]["properties"]["error"]["properties"]["code"]
                assert said["enum"] == [problem.code for problem in problems]
            documented.update(problems)
    # A path that is not there takes no method; a crash is nobody's plan.
    assert documented == set(Problem.__subclasses__()) - {MethodNotAllowed}


def test_codes_are_problems_own() -> None:
    codes = [problem.code for problem in Problem.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert all(inspect.getdoc(problem) for problem in Problem.__subclasses__())


def test_what_a_key_must_be_good_for_is_said(api: dict[str, Any]) -> None:
    schemes = api["components"]["securitySchemes"]
    rights = set()
    for operation in OPERATIONS:
        described = api["paths"][operation.path][operation.method.lower()]
        assert described.get("x-right") == operation.right
        assert ("security" in described) == (operation.right is not None)
        assert all(set(requirement) <= set(schemes) for requirement in described.get("security", []))
        assert (operation.right is None) or {"401", "403", "429"} <= set(described["responses"])
        rights.add(operation.right)
    assert rights == {*get_args(Right), None}


def test_what_is_retried_says_when(api: dict[str, Any]) -> None:
    for _, _, operation in _operations(api):
        for status, answer in operation["responses"].items():
            is_error = "Error" in str(answer["content"])
            assert ("Retry-After" in answer.get("headers", {})) == (status in ("429", "503") and is_error)


def test_times_in_a_query_are_dates(api: dict[str, Any]) -> None:
    found = 0
    for _, _, operation in _operations(api):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                assert parameter["description"]
                assert not parameter["required"]
                is_time = parameter["name"] in ("since", "until")
                assert (parameter["schema"].get("format") == "date-time") == is_time
                found += is_time
    assert found == 6


def test_a_query_has_no_null(api: dict[str, Any]) -> None:
    for _, _, operation in _operations(api):
        for parameter in operation.get("parameters", []):
            assert parameter["schema"]["type"] in ("string", "integer", "number"), parameter["name"]
            assert parameter["schema"].get("default", "") is not None


def test_null_is_said_where_it_may_stand_and_only_there(api: dict[str, Any]) -> None:
    for part in _walk(api):
        # Words of OpenAPI 3.0, which 3.1 ignores: the type would forbid what the server answers.
        assert "nullable" not in part
        if part.get("default", "") is None:
            assert {"type": "null"} in part["anyOf"]
        if "enum" in part:
            assert part["type"] == "string"
            assert None not in part["enum"]


def test_answers_always_have_the_fields_that_have_a_value(api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    prediction = schemas["Prediction"]
    assert set(prediction["properties"]) - set(prediction["required"]) == {"embedding", "outputs"}
    assert set(schemas["ErrorDetail"]["required"]) == {"code", "message"}
    assert not any("default" in described for described in prediction["properties"].values())
    # What may be left away in a request stays so.
    assert schemas["BatchPredictRequest"]["required"] == ["texts"]
    assert schemas["BatchPredictRequest"]["properties"]["userId"]["default"] == ""


def test_descriptions_speak_json(api: dict[str, Any]) -> None:
    for name, schema in api["components"]["schemas"].items():
        assert schema["description"], name
        assert not re.search(r"\bNone\b|^ +", schema["description"], re.MULTILINE), name
    schemas = api["components"]["schemas"]
    assert "`latencyMs` runs from" in schemas["Prediction"]["description"]
    assert "`label` is null where" in schemas["Prediction"]["description"]
    # That protocol writes names in its own way.
    assert "`inference_ids`" in schemas["InferResponse"]["description"]


def test_it_is_what_the_server_gives(api: dict[str, Any], make_client: Callable[..., TestClient]) -> None:
    given = make_client("--repository").get("/openapi.json").json()
    assert given == msgspec.json.decode(msgspec.json.encode(api))


@pytest.fixture(scope="module")
def package(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("served") / "sentiment")


@pytest.fixture
def provoke(
    api: dict[str, Any], make_client: Callable[..., TestClient], package: Path, api_keys: Path, tmp_path: Path
) -> Callable[..., str]:
    """Ask for something that goes wrong, hold the answer against the document, and give its code."""

    def provoke(
        method: str, path: str, *arguments: str, key: str | None = "secret", serve: bool = True, **asked: Any
    ) -> str:
        given: list[Any] = ["--package", package] if serve else ["--deployment", tmp_path / "empty"]
        given += ["--api-keys", api_keys] if key is not None else []
        headers = {"X-API-Key": key} if key else {}
        response = make_client(*given, *arguments).request(method, path, headers=headers, **asked)
        operation = next(
            operation
            for template, its_method, operation in _operations(api)
            if its_method == method and re.fullmatch(re.sub(r"\{\w+\}", r"[^/]+", template), path)
        )
        documented = operation["responses"][str(response.status_code)]
        body = response.json()
        _check(body, documented["content"]["application/json"]["schema"], api)
        for name in documented.get("headers", {}):
            assert name in response.headers
        code: str = body["error"]["code"]
        return code

    return provoke


def test_what_is_wrong_with_a_body_is_answered_as_documented(provoke: Callable[..., str]) -> None:
    assert provoke("POST", "/predict", content="{") == "malformed_json"
    assert provoke("POST", "/predict", json={"text": " "}) == "invalid_request"
    assert provoke("POST", "/predict", json={"features": {"size": 1}}) == "features_mismatch"
    assert provoke("POST", "/predict", "--max-body-bytes", "10", json={"text": "good film"}) == "body_too_large"
    assert provoke("GET", "/monitoring/events", params={"limit": 0}) == "invalid_request"


def test_what_is_wrong_with_an_upload_is_answered_as_documented(provoke: Callable[..., str]) -> None:
    assert provoke("POST", "/model/upload", content="nothing") == "malformed_upload"
    junk = {"files": {"package": b"no archive"}, "data": {"modelId": "reviews"}}
    assert provoke("POST", "/model/upload", **junk) == "bad_package"
    assert provoke("POST", "/model/upload", files=junk["files"], data={"modelId": "/"}) == "invalid_request"


def test_who_may_not_is_answered_as_documented(provoke: Callable[..., str]) -> None:
    assert provoke("POST", "/predict", key="", json={"text": "good film"}) == "unauthorized"
    assert provoke("GET", "/model/reviews/versions", "--mode", "serverless") == "forbidden"
    assert provoke("POST", "/model/reviews/1/stage", key=None, json={"stage": "production"}) == "forbidden"


def test_what_is_not_there_is_answered_as_documented(provoke: Callable[..., str]) -> None:
    assert provoke("GET", "/model/reviews/versions") == "not_found"
    assert provoke("GET", "/features/nobody") == "not_found"
    feedback = {"inferenceId": "1", "outcome": "positive"}
    assert provoke("POST", "/feedback", "--mode", "serverless", json=feedback) == "not_kept"


def test_what_is_not_there_yet_is_answered_as_documented(provoke: Callable[..., str]) -> None:
    assert provoke("POST", "/predict", serve=False, json={"text": "good film"}) == "not_ready"
