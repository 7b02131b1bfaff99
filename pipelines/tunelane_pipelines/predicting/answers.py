"""Answers to texts, in their order, each by the classifier alone."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import numpy as np

from tunelane_pipelines.predicting.source import Source
from tunelane_pipelines.predicting.texts import Item
from tunelane_serving.errors import ContractError
from tunelane_serving.models.classifier import TextClassifier

_AHEAD = 8


class Answer(msgspec.Struct, frozen=True):
    """What the model says of one text, and exactly which model says it.

    `label` is None for a multi-label task. `confidence` is the highest score among the chosen labels, or the highest of
    all where none was chosen. `line` and `id` say which row of a file it is; None where it is none, or has no id.
    """

    text: str
    line: int | None
    id: str | None
    label: str | None
    labels: tuple[str, ...]
    confidence: float
    scores: dict[str, float]
    model: str
    model_version: str
    digest: str
    variant: str


def answer(classifier: TextClassifier, source: Source, item: Item) -> Answer:
    """Answer one text; raises ContractError where the graph gives what is no number."""
    found = classifier.classify(item.text)
    if not np.isfinite(found.scores).all():
        raise ContractError(f"{source.package}: the graph gave scores that are not finite for {item.text[:40]!r}")
    scores = dict(zip(classifier.taxonomy.names, found.scores.tolist(), strict=True))
    return Answer(
        text=item.text,
        line=item.line or None,
        id=item.id or None,
        label=found.labels[0] if classifier.manifest.task == "single_label" else None,
        labels=found.labels,
        confidence=max(scores[label] for label in found.labels or scores),
        scores=scores,
        model=source.model,
        model_version=source.model_version,
        digest=classifier.digest,
        variant=classifier.variant,
    )


def answer_all(classifier: TextClassifier, source: Source, items: Iterable[Item], *, workers: int) -> Iterator[Answer]:
    """Answer texts in their order on `workers` threads, a text at a time each, a few texts ahead of the reader.

    One worker takes the next text only when its answer is asked for: for texts that come one by one.
    """
    if workers == 1:
        for item in items:
            yield answer(classifier, source, item)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Answer]] = deque()
        for item in items:
            waiting.append(pool.submit(answer, classifier, source, item))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
