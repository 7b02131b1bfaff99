"""A Postman collection of the requests that an OpenAPI document describes, made from the document alone.

https://schema.getpostman.com/json/collection/v2.1.0/collection.json

One folder a tag, one request an operation, with the document's examples, in the document's order of tags: played from
the top, each request finds what it needs. A value that an example leaves open as `{{name}}` is kept from the answers
whose links hand it on, by a line of the script that also holds the answer's status.
"""

import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_ARCHIVE = "packageArchive"
_ABOUT = f"""
Made from the server's `openapi.json`; not to be edited.

Run it from the top against a server that serves one package and has an API key with all rights:

    tunelane-serve --package DIR --name sentiment --api-keys FILE

Set `baseUrl`, `apiKey` and `{_ARCHIVE}`, the path of an embedding model's package as `.tar.gz`, `.tar` or `.zip`. In
Postman's window the file of `POST /model/upload` is chosen by hand; newman takes the variable (`--env-var`).
"""
_VARIABLE = re.compile(r"\{\{(\w+)\}\}")


def collection(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the collection as JSON-ready dictionaries; the same for the same document."""
    wanted = sorted(set(_VARIABLE.findall(json.dumps(document["paths"]))))
    items_by_tag: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, method, operation in _operations(document):
        items_by_tag[operation["tags"][0]].append(_item(path, method, operation, wanted))
    given = {"baseUrl": "http://localhost:8080", "apiKey": "", _ARCHIVE: "package.tar.gz"}
    return {
        "info": {
            "name": document["info"]["title"],
            "description": f"{document['info']['description']}\n\n{_ABOUT.strip()}",
            "schema": SCHEMA,
        },
        "auth": _auth(document),
        "variable": [
            {"key": name, "value": value, "type": "string"}
            for name, value in {**given, **dict.fromkeys(wanted, "")}.items()
        ],
        "item": [
            {"name": tag["name"], "description": tag["description"], "item": items_by_tag[tag["name"]]}
            for tag in document["tags"]
        ],
    }


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _auth(document: Mapping[str, Any]) -> dict[str, Any]:
    """The API key in its header, as the document's security scheme names it."""
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    values = {"key": scheme["name"], "value": "{{apiKey}}", "in": scheme["in"]}
    return {
        "type": "apikey",
        "apikey": [{"key": key, "value": value, "type": "string"} for key, value in values.items()],
    }


def _item(path: str, method: str, operation: Mapping[str, Any], wanted: list[str]) -> dict[str, Any]:
    status = next(status for status in operation["responses"] if status.startswith("2"))
    answer = operation["responses"][status]
    media_type, media = next(iter(answer["content"].items()))
    handed_on = json.dumps(answer.get("links", {}))
    kept = [name for name in wanted if f'"$response.body#/{name}"' in handed_on]
    body_type, body = next(iter(operation.get("requestBody", {}).get("content", {}).items()), ("", {}))
    request: dict[str, Any] = {
        "method": method,
        "header": [{"key": "Content-Type", "value": body_type}] if body_type == "application/json" else [],
        "url": _url(path, operation.get("parameters", [])),
        "description": _description(operation),
    }
    if "security" not in operation:
        request["auth"] = {"type": "noauth"}
    if body_type == "application/json":
        raw = json.dumps(body["example"], indent=2)
        request["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    elif body_type:
        request["body"] = {"mode": "formdata", "formdata": _fields(body)}
    responses = []
    if "example" in media:
        responses.append(
            {
                "name": answer["description"],
                "status": HTTPStatus(int(status)).phrase,
                "code": int(status),
                "header": [{"key": "Content-Type", "value": media_type}],
                "body": json.dumps(media["example"], indent=2),
            }
        )
    return {
        "name": f"{method} {path}",
        "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": _script(status, kept)}}],
        "request": request,
        "response": responses,
    }


def _script(status: str, kept: list[str]) -> list[str]:
    """Hold the status, and keep the values that later requests need."""
    return [
        f'pm.test("answers {status}", () => pm.response.to.have.status({status}));',
        *(f'pm.collectionVariables.set("{name}", pm.response.json()["{name}"]);' for name in kept),
    ]


def _url(path: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """Names in the path as Postman has them, `:name`; parameters of the query are there, but not sent unless ticked."""
    written = re.sub(r"\{(\w+)\}", r":\1", path)
    url: dict[str, Any] = {
        "raw": "{{baseUrl}}" + written,
        "host": ["{{baseUrl}}"],
        "path": written.removeprefix("/").split("/"),
    }
    if values := [(one["name"], one["example"]) for one in parameters if one["in"] == "path"]:
        url["variable"] = [{"key": name, "value": value} for name, value in values]
    if queried := [one for one in parameters if one["in"] == "query"]:
        url["query"] = [
            {
                "key": one["name"],
                "value": str(one["schema"].get("default", "")),
                "description": one["description"],
                "disabled": True,
            }
            for one in queried
        ]
    return url


def _fields(media: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give a form's fields: files by their path, texts that have an example, the others there but not sent."""
    example = media["example"]
    fields: list[dict[str, Any]] = []
    for name, schema in media["schema"]["properties"].items():
        field: dict[str, Any] = {"key": name}
        if schema.get("format") == "binary":
            field |= {"type": "file", "src": "{{" + _ARCHIVE + "}}"}
        else:
            field |= {"type": "text", "value": example.get(name, "")}
            if name not in example:
                field["disabled"] = True
        if "description" in schema:
            field["description"] = schema["description"]
        fields.append(field)
    return fields


def _description(operation: Mapping[str, Any]) -> str:
    parts = [operation["summary"] + ".", operation.get("description", "")]
    if "x-right" in operation:
        parts.append(f"On a server with API keys: a key that is good for `{operation['x-right']}`.")
    return "\n\n".join(filter(None, parts))
