"""Artifact Registry's repositories of pipeline templates (format KFP), as kfp's registry client speaks to them.

https://cloud.google.com/vertex-ai/docs/pipelines/create-pipeline-template and kfp/registry/registry_client.py
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import yaml

from tests.cloud.bench.api import Api
from tests.cloud.bench.errors import ApiError, invalid, not_found
from tests.cloud.bench.faults import Call
from tests.cloud.bench.rest_door import Answer, Exchange, as_json
from tests.cloud.bench.state import PROJECT, REGION

HOST = re.compile(r"[a-z0-9-]+-kfp\.pkg\.dev")
REPOSITORY = "tunelane"

_PACKAGE = re.compile(
    r"/v1/projects/(?P<project>[^/]+)/locations/[^/]+/repositories/(?P<repository>[^/]+)/packages(?P<rest>/.*)?"
)


class Registry(Mapping[str, dict[str, Any]]):
    """Templates by the URI of their version: what a pipeline job names as its template."""

    def __init__(self, api: Api, check_bearer: Callable[[str], None]) -> None:
        self._api = api
        self._check_bearer = check_bearer
        self.reset()

    def reset(self) -> None:
        self.templates: dict[tuple[str, str, str], bytes] = {}
        """Files by repository's URL, package and version."""
        self.tags: dict[tuple[str, str, str], str] = {}
        """Versions by repository's URL, package and tag."""
        self.repositories = {f"https://{REGION}-kfp.pkg.dev/{PROJECT}/{REPOSITORY}"}

    def __getitem__(self, uri: str) -> dict[str, Any]:
        repository, package, version = uri.rsplit("/", 2)
        version = self.tags.get((repository, package, version), version)
        content = yaml.safe_load(self.templates[repository, package, version])
        assert isinstance(content, dict)
        return content

    def __iter__(self) -> Iterator[str]:
        yield from ("/".join(key) for key in (*self.templates, *self.tags))

    def __len__(self) -> int:
        return len(self.templates) + len(self.tags)

    def answer(self, exchange: Exchange) -> Answer:
        """Answer a client."""
        is_upload = exchange.verb == "POST" and HOST.fullmatch(exchange.host)
        kind = "upload" if is_upload else "download" if HOST.fullmatch(exchange.host) else "get"
        summary = {"verb": exchange.verb, "path": exchange.path, "size_bytes": len(exchange.body)}
        call = Call(f"registry.{kind}", summary, "rest", exchange.host)
        answer = {"upload": self._upload, "download": self._download, "get": self._get}[kind]
        given: Answer = self._api.answered(call, "artifactregistry", lambda: answer(exchange))
        return given

    def _upload(self, exchange: Exchange) -> Answer:
        self._check_bearer(exchange.headers.get("authorization", ""))
        repository = f"https://{exchange.host}{exchange.path}".rstrip("/")
        if repository not in self.repositories:
            raise ApiError("NOT_FOUND", f"Repository {repository} is not found.")
        parts = _form(exchange)
        if "content" not in parts:
            raise invalid("The form has no field content.")
        try:
            content = yaml.safe_load(parts["content"])
            package = content["pipelineInfo"]["name"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise invalid("The file is no pipeline.") from error
        if not re.fullmatch(r"[a-z][-a-z0-9]{3,127}", package):
            # https://cloud.google.com/vertex-ai/docs/pipelines/create-pipeline-template#compile
            raise invalid(f"Invalid package name {package}: 4 to 128 of [a-z][-a-z0-9].")
        version = f"sha256:{hashlib.sha256(parts['content']).hexdigest()}"
        self.templates[repository, package, version] = parts["content"]
        for tag in filter(None, parts.get("tags", b"").decode().split(",")):
            if not re.fullmatch(r"[a-z0-9][-_.a-z0-9]{0,127}", tag):
                raise invalid(f"Invalid tag {tag}.")
            self.tags[repository, package, tag] = version
        return Answer(200, f"{package}/{version}".encode(), [("Content-Type", "text/plain")])

    def _download(self, exchange: Exchange) -> Answer:
        self._check_bearer(exchange.headers.get("authorization", ""))
        repository, package, version = f"https://{exchange.host}{exchange.path}".rsplit("/", 2)
        version = self.tags.get((repository, package, version), version)
        if (repository, package, version) not in self.templates:
            raise not_found(exchange.path)
        return Answer(200, self.templates[repository, package, version], [("Content-Type", "application/yaml")])

    def _get(self, exchange: Exchange) -> Answer:
        """Answer Artifact Registry's own API, as far as it lists packages, versions and tags.

        https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.packages
        """
        self._check_bearer(exchange.headers.get("authorization", ""))
        match = _PACKAGE.fullmatch(exchange.path)
        if match is None or exchange.verb != "GET":
            raise ApiError("UNIMPLEMENTED", f"{exchange.verb} {exchange.path} is not faked.")
        base = exchange.path.split("/packages")[0].removeprefix("/v1/") + "/packages"
        keys = [key for key in self.templates if key[0].endswith(f"/{match['repository']}")]
        packages = sorted({package for _, package, _ in keys})
        path = (match["rest"] or "").strip("/").split("/")
        if path == [""]:
            return as_json({"packages": [{"name": f"{base}/{package}"} for package in packages]})
        package = path[0]
        if package not in packages:
            raise not_found(f"{base}/{package}")
        versions = [{"name": f"{base}/{package}/versions/{key[2]}"} for key in keys if key[1] == package]
        tags = [
            {"name": f"{base}/{package}/tags/{tag}", "version": f"{base}/{package}/versions/{version}"}
            for (_, owner, tag), version in self.tags.items()
            if owner == package
        ]
        found: dict[str, Any] = {"name": f"{base}/{package}"}
        if path[1:] == ["versions"]:
            found = {"versions": versions}
        elif path[1:] == ["tags"]:
            found = {"tags": tags}
        elif path[1:]:
            wanted = f"{base}/{'/'.join(path)}"
            resource = next((item for item in (*versions, *tags) if item["name"] == wanted), None)
            if resource is None:
                raise not_found(wanted)
            found = resource
        return as_json(found)


def _form(exchange: Exchange) -> dict[str, bytes]:
    """Read a form with a file: RFC 7578."""
    head = f"Content-Type: {exchange.headers.get('content-type', '')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + exchange.body)
    parts = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            parts[str(name)] = content
    return parts
