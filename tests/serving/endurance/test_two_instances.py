"""Two instances on one PostgreSQL and one directory of packages: it does not matter which of them is asked."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_serving.package import package_digest
from tunelane_serving.packing import archive

Fixture = Callable[..., Any]

_KEY = {"X-API-Key": "secret"}
_BOUNDARY = "8f14e45fceea167a"


@pytest.fixture
def start_two(
    start: Fixture, tiny_package: Callable[..., Path], postgres_database_url: str, tmp_path: Path
) -> Callable[[], list[Any]]:
    """Start two servers of one package that share what they keep, but no home."""

    def start_two() -> list[Any]:
        package = tiny_package(tmp_path / "package")
        rights = ["predict", "feedback", "monitor", "manage"]
        keys = tmp_path / "keys.json"
        keys.write_text(
            json.dumps([{"name": "all", "sha256": hashlib.sha256(b"secret").hexdigest(), "rights": rights}])
        )
        shared = ("--database", postgres_database_url, "--packages", tmp_path / "packages", "--api-keys", keys)
        return [
            start("--package", package, "--home", tmp_path / f"home{number}", "--workers", 1, *shared)
            for number in range(2)
        ]

    return start_two


def test_feedback_is_joined_with_its_event_whichever_instance_got_them(
    start_two: Fixture, connect: Fixture, until: Fixture
) -> None:
    one, other = start_two()

    async def cross() -> None:
        async with connect(one.url, _KEY) as at_one, connect(other.url, _KEY) as at_other:
            expected: dict[str, str] = {}
            for number, (asked, told) in enumerate([(at_one, at_other), (at_other, at_one), (at_one, at_one)]):
                answer = await asked.post("/predict", {"text": "good"})
                inference_id = answer.json()["inferenceId"]
                expected[inference_id] = f"outcome {number}"
                # Before the event is written: that one gathers others for a while.
                feedback = {"inferenceId": inference_id, "outcome": f"outcome {number}"}
                assert (await told.post("/feedback", feedback)).status == 200

            for reader in (at_one, at_other):

                async def is_joined(reader: Any = reader) -> bool:
                    events = (await reader.get("/monitoring/events")).json()["events"]
                    return {event["id"]: event["outcome"] for event in events} == expected

                await until(is_joined)

    asyncio.run(cross())


def test_what_is_uploaded_or_staged_at_one_is_served_by_the_other(
    start_two: Fixture, connect: Fixture, until: Fixture, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    one, other = start_two()
    packages = [tiny_package(tmp_path / f"upload{number}", bias=(number, 0.0)) for number in (1, 2)]
    digests = [package_digest(package) for package in packages]

    async def share() -> None:
        async with connect(one.url, _KEY) as at_one, connect(other.url, _KEY) as at_other:

            async def serves(digest: str) -> bool:
                answer = await at_other.post("/predict", {"text": "good", "modelId": "reviews"})
                return bool(answer.status == 200 and answer.json()["digest"] == digest)

            assert not await serves(digests[0])
            for version, package in enumerate(packages, 1):
                await _upload(at_one, package, tmp_path / f"{version}.tar.gz")
                # Without one in production the newest answers; what was found is remembered for a second.
                await until(lambda version=version: serves(digests[version - 1]))
            for version in (1, 2):
                staged = await at_one.post(f"/model/reviews/{version}/stage", {"stage": "production"})
                assert staged.status == 200, staged
                await until(lambda version=version: serves(digests[version - 1]))
            told = (await at_other.get("/model/reviews/versions")).json()["versions"]
            assert [(version["version"], version["stage"]) for version in told] == [
                ("2", "production"),
                ("1", "staging"),
            ]

    asyncio.run(share())


@pytest.mark.parametrize("seconds", [1, pytest.param(15, marks=pytest.mark.slow)])
def test_when_one_is_killed_the_other_goes_on_and_no_acknowledged_feedback_is_lost(
    start_two: Fixture,
    connect: Fixture,
    beside: Fixture,
    rows: Fixture,
    until: Fixture,
    postgres_database_url: str,
    seconds: float,
) -> None:
    one, other = start_two()
    ids: list[str] = []
    acknowledged: dict[str, str] = {}
    answered: dict[str, set[str]] = {"one": set(), "other": set()}
    is_killed = False

    async def work(client: Any, name: str) -> None:
        """Ask and give feedback on what either instance answered."""
        while True:
            answer = await client.post("/predict", {"text": "a good film"})
            assert answer.status == 200, answer
            ids.append(answer.json()["inferenceId"])
            answered[name].add(ids[-1])
            inference_id, outcome = ids.pop(0), f"outcome {len(acknowledged)} at {name}"
            answer = await client.post("/feedback", {"inferenceId": inference_id, "outcome": outcome})
            assert answer.status == 200, answer
            acknowledged[inference_id] = outcome

    async def work_until_it_is_gone(client: Any, name: str) -> None:
        try:
            await work(client, name)
        except OSError:
            assert is_killed

    async def lose_one() -> None:
        nonlocal is_killed
        at_one, at_other = connect(one.url, _KEY), connect(other.url, _KEY)
        works = (lambda: work_until_it_is_gone(at_one, "one"), lambda: work(at_other, "other"))
        async with at_one, at_other, beside(*works, times=3):

            async def both_answer() -> bool:
                return bool(answered["one"] and answered["other"])

            await until(both_answer)
            await asyncio.sleep(seconds)
            is_killed = True
            one.process.kill()
            before = len(answered["other"])
            await asyncio.sleep(seconds)

            async def goes_on() -> bool:
                return len(answered["other"]) > before

            await until(goes_on)

    asyncio.run(lose_one())
    kept = dict(rows(postgres_database_url, "SELECT inference_id, outcome FROM feedback"))
    assert acknowledged.items() <= kept.items()
    assert other.end() == 0
    # Events of the killed one's last moments may be lost; those of the other are not.
    events = {row[0] for row in rows(postgres_database_url, "SELECT id FROM inference_events")}
    assert answered["other"] <= events


async def _upload(client: Any, package: Path, packed: Path) -> None:
    archive(package, packed)
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="modelId"\r\n\r\nreviews\r\n'.encode(),
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="package"; filename="{packed.name}"\r\n\r\n'.encode(),
        packed.read_bytes(),
        f"\r\n--{_BOUNDARY}--\r\n".encode(),
    ]
    answer = await client.post("/model/upload", b"".join(parts), f"multipart/form-data; boundary={_BOUNDARY}")
    assert answer.status == 201, answer
