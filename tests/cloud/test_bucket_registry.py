"""The registry in a bucket: races, lost replies, damage, and what it says where the bucket cannot be used."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cloud.bench.bench import Bench
from tunelane_components.registry.bucket import BucketRegistry
from tunelane_components.registry.interface import ChampionMoved
from tunelane_components.registry.packages import manifest_at
from tunelane_components.secrets import read_secret
from tunelane_serving.errors import ContractError, DigestMismatch, InputError, TunelaneError
from tunelane_serving.package import MANIFEST, package_digest, verify

INSERT = "storage.objects.insert"
GET = "storage.objects.get"


@pytest.fixture
def packages(tiny_package: Callable[..., Path], tmp_path: Path) -> list[Path]:
    return [tiny_package(tmp_path / str(number), bias=(0.1 * number, 0.0)) for number in range(6)]


def registered(registry: BucketRegistry, packages: list[Path]) -> None:
    for package in packages:
        registry.register_candidate("sentiment", package, {})


def document(bench: Bench, uri: str) -> dict[str, object]:
    return json.loads(bench.storage.read(f"{uri}/models/sentiment.json"))


def test_each_package_lies_there_once_and_is_not_sent_again(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path]
) -> None:
    digest = registry.register_candidate("sentiment", packages[0], {}).digest
    folder = f"team/registry/packages/{digest}/"
    files = {path.relative_to(packages[0]).as_posix() for path in packages[0].rglob("*") if path.is_file()}
    assert {name.removeprefix(folder) for name in bench.storage.names(bench.bucket, folder)} == files
    sent = [call["query"].get("name", "") for call in bench.called(INSERT)]
    assert len(bench.called(INSERT)) == len(files) + 1
    registry.register_candidate("other", packages[0], {})
    assert len(bench.called(INSERT)) == len(files) + 2, sent
    assert [version.package for version in registry.versions("other")] == [f"{registry_uri}/packages/{digest}"]


def test_the_manifest_goes_last_so_that_a_registration_that_was_cut_short_leaves_no_package(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path]
) -> None:
    bench.faults.add(INSERT, "denied", skip=2)
    with pytest.raises(InputError):
        registry.register_candidate("sentiment", packages[0], {})
    assert not [name for name in bench.storage.names(bench.bucket) if name.endswith(MANIFEST)]
    assert registry.names() == []
    assert registry.register_candidate("sentiment", packages[0], {}).version == "1"


def test_of_those_that_move_the_champion_at_once_exactly_one_wins(
    registry_uri: str, registry: BucketRegistry, packages: list[Path]
) -> None:
    registered(registry, packages)
    for champion in (None, "1"):

        def move(to: str, expected: str | None = champion) -> str:
            try:
                BucketRegistry(registry_uri).move_champion("sentiment", expected=expected, to=to)
            except ChampionMoved:
                return "moved"
            return "won"

        contenders = [str(number) for number in range(2, len(packages) + 1)]
        with ThreadPoolExecutor(len(contenders)) as pool:
            outcomes = dict(zip(contenders, pool.map(move, contenders), strict=True))
        (winner,) = [to for to, outcome in outcomes.items() if outcome == "won"]
        found = registry.champion("sentiment")
        assert found is not None and found.version == winner
        registry.move_champion("sentiment", expected=winner, to="1")


def test_of_those_that_register_at_once_each_gets_a_version_of_its_own_and_none_is_lost(
    registry_uri: str, registry: BucketRegistry, packages: list[Path]
) -> None:
    # Each twice: the same package at once is one version.
    twice = [*packages, *packages]
    with ThreadPoolExecutor(len(twice)) as pool:
        versions = list(
            pool.map(lambda package: BucketRegistry(registry_uri).register_candidate("sentiment", package, {}), twice)
        )
    assert versions[: len(packages)] == versions[len(packages) :]
    assert sorted(version.version for version in versions[: len(packages)]) == ["1", "2", "3", "4", "5", "6"]
    assert {version.digest for version in registry.versions("sentiment")} == {*map(package_digest, packages)}


def test_processes_race_as_threads_do(registry_uri: str, registry: BucketRegistry, packages: list[Path]) -> None:
    registered(registry, packages[:3])
    code = """
import sys
from tunelane_components.registry.bucket import BucketRegistry
from tunelane_components.registry.interface import ChampionMoved
registry = BucketRegistry(sys.argv[1])
registry.champion("sentiment")
print("ready", flush=True)
sys.stdin.readline()
try:
    registry.move_champion("sentiment", expected=None, to=sys.argv[2])
    print("won")
