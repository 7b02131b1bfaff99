"""Compiled pipelines kept in an Artifact Registry repository of the format KFP, each under a tag made of its content.

The protocol is that of kfp's registry client: `POST` to the repository with the fields `tags` and `content`, and `GET
REPOSITORY/PACKAGE/TAG`. https://cloud.google.com/vertex-ai/docs/pipelines/create-pipeline-template
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tunelane_pipelines.targets.vertex.clients import CALL_TIMEOUT_S, Clients
from tunelane_pipelines.targets.vertex.errors import plain_errors

_DIGEST_CHARACTERS = 32
_NOT_FOUND = 404


def template_uri(spec: Mapping[str, Any], repository: str) -> str:
    """Give the address that a pipeline has as a template: the same one for the same content."""
    tag = hashlib.sha256(_content(spec)).hexdigest()[:_DIGEST_CHARACTERS]
    return f"https://{repository}/{spec['pipelineInfo']['name']}/{tag}"


def keep_template(clients: Clients, spec: Mapping[str, Any], repository: str) -> str:
    """Upload a pipeline, unless it is there already, and give its address.

    Raises:
        ServiceAway: the registry does not answer.
        TunelaneError: it refuses; see `targets.errors`.
    """
    uri = template_uri(spec, repository)
    with plain_errors("read the template", clients.project, "artifactregistry.repositories.downloadArtifacts"):
        found = clients.registry.get(uri, timeout=CALL_TIMEOUT_S)
        if found.status_code != _NOT_FOUND:
            _check(found)
            return uri
    with plain_errors("upload the template", clients.project, "artifactregistry.repositories.uploadArtifacts"):
        sent = clients.registry.post(
            f"https://{repository}",
            data={"tags": uri.rpartition("/")[2]},
            files={"content": ("pipeline.yaml", _content(spec))},
            timeout=CALL_TIMEOUT_S,
        )
        _check(sent)
    return uri


def _check(response: Any) -> None:
    from google.api_core.exceptions import from_http_response

    if not response.ok:
        raise from_http_response(response)


def _content(spec: Mapping[str, Any]) -> bytes:
    # JSON is YAML, which is what the registry takes.
    return json.dumps(spec, indent=1, sort_keys=True, ensure_ascii=False).encode()
