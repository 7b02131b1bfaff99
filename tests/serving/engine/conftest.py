"""Models whose behaviour a test decides, and schedulers that are closed."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tunelane_serving.engine.scheduler import Scheduler
from tunelane_serving.models.model import Answer, Classification, Item, Prepared
from tunelane_serving.problems import FeaturesMismatch


class ScriptedModel:
    """Says what it was run with, and does what its items say.

    A text's length is its number of words. Its answer is the digest of the text in numbers, scaled by the number of
    batch mates: as with dynamic int8 scales, company changes the bits. Texts that begin with `unreadable` fail
    `prepare`, with `faulty` fail `run`, with `panic` raise a bare BaseException; `held` ones wait for `release`.
    """

    manifest: Any = None
    variant = "fp32"
    fallback_reason = ""

    def __init__(self, digest: str = "d" * 64, *, batch_independent: bool = False, size_bytes: int = 1) -> None:
        self.digest = digest
        self.batch_independent = batch_independent
        self.size_bytes = size_bytes
        self.release = threading.Event()
        self.began = threading.Semaphore(0)
        self.prepared: list[str] = []
        self.runs: list[list[str]] = []

    def prepare(self, item: Item) -> Prepared:
        text = str(item["text"]) if isinstance(item, Mapping) else item
        self.prepared.append(text)
        if text.startswith("unreadable"):
            raise FeaturesMismatch(f"cannot read {text}")
        return Prepared({"text": np.array([text], object)}, len(text.split()))

    def run(self, prepared: Sequence[Prepared]) -> list[Answer]:
        texts = [item.feed["text"][0] for item in prepared]
        self.runs.append(texts)
        self.began.release()
        for text in texts:
            if text.startswith("held"):
                assert self.release.wait(20)
            if text.startswith("faulty"):
                raise RuntimeError(f"cannot run {text}")
            if text.startswith("stop"):
                raise StopIteration
            if text.startswith("panic"):
                raise _Panic(text)
        return [Classification(("label",), _scores(text) * np.float32(len(texts)), len(text.split())) for text in texts]


class _Panic(BaseException):
    pass


def _scores(text: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8).astype(np.float32)


@pytest.fixture(scope="session")
def scripted_model() -> type[ScriptedModel]:
    return ScriptedModel


@pytest.fixture(scope="session")
def alone() -> Callable[[str], bytes]:
    """The bits that a text's answer has when it is run alone."""
    return lambda text: _scores(text).tobytes()


@pytest.fixture
def scheduler() -> Iterator[Callable[..., Scheduler]]:
    made: list[Scheduler] = []

    def make(*args: Any, **options: Any) -> Scheduler:
        made.append(Scheduler(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close(timeout_s=0)
