"""What the client answers with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """One text's labels, and exactly which model gave them.

    Attributes:
        label: the label; None where the model does not choose exactly one.
        labels: all labels that were chosen.
        confidence: the highest score among the chosen labels, or the highest of all where none was chosen.
        scores: every label's score.
        inference_id: what `feedback` takes.
        model: the model's name.
        model_version: its version in the registry; empty where the server was given a package without one.
        digest: the SHA-256 of the model package.
        latency_ms: what the server took, waiting for a worker included; not the way there and back.
        fallback: True where keyword rules answered, because no model could be loaded.
    """

    label: str | None
    labels: tuple[str, ...]
    confidence: float
    scores: dict[str, float]
    inference_id: str
    model: str
    model_version: str
    digest: str
    latency_ms: float
    fallback: bool