except ChampionMoved as error:
    print(error)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, registry_uri, to], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for to in ("1", "2", "3")
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(words.split()[0] for words in said) == ["The", "The", "won"]
    champion = registry.champion("sentiment")
    assert champion is not None and said[int(champion.version) - 1] == "won"


def test_a_move_whose_reply_was_lost_is_known_as_done(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path]
) -> None:
    registered(registry, packages[:2])
    before = len(bench.called(INSERT))
    bench.faults.add(INSERT, "reply-lost")
    registry.move_champion("sentiment", expected=None, to="1")
    # It was sent twice, and the second one met what the first had written.
    assert len(bench.called(INSERT)) == before + 2
    assert (document(bench, registry_uri)["champion"], document(bench, registry_uri)["succession"]) == ("1", ["1"])


def test_a_registration_whose_reply_was_lost_makes_one_version(
    bench: Bench, registry: BucketRegistry, packages: list[Path]
) -> None:
    registered(registry, packages[:1])
    bench.faults.add(INSERT, "reply-lost", times=2)
    assert registry.register_candidate("sentiment", packages[1], {}).version == "2"
    assert [version.version for version in registry.versions("sentiment")] == ["2", "1"]


def test_a_move_whose_reply_was_lost_is_known_even_after_another_one(
    registry_uri: str, registry: BucketRegistry, packages: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(registry, packages[:2])
    write = registry._bucket.write

    def lose_reply(name: str, content: bytes, *, generation: int) -> bool:
        assert write(name, content, generation=generation)
        BucketRegistry(registry_uri).move_champion("sentiment", expected="1", to="2")
        return False

    monkeypatch.setattr(registry._bucket, "write", lose_reply)
    registry.move_champion("sentiment", expected=None, to="1")
    assert registry.succession("sentiment") == ["1", "2"]


@pytest.mark.parametrize("kind", ["429", "500", "503", "dropped", "reply-lost"])
@pytest.mark.parametrize("method", [INSERT, GET, "storage.objects.list"])
def test_a_service_that_is_away_for_a_moment_is_asked_again(
    bench: Bench, registry: BucketRegistry, packages: list[Path], tmp_path: Path, method: str, kind: str
) -> None:
    bench.faults.add(method, kind)  # type: ignore[arg-type]
    version = registry.register_candidate("sentiment", packages[0], {})
    registry.move_champion("sentiment", expected=None, to="1")
    registry.fetch("sentiment", version.digest, tmp_path / "fetched")
    assert registry.succession("sentiment") == ["1"]
    assert bench.faults.unused() == []


def test_a_service_that_stays_away_is_a_failure_and_not_the_user_s(bench: Bench, registry_uri: str) -> None:
    bench.faults.add(GET, "503", times=99)
    with pytest.raises(TunelaneError, match="was not read: Cloud Storage does not answer as it should") as caught:
        BucketRegistry(registry_uri, patience_s=0.5).champion("sentiment")
    assert not isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


# The clients' own limit is a minute a call.
@pytest.mark.timeout(100, func_only=True)
@pytest.mark.parametrize("silent", ["service", "token"])
def test_who_takes_the_connection_and_never_answers_is_not_waited_for_longer_than_there_is_patience(
    request: pytest.FixtureRequest, registry_uri: str, silent_url: str, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    if silent == "service":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", silent_url)
    else:
        request.getfixturevalue("silent_token")
    registry = BucketRegistry(registry_uri, patience_s=0.5)
    for ask in (registry.names, lambda: registry.champion("sentiment")):
        with pytest.raises(TunelaneError, match=r"Cloud Storage does not answer as it should .* Check the network and"):
            ask()


def test_what_else_lies_among_the_models_is_passed_over(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path]
) -> None:
    registered(registry, packages[:1])
    for name in ("", "old/sentiment.json", "my model.json", ".json", "notes.txt"):
        bench.storage.write(f"{registry_uri}/models/{name}", b"{}")
    assert registry.names() == ["sentiment"]


def test_a_bucket_that_is_not_there_and_a_right_that_is_missing_are_named(
    bench: Bench, registry: BucketRegistry, packages: list[Path]
) -> None:
    missing = BucketRegistry("gs://tunelane-none-such/registry")
    for ask in (missing.champion, missing.versions, lambda _: missing.names()):
        with pytest.raises(InputError, match=r"There is no bucket gs://tunelane-none-such\. Check its name, or"):
            ask("sentiment")
    with pytest.raises(InputError, match="There is no bucket"):
        missing.register_candidate("sentiment", packages[0], {})
    bench.faults.add(INSERT, "denied")
    with pytest.raises(InputError) as caught:
        registry.register_candidate("sentiment", packages[0], {})
    assert "may not be written: Permission 'storage.objects.create' denied" in str(caught.value)
    assert str(caught.value).endswith(
        "(or it may not exist). Grant this account roles/storage.objectUser on the bucket."
    )
    assert "\n" not in str(caught.value) and "http" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("none.json", r"File \S+/none\.json was not found"),
        ("broken.json", r"File \S+/broken\.json is not a valid json file"),
        (".", r"\S+: Is a directory"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(
    registry_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, why: str
) -> None:
    (tmp_path / "broken.json").write_text('{"private_key": "s3cret')
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / file))
    for ask in (
        lambda: BucketRegistry(registry_uri).champion("sentiment"),
        lambda: read_secret("projects/tunelane-test/secrets/registry/versions/1"),
    ):
        with pytest.raises(
            InputError, match=rf"cannot be read: no usable .* credentials \({why}\)\. Sign in"
        ) as caught:
            ask()
        assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


