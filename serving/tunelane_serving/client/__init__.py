"""The client: one classifier, whether a Tunelane server or a Vertex AI endpoint answers. Needs the extra `client`."""

from tunelane_serving.client.asynchronous import AsyncClassifier
from tunelane_serving.client.errors import ClassifierError, InvalidInput, NotAllowed, Unavailable
from tunelane_serving.client.result import ClassificationResult
from tunelane_serving.client.synchronous import Classifier

__all__ = [
    "AsyncClassifier",
    "ClassificationResult",
    "Classifier",
    "ClassifierError",
    "InvalidInput",
    "NotAllowed",
    "Unavailable",
]
