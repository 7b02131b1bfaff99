"""`Classifier`: for threads."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from tunelane_serving.client.calls import Call, Reply
from tunelane_serving.client.errors import ClassifierError
from tunelane_serving.client.result import ClassificationResult
from tunelane_serving.client.retrying import Attempts
from tunelane_serving.client.server import TunelaneServer
from tunelane_serving.client.service import Options, Service, policy_of, text_of
from tunelane_serving.client.tokens import GoogleCredentials, token_source
from tunelane_serving.client.transport import failure, httpx, send
from tunelane_serving.client.vertex import VertexEndpoint
from tunelane_serving.server.wire import Health

_T = TypeVar("_T")


class Classifier:
    """Classifies texts at a Tunelane server, or with `Classifier.vertex` at a Vertex AI endpoint.

    Connections are kept open; `close()`, or the end of a `with`, closes them. Threads may share a classifier.

    What gets 429, 502, 503 or 504, no connection, or no answer in time is sent again, after what `Retry-After` asks for
    and a random wait that grows. Predicting is safe to repeat: it changes nothing, though each attempt that reached
    the server is an event of its own there. So is feedback, since of several reports on one answer the newest counts.
    `health()` is asked once.

    Every method raises InvalidInput, NotAllowed, Unavailable, or their base ClassifierError.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        model_id: str | None = None,
        version: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Name a Tunelane server.

        Args:
            url: its address, `http://HOST:PORT`, with the path that a proxy may put before its routes.
            api_key: sent where the server asks for one.
            model_id: a model in the server's repository; without it the model that it serves.
            version: of that model; without it the one in production, or the newest.
            **options: see `Options`.

        Raises:
            InvalidInput: the address or the key cannot be used.
        """
        self._start(TunelaneServer(url, api_key=api_key, model_id=model_id, version=version, options=options), options)

    @classmethod
    def vertex(
        cls,
        project: str,
        location: str,
        endpoint_id: str,
        *,
        credentials: GoogleCredentials | None = None,
        token: Callable[[], str] | None = None,
        dedicated_dns: str = "",
        feedback_url: str = "",
        feedback_api_key: str = "",
        base_url: str = "",
        **options: Unpack[Options],
    ) -> Self:
        """Name a Vertex AI endpoint that serves Tunelane's container.

        Args:
            project: id or number.
            location: such as europe-west1.
            endpoint_id: the endpoint's.
            credentials: of google-auth, with the scope cloud-platform; refreshed here.
            token: instead of credentials, a function that gives a valid access token; may block.
            dedicated_dns: the host of a dedicated endpoint, as the console shows it.
            feedback_url: where feedback goes: `POST /feedback` of a Tunelane server with the same database.
            feedback_api_key: that server's key.
            base_url: instead of https://LOCATION-aiplatform.googleapis.com.
            **options: see `Options`.

        Raises:
            InvalidInput: a name or an address cannot be used, or not exactly one of credentials and token is given.
        """
        service = VertexEndpoint(
            project,
            location,
            endpoint_id,
            access_token=token_source(credentials, token),
            dedicated_dns=dedicated_dns,
            feedback_url=feedback_url,
            feedback_api_key=feedback_api_key,
            base_url=base_url,
            options=options,
        )
        made = cls.__new__(cls)
        made._start(service, options)
        return made

    def classify(
        self, text: str | None = None, *, notes: str | Iterable[str] | None = None, image_uri: str | None = None
    ) -> ClassificationResult:
        """Classify one text.

        Args:
            text: the text.
            notes: one or several; they stand below the text, each on lines of its own, and are classified with it.
            image_uri: where an image lies, for a model whose package takes the features `image_uri` and `text`.
        """
        return self._send(self._service.classify(text_of(text, notes, image_uri), image_uri))

    def classify_batch(self, texts: Sequence[str]) -> list[ClassificationResult]:
        """Classify texts, as many a request as the server takes; gives the results in the order of the texts.

        The requests go out one after the other; `timeout_s` is for each. If one of them fails, so does the whole.
        """
        return [result for call in self._service.classify_batch(texts) for result in self._send(call)]

    def feedback(self, inference_id: str, outcome: str, correct: bool | None = None) -> datetime:
        """Report what turned out to be true; gives the time at which the server received it, durable.

        Args:
            inference_id: that of the result.
            outcome: the true label.
            correct: whether the answer was right; where it is None, the server compares it with the outcome.
        """
        return self._send(self._service.feedback(inference_id, outcome, correct))

    def health(self) -> Health:
        """Ask whether the service is ready, and with which model."""
        return self._send(self._service.health())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, service: Service, options: Options) -> None:
        self._service = service
        self._policy = policy_of(options)
        self._http = httpx.Client()

    def _send(self, call: Call[_T]) -> _T:
        attempts = Attempts(self._policy, time.monotonic(), is_repeatable=call.is_repeatable)
        while True:
            try:
                return call.result(self._attempt(call, attempts.timeout_s(time.monotonic())))
            except ClassifierError as error:
                time.sleep(attempts.wait_s(error, time.monotonic()))

    def _attempt(self, call: Call[Any], timeout_s: float) -> Reply:
        until_s = time.monotonic() + timeout_s
        source = self._service.access_token
        try:
            headers = call.all_headers(source(timeout_s) if source is not None and call.takes_token else "")
            return Reply(*send(self._http, call.method, call.url, until_s=until_s, content=call.body, headers=headers))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise failure(error, call.url, timeout_s) from error
