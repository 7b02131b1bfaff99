"""A Vertex AI endpoint as a service: our container behind Google's API.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tunelane_serving.client.calls import Call, decode_answer, encode_body
from tunelane_serving.client.errors import ClassifierError, InvalidInput
from tunelane_serving.client.result import ClassificationResult
from tunelane_serving.client.service import Options, base_of, features_of, feedback_call, results_of, split
from tunelane_serving.server.wire import Health, Prediction

# A project's id, its number, or an id within a domain (example.com:project).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}")


class _Predictions(msgspec.Struct):
    predictions: tuple[Prediction, ...]


class _DeployedModel(msgspec.Struct, rename="camel"):
    id: str = ""
    display_name: str = ""
    model: str = ""
    model_version_id: str = ""


class _Endpoint(msgspec.Struct, rename="camel"):
    deployed_models: tuple[_DeployedModel, ...] = ()
    traffic_split: dict[str, int] = {}


class VertexEndpoint:
    """An implementation of `Service`. A dedicated endpoint predicts under a host of its own; all else is regional."""

    def __init__(
        self,
        project: str,
        location: str,
        endpoint_id: str,
        *,
        access_token: Callable[[float], str],
        dedicated_dns: str,
        feedback_url: str,
        feedback_api_key: str,
        base_url: str,
        options: Options,
    ) -> None:
        """Name the endpoint; raises InvalidInput where a name or an address cannot be used."""
        for what, name in (("project", project), ("location", location), ("endpoint_id", endpoint_id)):
            if not _NAME.fullmatch(name):
                raise InvalidInput(
                    f"{what} {name!r} cannot be used. Pass the id that the console shows.", code="invalid_input"
                )
        regional = base_of(base_url or f"https://{location}-aiplatform.googleapis.com")
        predicting = base_of(f"https://{dedicated_dns}") if dedicated_dns else regional
        path = f"/v1/projects/{project}/locations/{location}/endpoints/{endpoint_id}"
        self.access_token = access_token
        self._resource_url = f"{regional}{path}"
        self._predict_url = f"{predicting}{path}:predict"
        self._feedback_url = base_of(feedback_url) if feedback_url else ""
        self._feedback_api_key = feedback_api_key
        self._options = options

    def classify(self, text: str, image_uri: str | None) -> Call[ClassificationResult]:
        """`:predict` with one instance: the text, or features where there is an image."""
        instance = {"features": features_of(text, image_uri)} if image_uri else {"text": text}
        url = self._predict_url
        return Call(
            "POST",
            url,
            lambda body: results_of(decode_answer(body, _Predictions, url).predictions, 1, url)[0],
            encode_body({"instances": [instance]}),
            takes_token=True,
        )

    def classify_batch(self, texts: Sequence[str]) -> list[Call[tuple[ClassificationResult, ...]]]:
        """`:predict` with an instance a text, as often as it takes."""
        parts = split([encode_body({"text": text}) for text in texts], self._options)
        return [self._part(part) for part in parts]

    def feedback(self, inference_id: str, outcome: str, correct: bool | None) -> Call[datetime]:
        """`POST` to `feedback_url`, without the access token, which is Google's alone.

        Raises:
            ClassifierError: there is no `feedback_url`.
        """
        if not self._feedback_url:
            raise ClassifierError(
                "A Vertex endpoint takes no feedback. Pass feedback_url: POST /feedback of a Tunelane server with the "
                "same database.",
                code="not_configured",
            )
        return feedback_call(self._feedback_url, self._feedback_api_key, inference_id, outcome, correct)

    def health(self) -> Call[Health]:
        """Get the endpoint itself: it is ready where a deployed model gets traffic."""
        url = self._resource_url
        return Call(
            "GET",
            url,
            lambda body: _health(decode_answer(body, _Endpoint, url)),
            takes_token=True,
            is_repeatable=False,
        )

    def _part(self, instances: list[bytes]) -> Call[tuple[ClassificationResult, ...]]:
        url = self._predict_url
        asked: dict[str, Any] = {"instances": [msgspec.Raw(instance) for instance in instances]}
        return Call(
            "POST",
            url,
            lambda body: results_of(decode_answer(body, _Predictions, url).predictions, len(instances), url),
            encode_body(asked),
            takes_token=True,
        )


def _health(endpoint: _Endpoint) -> Health:
    """What the endpoint's description says of the model with most of the traffic."""
    traffic = endpoint.traffic_split
    serving = [model for model in endpoint.deployed_models if traffic.get(model.id, 0) > 0]
    if not serving:
        return Health(live=True, ready=False, mode="serverless")
    model = max(serving, key=lambda each: traffic[each.id])
    name = model.display_name or model.model.rpartition("/")[2]
    return Health(live=True, ready=True, model=name, model_version=model.model_version_id, mode="serverless")
