"""Champions exchanged under load, broken revisions between them: nobody notices but by the version in the answer."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_serving.deployment import revision_path
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.package import describe_files, package_digest, read_manifest, seal

Build = Callable[..., Path]

_TEXTS = ("the film", "it was a good film", "an awful and bad film")
_GOOD_PACKAGES = 5
# One broken revision after so many good ones.
_BROKEN_EVERY = 2


@dataclass(frozen=True)
class Broken:
    """A revision that cannot serve: where it lies, under which digest it is made active, and what is said of it."""

    package: Path
    digest: str
    said: str


@pytest.fixture
def broken_revisions(tiny_package: Build, tmp_path: Path) -> list[Broken]:
    """One of each kind, none loaded before."""
    truncated, missing, other = (tiny_package(tmp_path / name, bias=(9.0, n)) for n, name in enumerate("tmo"))
    graph = truncated / "onnx" / "model.onnx"
    digests = [package_digest(truncated), package_digest(missing)]
    graph.write_bytes(graph.read_bytes()[:-100])
    (missing / "tokenizer.json").unlink()
    swapped = _with_labels_swapped(tiny_package(tmp_path / "swapped", bias=(9.0, 3.0)))
    return [
        Broken(truncated, digests[0], "model.onnx"),
        Broken(other, "0123456789abcdef" * 4, "expected 0123456789ab"),
        Broken(missing, digests[1], "tokenizer.json is missing"),
        Broken(swapped, package_digest(swapped), "golden"),
    ]


@pytest.mark.parametrize("swaps", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_every_answer_is_a_good_one_wholly_of_one_version(
    start: Callable[..., Any],
    connect: Callable[..., Any],
    deploy: Callable[..., str],
    until: Callable[..., Any],
    beside: Callable[..., Any],
    tiny_package: Build,
    broken_revisions: list[Broken],
    tmp_path: Path,
    swaps: int,
) -> None:
    packages = [tiny_package(tmp_path / f"good{n}", bias=(n / 10, 0.0)) for n in range(_GOOD_PACKAGES)]
    scores = {package_digest(package): _scores(package) for package in packages}
    digest_of = {"0": package_digest(packages[0])}
    deployment = tmp_path / "deployment"
    deploy(deployment, packages[0], "0")
    server = start("--deployment", deployment, "--home", tmp_path / "home")
    answered: dict[str, int] = {}
    kept_serving: set[str] = set()

    def check(position: int, answer: dict[str, Any]) -> None:
        assert answer["digest"] == digest_of[answer["modelVersion"]]
        assert answer["scores"] == scores[answer["digest"]][position]
        answered[answer["modelVersion"]] = answered.get(answer["modelVersion"], 0) + 1

    async def storm() -> None:
        async with connect(server.url) as client:

            async def ask_one() -> None:
                number = 0
                while True:
                    number += 1
                    position = number % len(_TEXTS)
                    answer = await client.post("/predict", {"text": _TEXTS[position]})
                    assert answer.status == 200, answer
                    check(position, answer.json())

            async def ask_several() -> None:
                while True:
                    answer = await client.post("/batch_predict", {"texts": _TEXTS * 3})
                    assert answer.status == 200, answer
                    predictions = answer.json()["predictions"]
                    assert len({prediction["modelVersion"] for prediction in predictions}) == 1
                    for number, prediction in enumerate(predictions):
                        check(number % len(_TEXTS), prediction)

            async def health() -> dict[str, Any]:
                answer = await client.get("/health")
                assert answer.status == 200
                return dict(answer.json())

            async with beside(ask_one, ask_several, times=2):
                for swap in range(1, swaps + 1):
                    version = str(swap)
                    package = packages[swap % len(packages)]
                    digest_of[version] = package_digest(package)
                    deploy(deployment, package, version)

                    async def is_taken(version: str = version) -> bool:
                        found = await health()
                        return bool(found["modelVersion"] == version and found["reloadError"] == "")

                    await until(is_taken, what=f"version {version}")
                    if swap % _BROKEN_EVERY:
                        continue
                    broken = broken_revisions[swap // _BROKEN_EVERY % len(broken_revisions)]
                    deploy(deployment, broken.package, f"{version}-broken", broken.digest)

                    async def is_refused(broken: Broken = broken, version: str = version) -> bool:
                        found = await health()
                        # The old one serves before, while and after the broken one is looked at.
                        assert found["modelVersion"] == version
                        return broken.said in found["reloadError"]

                    await until(is_refused, what=f"reloadError with {broken.said!r}")
                    kept_serving.add(broken.said)
                    before = answered.get(version, 0)

                    async def is_answered(version: str = version, before: int = before) -> bool:
                        return answered.get(version, 0) > before

                    await until(is_answered, what=f"an answer of version {version}")

    asyncio.run(storm())
    assert len(kept_serving) == min(swaps // _BROKEN_EVERY, len(broken_revisions))
    assert len(answered) > swaps / 2, "the clients saw too few of the versions"
    assert server.end() == 0
    assert "Traceback" not in server.log.read_text()


def test_a_revision_whose_broken_file_is_mended_serves_once_it_is_made_active_again(
    start: Callable[..., Any],
    connect: Callable[..., Any],
    deploy: Callable[..., str],
    until: Callable[..., Any],
    tiny_package: Build,
    tmp_path: Path,
) -> None:
    deployment = tmp_path / "deployment"
    deploy(deployment, tiny_package(tmp_path / "first"), "1")
    second = tiny_package(tmp_path / "second", bias=(1.0, 0.0))
    digest = package_digest(second)
    lies = revision_path(deployment, digest)
    shutil.copytree(second, lies)
    (lies / "tokenizer.json").unlink()
    server = start("--deployment", deployment, "--home", tmp_path / "home")
    deploy(deployment, second, "2")

    async def mend() -> None:
        async with connect(server.url) as client:

            async def is_refused() -> bool:
                return "tokenizer.json is missing" in (await client.get("/health")).json()["reloadError"]

            async def is_taken() -> bool:
                return bool((await client.get("/health")).json()["modelVersion"] == "2")

            await until(is_refused)
            shutil.copyfile(second / "tokenizer.json", lies / "tokenizer.json")
            deploy(deployment, second, "2")
            await until(is_taken)

    asyncio.run(mend())


def _scores(package: Path) -> list[dict[str, float]]:
    """What the package answers to each text, to the last bit."""
    classifier = TextClassifier.open(package)
    assert classifier.manifest.taxonomy is not None
    names = classifier.manifest.taxonomy.names
    return [dict(zip(names, classifier.scores(text).tolist(), strict=True)) for text in _TEXTS]


def _with_labels_swapped(package: Path) -> Path:
    """Exchange the columns of the graph's two labels, with all digests put right: only its answers tell."""
    import onnx
    from onnx import numpy_helper

    path = package / "onnx" / "model.onnx"
    model = onnx.load(path)
    for initializer in model.graph.initializer:
        if initializer.name in ("embedding", "bias"):
            array = numpy_helper.to_array(initializer)
            initializer.CopyFrom(numpy_helper.from_array(array[..., ::-1].copy(), initializer.name))
    onnx.save(model, path)
    seal(package, msgspec.structs.replace(read_manifest(package), files=describe_files(package)))
    return package
