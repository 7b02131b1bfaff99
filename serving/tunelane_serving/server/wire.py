"""What goes over the wire: requests and responses as typed structs, camelCase in JSON.

These structs are the one source of types, validation and the OpenAPI document.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tunelane_serving.package import Framework, Task, Tensor

ModelId = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Version = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
EntityId = Annotated[str, Meta(min_length=1, max_length=256)]
# Who asked, in the caller's own terms.
CallerId = Annotated[str, Meta(max_length=256)]
Time = Annotated[datetime, Meta(tz=True)]
# Said in the documentation alone: the routes refuse what is empty in words of their own.
Text = Annotated[str, Meta(extra_json_schema={"minLength": 1})]
NOT_EMPTY = Meta(extra_json_schema={"minItems": 1})
Stage = Literal["development", "staging", "production"]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A request's body: a field that is not known is a slip."""


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    """An answer's body."""


class PredictRequest(_Body, frozen=True):
    """Body of `POST /predict`: a `text`, or `features`, or the stored features of `entityId` under those given.

    Without `modelId` the model that this server serves answers. Without `version` it is the one in production, or the
    newest where none is.
    """

    text: Text | None = None
    model_id: ModelId | None = None
    version: Version | None = None
    features: dict[str, Any] | None = None
    entity_id: EntityId | None = None
    user_id: CallerId = ""
    session_id: CallerId = ""


class BatchPredictRequest(_Body, frozen=True):
    """Body of `POST /batch_predict`."""

    texts: Annotated[list[Text], NOT_EMPTY]
    model_id: ModelId | None = None
    version: Version | None = None
    user_id: CallerId = ""
    session_id: CallerId = ""


class Prediction(_Answer, frozen=True):
    """One answer, and exactly which model gave it.

    `label` is None where the task does not give exactly one. `confidence` is the highest score among the chosen labels,
    or the highest of all where none was chosen. `embedding` and `outputs` are there for the tasks that give them.
    `fallback` says that keyword rules answered because no model could be loaded; `cached` that the same text was
    answered before. `latency_ms` runs from the read request to this answer, waiting for a worker included.
    """

    label: str | None
    labels: tuple[str, ...]
    confidence: float | None
    scores: dict[str, float]
    inference_id: str
    model: str
    model_version: str
    digest: str
    variant: str
    latency_ms: float
    framework: Framework = "onnx"
    fallback: bool = False
    cached: bool = False
    embedding: list[float] | UnsetType = UNSET
    outputs: dict[str, Any] | UnsetType = UNSET


class BatchPrediction(_Answer, frozen=True):
    """The answers in the order of the texts, all of one model version."""

    predictions: tuple[Prediction, ...]


class Health(_Answer, frozen=True):
    """Whether the server answers, with which model, and what went wrong last.

    `live`: the process works; `ready`: it has a model, even if that is only the keyword rules (`fallback`).
    `backend` is what runs the model: framework, version and variant. `fallback_reason` says why the preferred variant,
    or any model at all, does not serve; `reload_error` why the newest revision does not.
    """

    live: bool
    ready: bool
    model: str = ""
    model_version: str = ""
    digest: str = ""
    variant: str = ""
    framework: str = ""
    backend: str = ""
    fallback: bool = False
    fallback_reason: str = ""
    reload_error: str = ""
    mode: Literal["standalone", "serverless"] = "standalone"


class LoadedModel(_Answer, frozen=True):
    """A model in memory."""

    model: str
    model_version: str
    digest: str
    framework: Framework
    task: Task
    variant: str
    size_bytes: int
    champion: bool


class HealthML(_Answer, frozen=True):
    """How the models do: what is loaded, what waits, what was measured last."""

    status: Literal["ok", "degraded", "unavailable"]
    models: tuple[LoadedModel, ...]
    workers: int
    queue_depth: int
    events_waiting: int
    events_in_journal: int
    events_dropped: int
    database: Literal["ok", "away", "none"]
    drift: Literal["none", "drift", "unknown"]
    reasons: tuple[str, ...] = ()


class UploadedModel(_Answer, frozen=True):
    """A version of a model in this server's repository."""

    model_id: str
    version: str
    digest: str
    framework: Framework
    task: Task
    stage: Stage
    size_bytes: int
    uploaded_at: Time
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...]
    metadata: dict[str, Any]


class ModelVersions(_Answer, frozen=True):
    """The versions of a model, the newest first."""

    model_id: str
    versions: tuple[UploadedModel, ...]


