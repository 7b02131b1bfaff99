"""The hottest route answered from the connection's own callbacks: no ASGI, no router, no task.

What the event loop does for a prediction costs half so. Only what is plain goes this way: the model that serves, a
text or features, nothing to look up. For all else, and for what is wrong with a request, `begin` gives None before
anything has happened, and the application answers. What is answered, counted and recorded is the same both ways.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.engine.desk import Job
from tunelane_serving.models.model import Answer, Item
from tunelane_serving.problems import Problem
from tunelane_serving.server.answering import Asked, note_answer, note_failure
from tunelane_serving.server.ids import new_inference_id
from tunelane_serving.server.inputs import given_item
from tunelane_serving.server.operation import decode_body, json_response
from tunelane_serving.server.refusals import crash_refusal, disconnect_refusal, problem_refusal
from tunelane_serving.server.requests import choose_request_id
from tunelane_serving.server.routes.predictions import PREDICT
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import PredictRequest

_log = logging.getLogger(__name__)

Respond = Callable[[Response], None]


class DirectPredictions:
    """Answers `POST /predict` in the event loop's thread, in step with its connection."""

    method = PREDICT.method
    path = PREDICT.path

    def __init__(self, services: Services) -> None:
        self._services = services

    def begin(self, scope: Any, body: bytes, respond: Respond) -> "PredictionInFlight | None":
        """Begin to answer a request that has come wholly; None where the application must answer it.

        `respond` is called once: now, or later unless the prediction is given up.
        """
        services = self._services
        if len(body) > services.limits.max_body_bytes:
            return None
        try:
            wanted = decode_body(body, PredictRequest)
            served = services.catalog.serving(wanted.model_id, wanted.version)
            if served is None or wanted.entity_id is not None:
                return None
            item = given_item(served, wanted, services.limits)
        except Problem:
            return None
        prediction = PredictionInFlight(services, served, item, scope, wanted, respond)
        prediction.start(scope)
        return prediction


class PredictionInFlight:
    """One prediction on its way."""

    __slots__ = ("_asked", "_inference_id", "_item", "_job", "_respond", "_served", "_services")

    def __init__(
        self,
        services: Services,
        served: Served,
        item: Item,
        scope: Any,
        wanted: PredictRequest,
        respond: Respond,
    ) -> None:
        self._services = services
        self._served = served
        self._item = item
        self._asked = Asked(choose_request_id(scope), time.perf_counter(), wanted.user_id, wanted.session_id)
        self._inference_id = new_inference_id()
        self._respond = respond
        self._job: Job | None = None

    def start(self, scope: Any) -> None:
        """Hand the item to the engine, or answer at once why not."""
        services = self._services
        try:
            if PREDICT.right is not None:
                services.keys.require(Request(scope), PREDICT.right)
            self._job = services.engine.scheduler.submit(
                self._served.model, self._item, self._done, timeout_s=services.limits.inference_timeout_s
            )
        except Problem as problem:
            self._answer(problem_refusal(problem))

    def give_up(self) -> None:
        """The client went away: drop the work."""
        self.end(disconnect_refusal())

    def end(self, response: Response) -> None:
        """Answer without waiting any longer."""
        if self._job is not None and not self._job.is_done:
            self._services.engine.scheduler.give_up(self._job)
            self._answer(response)

    def _done(self, answer: Answer | Exception) -> None:
        about = (self._services, self._served, self._item, self._asked, self._inference_id)
        if isinstance(answer, Exception):
            note_failure(*about, answer)
            if isinstance(answer, Problem):
                self._answer(problem_refusal(answer))
            else:
                _log.error("a prediction failed", exc_info=answer)
                self._answer(crash_refusal())
            return
        try:
            response = json_response(note_answer(*about, answer))
        except Exception:  # what JSON has no word for, such as a complex number: nobody else would answer
            _log.exception("an answer could not be written")
            response = crash_refusal()
        self._answer(response)

    def _answer(self, response: Response) -> None:
        response.raw_headers.append((b"x-request-id", self._asked.request_id.encode("ascii")))
        self._respond(response)
        duration_s = time.perf_counter() - self._asked.arrived_s
        self._services.metrics.count_request(PREDICT.path, response.status_code, duration_s)
