"""Who can be asked to classify, as the requests to send. No I/O: `Classifier` and `AsyncClassifier` send them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypedDict
from urllib.parse import urlsplit

from tunelane_serving.client.calls import Call, decode_answer, encode_body, unexpected
from tunelane_serving.client.errors import ClassifierError, InvalidInput
from tunelane_serving.client.result import ClassificationResult
from tunelane_serving.client.retrying import RetryPolicy
from tunelane_serving.server.limits import Limits
from tunelane_serving.server.wire import FeedbackReceipt, FeedbackRequest, Health, Prediction

_LIMITS = Limits()
# What stands around the texts of a request: braces, names, a model and a version.
_ENVELOPE_BYTES = 512


class Options(TypedDict, total=False):
    """How a classifier asks: the fields of `RetryPolicy`, and how much goes into one request of `classify_batch`.

    Without them a request may take 30 s in all and 10 s an attempt, is repeated 4 times, and has at most as many texts
    and bytes as a server takes by default. Give a server's own `max_texts` and `max_body_bytes` where they are smaller.
    """

    timeout_s: float
    attempt_timeout_s: float
    retries: int
    max_texts: int
    max_body_bytes: int


class Service(Protocol):
    """One place that classifies. Each method gives the request, and how to read its answer."""

    @property
    def access_token(self) -> Callable[[float], str] | None:
        """Gives the token that goes with the requests that take one, within so many seconds; None where none goes."""
        ...

    def classify(self, text: str, image_uri: str | None) -> Call[ClassificationResult]:
        """Classify one text."""
        ...

    def classify_batch(self, texts: Sequence[str]) -> list[Call[tuple[ClassificationResult, ...]]]:
        """Classify texts, as many at once as the service takes; the requests' results in a row are the texts'."""
        ...

    def feedback(self, inference_id: str, outcome: str, correct: bool | None) -> Call[datetime]:
        """Say what turned out to be true of an answer."""
        ...

    def health(self) -> Call[Health]:
        """Ask whether it is ready."""
        ...


def policy_of(options: Options) -> RetryPolicy:
    """The retry policy in `options`.

    Raises:
        TypeError: there is no such option.
        ValueError: they mean nothing.
    """
    known = Options.__annotations__
    for name in options:
        if name not in known:
            raise TypeError(f"There is no option {name!r}; there are {', '.join(known)}")
    default = RetryPolicy()
    return RetryPolicy(
        options.get("timeout_s", default.timeout_s),
        options.get("attempt_timeout_s", default.attempt_timeout_s),
        options.get("retries", default.retries),
    )


def text_of(text: str | None, notes: str | Iterable[str] | None, image_uri: str | None) -> str:
    """The text to classify: `text` and the notes, those that are not blank, as they are, each on lines of its own.

    Raises:
        InvalidInput: there is nothing to classify.
    """
    several = [notes] if isinstance(notes, str) else notes or ()
    joined = "\n".join(part for part in (text or "", *several) if part.strip())
    if not joined and not image_uri:
        raise InvalidInput("There is nothing to classify. Pass text, notes or image_uri.", code="invalid_input")
    return joined


def features_of(text: str, image_uri: str) -> dict[str, str]:
    """What a model that takes images is asked with: features `image_uri` and, where there is one, `text`."""
    return {"image_uri": image_uri, **({"text": text} if text else {})}


def split(items: Sequence[bytes], options: Options) -> list[list[bytes]]:
    """Split encoded items into parts that fit into one request each, order kept; one that never fits stands alone."""
    max_items = options.get("max_texts", _LIMITS.max_texts)
    max_bytes = options.get("max_body_bytes", _LIMITS.max_body_bytes) - _ENVELOPE_BYTES
    parts: list[list[bytes]] = []
    size_bytes = 0
    for item in items:
        size_bytes += len(item) + 1
        if not parts or len(parts[-1]) >= max_items or size_bytes > max_bytes:
            parts.append([])
            size_bytes = len(item) + 1
        parts[-1].append(item)
    return parts


def result_of(prediction: Prediction, url: str) -> ClassificationResult:
    """A server's prediction as the client's result.

    Raises:
        ClassifierError: the model does not classify.
    """
    if prediction.confidence is None:
        raise ClassifierError(
            f"{prediction.model or url} gives no labels: it is no classifier. Ask for another model.",
            status=200,
            code="no_classifier",
        )
    return ClassificationResult(
        label=prediction.label,
        labels=prediction.labels,
        confidence=prediction.confidence,
        scores=prediction.scores,
        inference_id=prediction.inference_id,
        model=prediction.model,
        model_version=prediction.model_version,
        digest=prediction.digest,
        latency_ms=prediction.latency_ms,
        fallback=prediction.fallback,
    )


def results_of(predictions: Sequence[Prediction], expected: int, url: str) -> tuple[ClassificationResult, ...]:
    """Predictions as results, `expected` many.

    Raises:
        ClassifierError: there are more or fewer, or the model does not classify.
    """
    if len(predictions) != expected:
        raise unexpected(url, f"{len(predictions)} predictions for {expected} texts")
    return tuple(result_of(prediction, url) for prediction in predictions)


def feedback_call(url: str, api_key: str, inference_id: str, outcome: str, correct: bool | None) -> Call[datetime]:
    """`POST /feedback` of a Tunelane server.

    It may be repeated: of several reports on one answer the newest counts, and they say the same.
    """
    return Call(
        "POST",
        url,
        lambda body: decode_answer(body, FeedbackReceipt, url).received_at,
        encode_body(FeedbackRequest(inference_id, outcome, correct)),
        key_header(api_key),
    )


def key_header(api_key: str) -> dict[str, str]:
    """The header with an API key, white space around it taken off; none for an empty one.

    Raises:
        InvalidInput: it cannot stand in a header.
    """
    key = api_key.strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput("The API key has characters that no key has. Pass the key itself.", code="invalid_input")
    return {"x-api-key": key} if key else {}


def base_of(url: str) -> str:
    """The address of a server without a slash at its end.

    Raises:
        InvalidInput: it is none.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment or parts.username is not None or not url.isprintable():
        raise InvalidInput(
            f"{_shown(url)} is no address of a server. Pass http://HOST:PORT or https://HOST.", code="invalid_input"
        )
    return url.rstrip("/")


def _shown(url: str) -> str:
    """An address as an error may show it: without what stands before an @, which can be a password."""
    return repr(url.rpartition("@")[2])
