"""`POST /personalize`: products in the order of their similarity to a user's context."""

import time

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tunelane_serving.models.model import Answer, Embedding
from tunelane_serving.problems import FeaturesMismatch, InvalidRequest, Overloaded
from tunelane_serving.server.answering import (
    Asked,
    all_or_none,
    note_failure,
    record_personalization,
    while_connected,
)
from tunelane_serving.server.ids import new_inference_id
from tunelane_serving.server.inputs import MODEL_PROBLEMS, check_texts
from tunelane_serving.server.operation import Operation, decode_body, json_response, read_body
from tunelane_serving.server.requests import request_id
from tunelane_serving.server.served import Served
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import Personalization, PersonalizeRequest, RankedProduct


async def personalize(request: Request, services: Services) -> Response:
    """Answer `POST /personalize`."""
    arrived_s = time.perf_counter()
    body = decode_body(await read_body(request, services.limits.max_body_bytes), PersonalizeRequest)
    context = [text for text in (body.context.text, *body.context.history) if text.strip()]
    if not context:
        raise InvalidRequest("The context is empty; give a text or a history of texts")
    if not body.products:
        raise InvalidRequest("There is no product to rank; give at least one")
    if len(body.products) > services.limits.max_products:
        raise InvalidRequest(f"{len(body.products)} products; at most {services.limits.max_products} go in one request")
    if len({product.id for product in body.products}) != len(body.products):
        raise InvalidRequest("An id stands twice among the products")
    check_texts(context, services.limits, what="context")
    for product in body.products:
        check_texts([product.text], services.limits)
    served = await services.catalog.find(body.model_id, body.version)
    if served.model.manifest.task != "embedding":
        raise FeaturesMismatch(f"{served.name} does not embed texts; name an embedding model in modelId")

    texts = context + [product.text for product in body.products]
    asked = Asked(request_id(request), arrived_s, body.user_id, body.session_id)
    inference_id = new_inference_id()
    try:
        vectors = await while_connected(request, services, _embed(services, served, texts), items=len(texts))
    except (ClientDisconnect, FeaturesMismatch, InvalidRequest, Overloaded):
        # It never came to the model, or nobody asks any more.
        raise
    except Exception as error:
        note_failure(services, served, "\n".join(context), asked, inference_id, error)
        raise
    similarities = cosine_similarities(vectors[: len(context)].mean(axis=0), vectors[len(context) :])
    # A stable order: equal similarities stay as the caller had them.
    order = np.argsort(-similarities, kind="stable")[: body.limit]
    ranked = [(body.products[position].id, float(similarities[position])) for position in order]
    record_personalization(services, served, "\n".join(context), asked, inference_id, ranked)
    return json_response(
        Personalization(
            ranking=tuple(RankedProduct(name, similarity, rank) for rank, (name, similarity) in enumerate(ranked, 1)),
            inference_id=inference_id,
            model=served.name,
            model_version=served.version,
            digest=served.model.digest,
            framework=served.model.manifest.framework,
            latency_ms=round((time.perf_counter() - arrived_s) * 1000, 3),
        )
    )


def cosine_similarities(context: NDArray[np.float32], products: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each row of `products`, (products, width) float32, with `context`, (width,): (products,) float32.

    A vector of length 0 is similar to nothing: 0.
    """
    lengths = np.linalg.norm(products, axis=1) * np.linalg.norm(context)
    similarities = np.zeros(len(products), np.float32)
    np.divide(products @ context, lengths, out=similarities, where=lengths > 0)
    return similarities


async def _embed(services: Services, served: Served, texts: list[str]) -> NDArray[np.float32]:
    """Embed each text: (texts, width) float32."""
    timeout_s = services.limits.inference_timeout_s
    answers = await all_or_none([services.engine.answer(served.model, text, timeout_s=timeout_s) for text in texts])
    return np.stack([_vector(answer) for answer, _ in answers])


def _vector(answer: Answer) -> NDArray[np.float32]:
    assert isinstance(answer, Embedding)  # noqa: S101 - the task says so
    return answer.vector


OPERATIONS = (
    Operation(
        method="POST",
        path="/personalize",
        handler=personalize,
        summary="Rank products by similarity to a user's context",
        tag="Personalization",
        body=PersonalizeRequest,
        answer=Personalization,
        problems=MODEL_PROBLEMS,
        right="predict",
        example={
            "modelId": "encoder",
            "products": [
                {"id": "tent", "text": "A light tent for two"},
                {"id": "pan", "text": "A cast-iron frying pan"},
            ],
            "context": {"text": "a weekend of hiking", "history": ["walking boots"]},
        },
    ),
)
