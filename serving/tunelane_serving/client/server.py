"""A Tunelane server as a service."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from tunelane_serving.client.calls import Call, decode_answer, encode_body
from tunelane_serving.client.result import ClassificationResult
from tunelane_serving.client.service import (
    Options,
    base_of,
    features_of,
    feedback_call,
    key_header,
    result_of,
    results_of,
    split,
)
from tunelane_serving.server.wire import BatchPrediction, Health, Prediction


class TunelaneServer:
    """An implementation of `Service`. Predicting is safe to repeat: it changes nothing but adds an event."""

    access_token = None

    def __init__(self, url: str, *, api_key: str, model_id: str | None, version: str | None, options: Options) -> None:
        """Name the server; raises InvalidInput where the address or the key cannot be used."""
        self._url = base_of(url)
        self._api_key = api_key
        self._headers = key_header(api_key)
        self._model = {"modelId": model_id, "version": version}
        self._options = options

    def classify(self, text: str, image_uri: str | None) -> Call[ClassificationResult]:
        """`POST /predict` with the text, or with features where there is an image."""
        asked = {"features": features_of(text, image_uri)} if image_uri else {"text": text}
        url = f"{self._url}/predict"
        return Call(
            "POST",
            url,
            lambda body: result_of(decode_answer(body, Prediction, url), url),
            self._encode(asked),
            self._headers,
        )

    def classify_batch(self, texts: Sequence[str]) -> list[Call[tuple[ClassificationResult, ...]]]:
        """`POST /batch_predict`, as often as it takes."""
        parts = split([encode_body(text) for text in texts], self._options)
        return [self._part(part) for part in parts]

    def feedback(self, inference_id: str, outcome: str, correct: bool | None) -> Call[datetime]:
        """`POST /feedback`."""
        return feedback_call(f"{self._url}/feedback", self._api_key, inference_id, outcome, correct)

    def health(self) -> Call[Health]:
        """`GET /health`: as it is now, so it is asked once; 503 says what is not ready."""
        url = f"{self._url}/health"
        return Call(
            "GET",
            url,
            lambda body: decode_answer(body, Health, url),
            headers=self._headers,
            is_repeatable=False,
            statuses=(503,),
        )

    def _part(self, texts: list[bytes]) -> Call[tuple[ClassificationResult, ...]]:
        url = f"{self._url}/batch_predict"
        return Call(
            "POST",
            url,
            lambda body: results_of(decode_answer(body, BatchPrediction, url).predictions, len(texts), url),
            self._encode({"texts": [msgspec.Raw(text) for text in texts]}),
            self._headers,
        )

    def _encode(self, asked: dict[str, Any]) -> bytes:
        named = {name: value for name, value in self._model.items() if value is not None}
        return encode_body({**asked, **named})
