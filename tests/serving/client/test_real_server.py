"""The client and the server themselves."""

import asyncio
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunelane_serving.client import AsyncClassifier, Classifier, InvalidInput
from tunelane_serving.package import package_digest

_START_TIMEOUT_S = 30


@pytest.fixture(scope="module")
def package(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("client") / "moods")


@pytest.fixture(scope="module")
def url(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on the package, and where it listens."""
    with (tmp_path_factory.mktemp("server") / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelane_serving.server", "--package", str(package), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=package.parent,
        )
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
        with process:
            try:
                line = lines.get(timeout=_START_TIMEOUT_S)
                assert line.startswith("listening on "), Path(log.name).read_text()
                yield line.removeprefix("listening on ").strip()
            finally:
                process.kill()


def test_a_text_and_a_batch_are_classified(url: str, package: Path) -> None:
    with Classifier(url) as classifier:
        result = classifier.classify("a good film")
        assert (result.label, result.labels, result.model) == ("positive", ("positive",), "moods")
        assert (result.digest, result.fallback) == (package_digest(package), False)
        assert result.confidence == result.scores["positive"] == max(result.scores.values())
        # More texts than one request takes.
        texts = ["a good film", "a bad film"] * 100
        results = classifier.classify_batch(texts)
        assert [each.label for each in results] == ["positive", "negative"] * 100
        assert len({each.inference_id for each in results}) == 200
        health = classifier.health()
        assert (health.ready, health.digest) == (True, result.digest)


def test_the_async_client_gets_the_same_answers(url: str) -> None:
    async def ask() -> list[str | None]:
        async with AsyncClassifier(url) as classifier:
            asked = (classifier.classify(text) for text in ("a good film", "a bad film"))
            return [result.label for result in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == ["positive", "negative"]


def test_a_text_that_is_too_long_is_refused_in_the_servers_words(url: str) -> None:
    with Classifier(url) as classifier, pytest.raises(InvalidInput) as caught:
        classifier.classify("x" * 20_000)
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