class StageRequest(_Body, frozen=True):
    """Body of `POST /model/{id}/{version}/stage`. Another version in production steps down to staging."""

    stage: Stage


class FeedbackRequest(_Body, frozen=True):
    """Body of `POST /feedback`. `correct` follows from `outcome` and the predicted label where it is not given."""

    inference_id: Annotated[str, Meta(min_length=1, max_length=128)]
    outcome: Annotated[str, Meta(max_length=1024)]
    correct: bool | None = None


class FeedbackReceipt(_Answer, frozen=True):
    """The feedback is in the database, durable."""

    inference_id: str
    received_at: Time


class Event(_Answer, frozen=True):
    """One inference event, its feedback joined."""

    id: str
    time: Time
    model: str
    model_version: str
    digest: str
    framework: str
    status: Literal["ok", "error"]
    latency_ms: float
    input: str
    input_hashed: bool
    prediction: tuple[str, ...]
    confidence: float | None
    error: str
    request_id: str
    user_id: str
    session_id: str
    outcome: str
    correct: bool | None
    feedback_time: Time | None


class Events(_Answer, frozen=True):
    """Events, the newest first. `nextCursor` goes into `cursor` for the page after this one; None on the last."""

    events: tuple[Event, ...]
    next_cursor: str | None


class Bucket(_Answer, frozen=True):
    """One stretch of the time range: what a live chart draws."""

    start: Time
    count: int
    errors: int
    mean_latency_ms: float | None
    p95_latency_ms: float | None
    mean_confidence: float | None
    accuracy: float | None


class MonitoringMetrics(_Answer, frozen=True):
    """What the events of a time range say. Figures are None where there is nothing to measure.

    `accuracy` is over the `feedback_count` events whose feedback says whether they were right.
    """

    model: str | None
    model_version: str | None
    since: Time
    until: Time
    count: int
    errors: int
    mean_latency_ms: float | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    mean_confidence: float | None
    feedback_count: int
    accuracy: float | None
    labels: dict[str, int]
    buckets: tuple[Bucket, ...]


class FeatureDrift(_Answer, frozen=True):
    """One distribution against the package's reference.

    `threshold` is what `psi` must pass to be called drift: for this many events, the level that no-drift passes with
    probability `alpha`, and at least the smallest difference that matters.
    """

    name: str
    psi: float | None
    threshold: float | None
    drifted: bool
    events: int
    reference_count: int
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    live: tuple[float, ...]


class Drift(_Answer, frozen=True):
    """The live distributions of a model version against the reference histograms in its package."""

    model: str
    model_version: str
    digest: str
    since: Time
    until: Time
    events: int
    minimum_events: int
    alpha: float
    status: Literal["none", "drift", "too_few_events", "no_reference"]
    features: tuple[FeatureDrift, ...]


class Product(_Body, frozen=True):
    """One thing to rank, by the text that describes it."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    text: Text


class UserContext(_Body, frozen=True):
    """What is known of the user: a text (a query, a profile), texts of what they liked, or both."""

    text: str = ""
    history: list[str] = []


class PersonalizeRequest(_Body, frozen=True):
    """Body of `POST /personalize`. The model is an embedding model of the repository, or the one that serves."""

    products: Annotated[list[Product], NOT_EMPTY]
    context: UserContext
    model_id: ModelId | None = None
    version: Version | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    user_id: CallerId = ""
    session_id: CallerId = ""


class RankedProduct(_Answer, frozen=True):
    """A product and the cosine similarity of its text to the user's context."""

    id: str
    similarity: float
    rank: int


class Personalization(_Answer, frozen=True):
    """The products, the most similar first, and which encoder compared them."""

    ranking: tuple[RankedProduct, ...]
    inference_id: str
    model: str
    model_version: str
    digest: str
    framework: Framework
    latency_ms: float


class FeaturesRequest(_Body, frozen=True):
    """Body of `POST /features/{entity}`: features to set; others that the entity has stay, null removes one."""

    features: dict[str, Any]


class Features(_Answer, frozen=True):
    """What is stored of an entity."""

    entity_id: str
    features: dict[str, Any]
    updated_at: Time


class ErrorDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stable code for programs, a message for people, and single findings where there are several."""

    code: str
    message: str
    details: tuple[str, ...] = ()


class ErrorBody(msgspec.Struct, frozen=True):
    """Body of every answer that is an error."""

    error: ErrorDetail
