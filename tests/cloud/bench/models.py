"""Vertex AI's model registry and endpoints.

Rules: https://cloud.google.com/vertex-ai/docs/model-registry/versioning,
https://cloud.google.com/vertex-ai/docs/model-registry/model-alias and the comments of
model_service.proto and endpoint_service.proto in
https://github.com/googleapis/googleapis/tree/master/google/cloud/aiplatform/v1
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.cloud import aiplatform_v1
from google.protobuf import empty_pb2

from tests.cloud.bench.errors import ApiError, invalid, not_found
from tests.cloud.bench.request_rules import check_labels
from tests.cloud.bench.state import State, check_etag, listed, merged, numbered

_DEFAULT = "default"
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_ORDER = frozenset({"create_time", "update_time", "display_name"})


class Models:
    """Models and their versions. A version is kept as `models/ID@VERSION`, and answered without its version."""

    service = "google.cloud.aiplatform.v1.ModelService"

    def __init__(self, state: State) -> None:
        self._state = state

    def upload_model(self, request: Any) -> Any:
        base = request.parent_model.split("@")[0] or request.model_id or self._state.new_id()
        base = numbered(base) if "/" in base else f"{request.parent}/models/{base}"
        before = list(self.versions(base))
        if request.parent_model and not before:
            raise not_found(base)
        if before and not request.parent_model:
            raise ApiError("ALREADY_EXISTS", f"Model {base} already exists.")
        model = copy.deepcopy(request.model)
        if not model.display_name:
            raise invalid("model.display_name is required.")
        check_labels(model.labels)
        for alias in model.version_aliases:
            _check_alias(alias)
        version = str(1 + max((int(kept.version_id) for kept in before), default=0))
        # A model's first version is its default one: parent_model's comment.
        if not before and _DEFAULT not in model.version_aliases:
            model.version_aliases.append(_DEFAULT)
        for kept in before:
            _take_aliases(kept, model.version_aliases)
        model.version_id = version
        # Without it the high-level client leaves out machines and accelerators, in silence.
        model.supported_deployment_resources_types.append(
            aiplatform_v1.Model.DeploymentResourcesType.DEDICATED_RESOURCES
        )
        self._state.add(f"{base}@{version}", model)
        model.name = base
        model.version_create_time.CopyFrom(model.create_time)
        response = aiplatform_v1.UploadModelResponse.pb()(model=base, model_version_id=version)
        return self._state.begin(base, response, aiplatform_v1.UploadModelOperationMetadata.pb()())

    def get_model(self, request: Any) -> Any:
        return self.version(request.name)

    def list_models(self, request: Any) -> Any:
        response = aiplatform_v1.ListModelsResponse.pb()()
        fields = frozenset({"display_name", "labels", "model"})
        found = (model for model in self._all() if _DEFAULT in model.version_aliases)
        return listed(request, response, found, fields, _ORDER)

    def list_model_versions(self, request: Any) -> Any:
        response = aiplatform_v1.ListModelVersionsResponse.pb()()
        found = self.versions(request.name.split("@")[0])
        return listed(request, response, found, frozenset({"labels"}), _ORDER)

    def merge_version_aliases(self, request: Any) -> Any:
        """Add aliases to a version, and take away those with a `-` before them. An alias has one version at most."""
        model = self.version(request.name)
        for alias in request.version_aliases:
            _check_alias(alias.removeprefix("-"))
            if alias == f"-{_DEFAULT}":
                raise invalid("The default alias can only be moved to another version.")
        for alias in request.version_aliases:
            for kept in self.versions(model.name):
                if not alias.startswith("-") or kept is model:
                    _take_aliases(kept, [alias.removeprefix("-")])
            if not alias.startswith("-"):
                model.version_aliases.append(alias)
        return model

    def delete_model(self, request: Any) -> Any:
        for model in list(self.versions(self.version(request.name).name)):
            self._state.remove(f"{model.name}@{model.version_id}")
        return self._state.begin(request.name, empty_pb2.Empty())

    def version(self, name: str) -> Any:
        """Give a version by its number or alias; the default one where neither is named."""
        base, _, wanted = name.partition("@")
        for model in self.versions(base):
            if (wanted or _DEFAULT) in (model.version_id, *model.version_aliases):
                return model
        raise not_found(name)

    def versions(self, base: str) -> Iterator[Any]:
        return (model for model in self._all() if model.name == base)

    def _all(self) -> Iterator[Any]:
        return (self._state.resources[name] for name in reversed(self._state.resources) if "/models/" in name)


class Endpoints:
    """Endpoints, and what share of their traffic each deployed model has."""

    service = "google.cloud.aiplatform.v1.EndpointService"

    def __init__(self, state: State, models: Models) -> None:
        self._state = state
        self._models = models

    def create_endpoint(self, request: Any) -> Any:
        if not request.endpoint.display_name:
            raise invalid("endpoint.display_name is required.")
        name = f"{request.parent}/endpoints/{request.endpoint_id or self._state.new_id()}"
        endpoint = self._state.add(name, request.endpoint)
        endpoint.etag = self._state.new_id()
        return self._state.begin(name, endpoint, aiplatform_v1.CreateEndpointOperationMetadata.pb()())

    def get_endpoint(self, request: Any) -> Any:
        return self._state.get(request.name)

    def list_endpoints(self, request: Any) -> Any:
        response = aiplatform_v1.ListEndpointsResponse.pb()()
        fields = frozenset({"display_name", "labels", "endpoint"})
        return listed(request, response, self._state.children(request.parent, "endpoints"), fields, _ORDER)

    def update_endpoint(self, request: Any) -> Any:
        endpoint = self._state.get(numbered(request.endpoint.name))
        check_etag(request.endpoint.etag, endpoint.etag)
        changed = copy.deepcopy(endpoint)
        merged(changed, request.endpoint, request.update_mask)
        if "traffic_split" in request.update_mask.paths:
            # A mask merges maps; a split is given whole.
            changed.traffic_split.clear()
            changed.traffic_split.update(request.endpoint.traffic_split)
        _check_split(changed.traffic_split, [model.id for model in changed.deployed_models])
        changed.etag = self._state.new_id()
        endpoint.CopyFrom(changed)
        return endpoint

    def deploy_model(self, request: Any) -> Any:
        endpoint = self._state.get(request.endpoint)
        deployed = copy.deepcopy(request.deployed_model)
        self._models.version(numbered(deployed.model))
        machine = deployed.dedicated_resources.machine_spec
        if not deployed.HasField("automatic_resources") and not machine.machine_type:
            raise invalid("deployed_model.dedicated_resources.machine_spec.machine_type is required.")
        deployed.id = deployed.id or self._state.new_id()
        # "0" stands for the model that is being deployed: traffic_split's comment.
        split = {deployed.id if key == "0" else key: share for key, share in request.traffic_split.items()}
        if split:
            _check_split(split, [deployed.id, *(model.id for model in endpoint.deployed_models)])
            endpoint.traffic_split.clear()
            endpoint.traffic_split.update(split)
        endpoint.deployed_models.append(deployed)
        endpoint.etag = self._state.new_id()
        response = aiplatform_v1.DeployModelResponse.pb()(deployed_model=deployed)
        return self._state.begin(endpoint.name, response, aiplatform_v1.DeployModelOperationMetadata.pb()())

    def undeploy_model(self, request: Any) -> Any:
        endpoint = self._state.get(request.endpoint)
        left = [model for model in endpoint.deployed_models if model.id != request.deployed_model_id]
        if len(left) == len(endpoint.deployed_models):
            raise not_found(f"{endpoint.name}, deployed model {request.deployed_model_id}")
        split = dict(request.traffic_split) or dict(endpoint.traffic_split)
        if not left:
            split = {}
        if split.pop(request.deployed_model_id, 0):
            raise invalid("The model still has traffic: give it to the others first.")
        _check_split(split, [model.id for model in left])
        del endpoint.deployed_models[:]
        endpoint.deployed_models.extend(left)
        endpoint.traffic_split.clear()
        endpoint.traffic_split.update(split)
        return self._state.begin(endpoint.name, aiplatform_v1.UndeployModelResponse.pb()())

    def delete_endpoint(self, request: Any) -> Any:
        if self._state.get(request.name).deployed_models:
            raise ApiError("FAILED_PRECONDITION", f"Endpoint {request.name} has deployed models.")
        self._state.remove(request.name)
        return self._state.begin(request.name.rsplit("/", 2)[0], empty_pb2.Empty())


def _check_alias(alias: str) -> None:
    if not _ALIAS.fullmatch(alias):
        raise invalid(f"Invalid version alias {alias}: [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9].")


def _take_aliases(model: Any, aliases: Any) -> None:
    kept = [alias for alias in model.version_aliases if alias not in aliases]
    del model.version_aliases[:]
    model.version_aliases.extend(kept)


def _check_split(split: Mapping[str, int], deployed: list[str]) -> None:
    """A split adds up to 100, or is empty where the endpoint takes no traffic: traffic_split's comment."""
    if split and sum(split.values()) != 100:
        raise invalid(f"traffic_split adds up to {sum(split.values())}, not 100.")
    for key in split:
        if key not in deployed:
            raise invalid(f"traffic_split: no deployed model {key}.")
