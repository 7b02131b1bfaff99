"""One item to one answer: the engine, the inference event and the metrics. This is the hot path."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from tunelane_serving.errors import first_line
from tunelane_serving.events import InferenceEvent
from tunelane_serving.files import sha256_bytes
from tunelane_serving.models.model import Answer, Classification, Embedding, Item, Outputs
from tunelane_serving.problems import FeaturesMismatch, InvalidRequest, Overloaded
from tunelane_serving.server.ids import new_inference_id
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import Prediction

T = TypeVar("T")

# Seconds of waiting and running from which on a client's going away is looked out for. That takes two tasks more.
_WORTH_LOOKING_OUT_S = 0.2


class Asked(msgspec.Struct, frozen=True, gc=False):
    """Who asks, and since when (`time.perf_counter`)."""

    request_id: str
    arrived_s: float
    user_id: str = ""
    session_id: str = ""


async def predict(services: Services, served: Served, item: Item, asked: Asked) -> Prediction:
    """Answer one item and leave its event behind; a failure leaves one, too.

    Raises:
        Problem: as the engine does.
        TunelaneError: the model failed.
    """
    inference_id = new_inference_id()
    try:
        answer, cached = await services.engine.answer(served.model, item, timeout_s=services.limits.inference_timeout_s)
    except Exception as error:
        note_failure(services, served, item, asked, inference_id, error)
        raise
    return note_answer(services, served, item, asked, inference_id, answer, cached=cached)


def note_answer(
    services: Services,
    served: Served,
    item: Item,
    asked: Asked,
    inference_id: str,
    answer: Answer,
    *,
    cached: bool = False,
) -> Prediction:
    """Make the prediction of an engine's answer, count it and leave its event."""
    prediction = _prediction(served, answer, inference_id, asked, cached=cached)
    services.metrics.count_prediction(prediction)
    if services.recorder is not None:
        if isinstance(answer, Outputs):
            length_tokens = oov_share = None
        else:
            length_tokens, oov_share = answer.length_tokens, answer.oov_share
        # Made of its parts by the writer, many at a time. Thousands may wait, so no part is a vector or the model.
        services.recorder.record(
            partial(_answered, services, item, asked, prediction, length_tokens, oov_share, time.time())
        )
    return prediction if isinstance(answer, Classification) else _with_values(prediction, answer)


def note_failure(
    services: Services, served: Served, item: Item, asked: Asked, inference_id: str, error: Exception
) -> None:
    """Count a prediction that failed and leave its event; nothing where the item never came to the model."""
    if isinstance(error, Overloaded | FeaturesMismatch):
        return
    services.metrics.count_failure(served)
    if services.recorder is not None:
        said = _reason(services, error)
        services.recorder.record(
            _event(services, item, asked, inference_id, time.time(), **_names(served), status="error", error=said)
        )


async def predict_all(
    services: Services, served: Served, items: Sequence[Item], asked: Asked
) -> tuple[Prediction, ...]:
    """Answer several items in order, all by one model; where one fails, the others are given up."""
    if len(items) == 1:
        return (await predict(services, served, items[0], asked),)
    return tuple(await all_or_none([predict(services, served, item, asked) for item in items]))


