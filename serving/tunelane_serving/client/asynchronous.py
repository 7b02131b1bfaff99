"""`AsyncClassifier`: for an event loop."""

import asyncio
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
from tunelane_serving.client.transport import failure, httpx, too_slow
from tunelane_serving.client.vertex import VertexEndpoint
from tunelane_serving.server.wire import Health

_T = TypeVar("_T")


class AsyncClassifier:
    """`Classifier` for an event loop: the same arguments, the same answers and errors, the same repetitions.

    Connections belong to the event loop that first used them; `aclose()`, or the end of an `async with`, closes them.
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
        """Name a Tunelane server, as for `Classifier`."""
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
        """Name a Vertex AI endpoint, as for `Classifier.vertex`; the token is got in a thread."""
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

    async def classify(
        self, text: str | None = None, *, notes: str | Iterable[str] | None = None, image_uri: str | None = None
    ) -> ClassificationResult:
        """Classify one text; see `Classifier.classify`."""
        return await self._send(self._service.classify(text_of(text, notes, image_uri), image_uri))

    async def classify_batch(self, texts: Sequence[str]) -> list[ClassificationResult]:
        """Classify texts, in their order; see `Classifier.classify_batch`."""
        return [result for call in self._service.classify_batch(texts) for result in await self._send(call)]

    async def feedback(self, inference_id: str, outcome: str, correct: bool | None = None) -> datetime:
        """Report what turned out to be true; see `Classifier.feedback`."""
        return await self._send(self._service.feedback(inference_id, outcome, correct))

    async def health(self) -> Health:
        """Ask whether the service is ready, and with which model."""
        return await self._send(self._service.health())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _start(self, service: Service, options: Options) -> None:
        self._service = service
        self._policy = policy_of(options)
        self._http = httpx.AsyncClient(timeout=None)

    async def _send(self, call: Call[_T]) -> _T:
        attempts = Attempts(self._policy, time.monotonic(), is_repeatable=call.is_repeatable)
        while True:
            try:
                return call.result(await self._attempt(call, attempts.timeout_s(time.monotonic())))
            except ClassifierError as error:
                await asyncio.sleep(attempts.wait_s(error, time.monotonic()))

    async def _attempt(self, call: Call[Any], timeout_s: float) -> Reply:
        source = self._service.access_token
        try:
            async with asyncio.timeout(timeout_s):
                token = await asyncio.to_thread(source, timeout_s) if source is not None and call.takes_token else ""
                response = await self._http.request(
                    call.method, call.url, content=call.body, headers=call.all_headers(token)
                )
        except TimeoutError as error:
            raise too_slow(call.url, timeout_s) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise failure(error, call.url, timeout_s) from error
        return Reply(response.status_code, response.headers, response.content)
