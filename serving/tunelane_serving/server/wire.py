"""What goes over the wire: requests and responses as typed structs, camelCase in JSON."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from tunelane_serving.server.problems import InvalidRequest, MalformedJson

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Limits:
    """What one request may hold."""

    max_body_bytes: int = 1 << 20
    max_texts: int = 128
    max_text_chars: int = 10_000


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /predict`."""

    text: str


class BatchPredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /batch_predict`."""

    texts: list[str]


class Prediction(msgspec.Struct, frozen=True, rename="camel"):
    """The answer for one text, and exactly which model gave it.

    `label` is None for a multi-label task. `confidence` is the highest score among the chosen labels, or the highest of
    all where none was chosen. `latency_ms` runs from the read request to this answer, waiting for a thread included.
    """

    label: str | None
    labels: tuple[str, ...]
    confidence: float
    scores: dict[str, float]
    inference_id: str
    model: str
    model_version: str
    digest: str
    variant: str
    latency_ms: float


class BatchPrediction(msgspec.Struct, frozen=True):
    """The answers in the order of the texts, all of one model version."""

    predictions: tuple[Prediction, ...]


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the server answers, with which model, and what went wrong last.

    `fallback_reason` says why the preferred variant does not serve, `reload_error` why the newest revision does not.
    """

    live: bool
    ready: bool
    model: str = ""
    model_version: str = ""
    digest: str = ""
    variant: str = ""
    framework: str = ""
    fallback_reason: str = ""
    reload_error: str = ""


class ErrorDetail(msgspec.Struct, frozen=True):
    """A stable code for programs, a message for people."""

    code: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True):
    """Body of every answer that is an error."""

    error: ErrorDetail


def decode_request(body: bytes, kind: type[T]) -> T:
    """Decode a request body.

    Raises:
        MalformedJson: it is not JSON in UTF-8.
        InvalidRequest: a field is missing, unknown or of another type.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}; the body is {_shape(kind)}") from error
    except msgspec.DecodeError as error:
        raise MalformedJson(f"The body is not valid JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise MalformedJson("The body is not UTF-8") from error


def check_texts(texts: list[str], limits: Limits) -> None:
    """Raise InvalidRequest where there are no texts, too many, or one that is empty or too long."""
    if not texts:
        raise InvalidRequest("There is no text to classify; give at least one")
    if len(texts) > limits.max_texts:
        raise InvalidRequest(f"{len(texts)} texts; at most {limits.max_texts} go in one request")
    for position, text in enumerate(texts):
        place = f"texts[{position}]" if len(texts) > 1 else "The text"
        if not text.strip():
            raise InvalidRequest(f"{place} is empty")
        if len(text) > limits.max_text_chars:
            raise InvalidRequest(f"{place} has {len(text)} characters; at most {limits.max_text_chars} are taken")


def _shape(kind: type[msgspec.Struct]) -> str:
    return '{"texts": ["...", ...]}' if kind is BatchPredictRequest else '{"text": "..."}'
