"""The inference event: what one prediction leaves behind for drift, accuracy and retraining."""

from typing import Literal

import msgspec

from tunelane_serving.package import Framework


class InferenceEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One prediction as served.

    `time` and `feedback_time` are seconds since the epoch (UTC). `input` is the text (or the features as JSON), or its
    SHA-256 where `input_hashed`. `scores` follow the order of the package's taxonomy. `confidence`, `length_tokens` and
    `oov_share` (the share of words that are not whole in the tokenizer's vocabulary) are what drift is read from;
    None where the task has none. `outcome` and `correct` come later, from feedback, and may come before the event
    itself.
    """

    id: str
    time: float
    model: str
    model_version: str
    digest: str
    framework: Framework
    input: str
    status: Literal["ok", "error"]
    latency_ms: float
    input_hashed: bool = False
    prediction: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    confidence: float | None = None
    length_tokens: int | None = None
    oov_share: float | None = None
    error: str = ""
    request_id: str = ""
    user_id: str = ""
    session_id: str = ""
    outcome: str = ""
    correct: bool | None = None
    feedback_time: float | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id: an event needs an id")
        if self.latency_ms < 0:
            raise ValueError("latency_ms: cannot be negative")
        if self.status == "error" and not self.error:
            raise ValueError("error: a failed prediction says why")
        if self.correct is not None and self.feedback_time is None:
            raise ValueError("feedback_time: feedback has a time")
