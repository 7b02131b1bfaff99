"""Inference off the event loop: a few threads that share the champion's one session, a text at a time."""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tunelane_serving.errors import TunelaneError
from tunelane_serving.server.champion import Champion
from tunelane_serving.server.wire import Prediction


class InferencePool:
    """Worker threads for inference. ONNX Runtime releases the GIL, so each keeps one core busy."""

    def __init__(self, workers: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="inference")

    async def predict(self, champion: Champion, texts: list[str]) -> tuple[Prediction, ...]:
        """Answer `texts` in order, all by `champion`.

        Every text is run alone: an int8 graph with dynamic scales would let an answer depend on its batch mates.
        """
        loop = asyncio.get_running_loop()
        arrived_s = time.perf_counter()
        jobs = [loop.run_in_executor(self._executor, _predict, champion, text, arrived_s) for text in texts]
        return tuple(await asyncio.gather(*jobs))

    def close(self) -> None:
        """Finish the texts that are running, drop those that wait."""
        self._executor.shutdown(cancel_futures=True)


def _predict(champion: Champion, text: str, arrived_s: float) -> Prediction:
    classifier = champion.classifier
    answer = classifier.classify(text)
    if not np.isfinite(answer.scores).all():
        raise TunelaneError(f"{champion.model}: the graph gave scores that are not finite")
    scores = dict(zip(classifier.taxonomy.names, answer.scores.tolist(), strict=True))
    return Prediction(
        label=answer.labels[0] if classifier.manifest.task == "single_label" else None,
        labels=answer.labels,
        confidence=max(scores[label] for label in answer.labels or scores),
        scores=scores,
        inference_id=uuid.uuid4().hex,
        model=champion.model,
        model_version=champion.model_version,
        digest=classifier.digest,
        variant=classifier.variant,
        latency_ms=round((time.perf_counter() - arrived_s) * 1000, 3),
    )
