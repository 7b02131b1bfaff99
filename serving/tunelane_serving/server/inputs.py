"""What a request gives a model: texts and features, held against the limits and the model's inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunelane_serving.models.model import Item
from tunelane_serving.problems import (
    DatabaseAway,
    FeaturesMismatch,
    InferenceTimeout,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
)
from tunelane_serving.server.limits import Limits
from tunelane_serving.server.served import Served
from tunelane_serving.server.wire import PredictRequest

# What every operation that runs a model may answer.
MODEL_PROBLEMS = (FeaturesMismatch, NotFound, NotReady, Overloaded, InferenceTimeout, DatabaseAway)

TEXT_ALONE = "Give a text, or features, or an entityId; a text goes with neither of the others"


def check_texts(texts: Sequence[str], limits: Limits, *, what: str = "texts") -> None:
    """Raise InvalidRequest where there are no texts, too many, or one that is empty or too long."""
    if not texts:
        raise InvalidRequest("There is no text to classify; give at least one")
    if len(texts) > limits.max_texts:
        raise InvalidRequest(f"{len(texts)} {what}; at most {limits.max_texts} go in one request")
    for position, text in enumerate(texts):
        place = f"{what}[{position}]" if len(texts) > 1 else "The text"
        if not text.strip():
            raise InvalidRequest(f"{place} is empty")
        if len(text) > limits.max_text_chars:
            raise InvalidRequest(f"{place} has {len(text)} characters; at most {limits.max_text_chars} are taken")


def require_text_model(served: Served) -> None:
    """Raise FeaturesMismatch where a model takes no texts."""
    if not served.is_text_model:
        names = ", ".join(tensor.name for tensor in served.model.manifest.inputs)
        raise FeaturesMismatch(f"{served.name} takes no text; it takes features: {names}")


def text_or_features(served: Served, features: Mapping[str, Any], limits: Limits) -> Item:
    """Give what the model takes of `features`: the text of a text model stands in the feature `text`.

    Raises:
        FeaturesMismatch: a text model's features have no text.
        InvalidRequest: the text is empty or too long.
    """
    if not served.is_text_model:
        return features
    text = features.get("text")
    if not isinstance(text, str):
        raise FeaturesMismatch(f"{served.name} takes a text; give it as the feature 'text'")
    check_texts([text], limits)
    return text


def given_item(served: Served, body: PredictRequest, limits: Limits) -> Item:
    """Give what the model takes of a body without `entityId`.

    Raises:
        InvalidRequest: it has neither a text nor features, or both; or the text is empty or too long.
        FeaturesMismatch: the model takes the other one.
    """
    if body.text is None:
        if body.features is None:
            raise InvalidRequest("Give a text, or features, or the entityId whose features are stored")
        return text_or_features(served, body.features, limits)
    if body.features is not None:
        raise InvalidRequest(TEXT_ALONE)
    check_texts([body.text], limits)
    require_text_model(served)
    return body.text