class SignInPage(BaseHTTPRequestHandler):
    """What a network answers to everything until somebody has signed in."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None: ...


def test_another_s_answer_is_not_taken_for_cloud_storage_s(registry_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SignInPage) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        registry = BucketRegistry(registry_uri, patience_s=0.5)
        try:
            for ask in (registry.names, lambda: registry.champion("sentiment")):
                with pytest.raises(TunelaneError, match=r"does not answer as it should \(.+\)\. Check the network"):
                    ask()
        finally:
            server.shutdown()


def test_it_works_with_credentials_over_tls_as_on_the_real_service(
    bench: Bench, registry_uri: str, packages: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    registry = BucketRegistry(registry_uri)
    version = registry.register_candidate("sentiment", packages[0], {})
    registry.move_champion("sentiment", expected=None, to="1")
    registry.fetch("sentiment", version.digest, tmp_path / "fetched")
    verify(tmp_path / "fetched", expected_digest=version.digest)
    assert {call.host for call in bench.calls if call.method == INSERT} == {"storage.googleapis.com"}


def test_a_stored_package_that_was_tampered_with_is_not_handed_out_and_put_right_by_registering_again(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path], tmp_path: Path
) -> None:
    digest = registry.register_candidate("sentiment", packages[0], {}).digest
    graph = f"{registry_uri}/packages/{digest}/onnx/model.onnx"
    content = bytearray(bench.storage.read(graph))
    content[-1] ^= 1
    bench.storage.write(graph, bytes(content))
    with pytest.raises(DigestMismatch) as caught:
        registry.fetch("sentiment", digest, tmp_path / "fetched")
    assert str(caught.value).startswith(f"{graph}: digest is ")
    assert list(tmp_path.glob("*fetched*")) == []
    registry.register_candidate("sentiment", packages[0], {})
    registry.fetch("sentiment", digest, tmp_path / "fetched")


@pytest.mark.parametrize("path", [MANIFEST, "onnx/model.onnx"])
def test_a_stored_package_that_lacks_a_file_is_named(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path], tmp_path: Path, path: str
) -> None:
    from google.cloud import storage

    digest = registry.register_candidate("sentiment", packages[0], {}).digest
    storage.Client().bucket(bench.bucket).blob(f"team/registry/packages/{digest}/{path}").delete()
    with pytest.raises(ContractError, match=f"packages/{digest}: {path} is missing"):
        registry.fetch("sentiment", digest, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    if path == MANIFEST:
        with pytest.raises(ContractError, match=f"{MANIFEST} is missing"):
            manifest_at(registry.versions("sentiment")[0].package, digest)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", r"models/sentiment\.json: not valid JSON"),
        (b'{"name": "sentiment", "versions": 3}', "field versions"),
        (b'{"name": "sentiment", "version": 2}', "written as version 2, this release reads up to 1; upgrade"),
    ],
)
def test_a_document_that_is_broken_or_newer_is_named_and_left_alone(
    bench: Bench, registry_uri: str, registry: BucketRegistry, packages: list[Path], content: bytes, said: str
) -> None:
    bench.storage.write(f"{registry_uri}/models/sentiment.json", content)
    with pytest.raises(ContractError, match=said):
        registry.champion("sentiment")
    with pytest.raises(ContractError, match=said):
        registry.register_candidate("sentiment", packages[0], {})
    assert bench.storage.read(f"{registry_uri}/models/sentiment.json") == content
