"""The inference engine: queue, models and answers as the routes see them."""

import time
from collections.abc import Callable

from tunelane_serving.engine.answer_cache import AnswerCache
from tunelane_serving.engine.model_cache import ModelCache
from tunelane_serving.engine.scheduler import Scheduler
from tunelane_serving.models.model import Answer, Item, Model


class InferenceEngine:
    """Answers items by loaded models, whatever their task and framework.

    `answers` is None where answers are not kept. Made once for a server, and closed by who made it.
    """

    def __init__(self, scheduler: Scheduler, models: ModelCache, answers: AnswerCache | None = None) -> None:
        self.scheduler = scheduler
        self.models = models
        self.answers = answers

    async def answer(self, model: Model, item: Item, *, timeout_s: float) -> tuple[Answer, bool]:
        """Answer `item` by `model`, and say whether the answer was kept from before.

        Raises what `Scheduler.run` raises. Only texts are kept: features have no cheap key, and seldom come again.
        """
        if self.answers is None or not isinstance(item, str):
            return await self.scheduler.run(model, item, timeout_s=timeout_s), False
        kept = self.answers.get(model.digest, item)
        if kept is not None:
            return kept, True
        answer = await self.scheduler.run(model, item, timeout_s=timeout_s)
        self.answers.put(model.digest, item, answer)
        return answer, False

    async def load(self, digest: str, load: Callable[[], Model]) -> Model:
        """Give the model of `digest`, loaded by `load` if it is not kept. Raises what `ModelCache.get` raises."""
        return await self.models.get(digest, load)

    def close(self, *, timeout_s: float = 5.0) -> bool:
        """Finish running items, refuse waiting ones, stop loading; True when no thread works after `timeout_s`.

        Where it is False, end the process by `os._exit`: the interpreter cannot be taken down safely under a thread
        that is inside a native library.
        """
        deadline_s = time.monotonic() + timeout_s
        idle = self.scheduler.close(timeout_s=timeout_s)
        return self.models.close(timeout_s=max(0.0, deadline_s - time.monotonic())) and idle