async def all_or_none(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of `work`; the first failure gives up the others and is raised."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        # How they end is of no interest, only that they have.
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def while_connected(request: Request, services: Services, work: Coroutine[Any, Any, T], *, items: int = 1) -> T:
    """Await `work` on so many items, and give it up when the client goes away: nobody would read the answer.

    Raises:
        ClientDisconnect: it went away.
        InvalidRequest: more items than may wait here; asking again would not help.
    """
    if items > services.limits.max_waiting:
        work.close()
        raise InvalidRequest(f"{items} texts or rows in all; at most {services.limits.max_waiting} may wait here")
    if services.engine.scheduler.estimated_wait_s(items) < _WORTH_LOOKING_OUT_S:
        # Looking out for clients that go away would cost more than the work that it saves.
        return await work
    answering = asyncio.ensure_future(work)
    # The body is read: all that can come now is that the connection closes.
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        leaving.cancel()
        answering.cancel()


def record_personalization(
    services: Services,
    served: Served,
    context: str,
    asked: Asked,
    inference_id: str,
    ranked: Sequence[tuple[str, float]],
) -> None:
    """Leave the event of a ranking: the products in order are its prediction, the similarities its scores."""
    if services.recorder is None:
        return
    services.recorder.record(
        _event(
            services,
            context,
            asked,
            inference_id,
            time.time(),
            **_names(served),
            status="ok",
            prediction=tuple(name for name, _ in ranked),
            scores=tuple(similarity for _, similarity in ranked),
        )
    )


def _prediction(served: Served, answer: Answer, inference_id: str, asked: Asked, *, cached: bool) -> Prediction:
    """Make the prediction without the vectors or tensors that some answers have."""
    model = served.model
    labels: tuple[str, ...] = ()
    scores: dict[str, float] = {}
    confidence: float | None = None
    if isinstance(answer, Classification):
        labels = answer.labels
        scores = dict(zip(served.labels, answer.scores.tolist(), strict=True))
        confidence = max([scores[label] for label in labels] or scores.values())
    return Prediction(
        label=labels[0] if labels and served.gives_one_label else None,
        labels=labels,
        confidence=confidence,
        scores=scores,
        inference_id=inference_id,
        model=served.name,
        model_version=served.version,
        digest=model.digest,
        variant=model.variant,
        latency_ms=_elapsed_ms(asked),
        framework=model.manifest.framework,
        fallback=served.is_fallback,
        cached=cached,
    )


def _with_values(prediction: Prediction, answer: Embedding | Outputs) -> Prediction:
    if isinstance(answer, Embedding):
        return msgspec.structs.replace(prediction, embedding=answer.vector.tolist())
    outputs = {name: value.tolist() for name, value in answer.tensors.items()}
    return msgspec.structs.replace(prediction, outputs=outputs)


def _answered(
    services: Services,
    item: Item,
    asked: Asked,
    prediction: Prediction,
    length_tokens: int | None,
    oov_share: float | None,
    time_s: float,
) -> InferenceEvent:
    return _event(
        services,
        item,
        asked,
        prediction.inference_id,
        time_s,
        model=prediction.model,
        model_version=prediction.model_version,
        digest=prediction.digest,
        framework=prediction.framework,
        status="ok",
        latency_ms=prediction.latency_ms,
        prediction=prediction.labels,
        scores=tuple(prediction.scores.values()),
        confidence=prediction.confidence,
        length_tokens=length_tokens,
        oov_share=oov_share,
    )


def _names(served: Served) -> dict[str, Any]:
    """Give what an event says of its model."""
    return {
        "model": served.name,
        "model_version": served.version,
        "digest": served.model.digest,
        "framework": served.model.manifest.framework,
    }


def _event(
    services: Services,
    item: Item,
    asked: Asked,
    inference_id: str,
    time_s: float,
    *,
    latency_ms: float | None = None,
    **others: Any,
) -> InferenceEvent:
    """Make an event of what every one has, and of its `others`; the latency is until now where none is given."""
    text, hashed = _input(services, item)
    return InferenceEvent(
        id=inference_id,
        time=time_s,
        input=text,
        input_hashed=hashed,
        latency_ms=_elapsed_ms(asked) if latency_ms is None else latency_ms,
        request_id=asked.request_id,
        user_id=asked.user_id,
        session_id=asked.session_id,
        **others,
    )


def _input(services: Services, item: Item) -> tuple[str, bool]:
    """Give what an event says of the input, and whether that is its hash."""
    text = item if isinstance(item, str) else msgspec.json.encode(item).decode()
    return (sha256_bytes(text.encode()), True) if services.hash_inputs else (text, False)


def _reason(services: Services, error: Exception) -> str:
    """Say in a line what failed; by its kind alone where inputs are not to be kept, since a message may quote one."""
    kind = type(error).__name__
    return kind if services.hash_inputs else f"{kind}: {first_line(error)}"


def _elapsed_ms(asked: Asked) -> float:
    return round((time.perf_counter() - asked.arrived_s) * 1000, 3)
