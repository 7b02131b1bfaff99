"""The deployment in a bucket: what is there before and after each step, and what the real server fetches of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.cloud import storage

from tests.cloud.bench.bench import Bench
from tunelane_components.deploy.bucket import BucketDeployer
from tunelane_components.deploy.interface import Revision, SmokeTestFailed
from tunelane_components.deploy.promotion import confirm_champion, smoke_or_roll_back
from tunelane_components.registry.bucket import BucketRegistry
from tunelane_components.registry.interface import ChampionMoved
from tunelane_serving.deployment import ActiveRevision
from tunelane_serving.errors import ContractError, DigestMismatch, InputError, TunelaneError
from tunelane_serving.fetching.ensure import ensure_model
from tunelane_serving.package import package_digest, read_manifest, verify

INSERT = "storage.objects.insert"


@pytest.fixture
def uri(bench: Bench) -> str:
    return f"gs://{bench.bucket}/team/deployments"


@pytest.fixture
def deployer(uri: str) -> BucketDeployer:
    return BucketDeployer(uri)


@pytest.fixture
def revision(package: Path) -> Revision:
    return Revision("sentiment", "1", package_digest(package))


@pytest.fixture
def second(challenger: Path) -> Revision:
    return Revision("sentiment", "2", package_digest(challenger))


def folder(uri: str, revision: Revision) -> str:
    return f"{uri}/{revision.model}/revisions/{revision.digest}"


def stored(bench: Bench, revision: Revision) -> list[str]:
    return bench.storage.names(bench.bucket, f"team/deployments/{revision.model}/revisions/{revision.digest}/")


def damage(bench: Bench, uri: str, revision: Revision, *, cut: bool = False) -> None:
    graph = f"{folder(uri, revision)}/onnx/model.onnx"
    content = bench.storage.read(graph)
    bench.storage.write(graph, content[:-1] if cut else content[:-1] + bytes([content[-1] ^ 1]))


def test_a_deployed_revision_gets_no_traffic_and_is_what_a_server_fetches(
    uri: str, deployer: BucketDeployer, revision: Revision, package: Path, tmp_path: Path
) -> None:
    deployer.deploy(revision, package)
    assert deployer.active("sentiment") is None
    fetched = ensure_model(folder(uri, revision), revision.digest, tmp_path / "home", say=lambda _: None)
    assert verify(fetched, expected_digest=revision.digest) == read_manifest(package)


def test_deploying_again_sends_nothing_and_puts_right_what_was_damaged(
    bench: Bench, uri: str, deployer: BucketDeployer, revision: Revision, package: Path
) -> None:
    deployer.deploy(revision, package)
    sent = len(bench.called(INSERT))
    deployer.deploy(revision, package)
    assert len(bench.called(INSERT)) == sent
    damage(bench, uri, revision)
    deployer.deploy(revision, package)
    assert len(bench.called(INSERT)) == sent + 1
    deployer.smoke(revision)


def test_another_package_than_the_revision_s_is_not_deployed(
    bench: Bench, deployer: BucketDeployer, revision: Revision, challenger: Path
) -> None:
    with pytest.raises(DigestMismatch):
        deployer.deploy(revision, challenger)
    assert bench.storage.names(bench.bucket) == []


@pytest.mark.parametrize("model", ["..", "a/b", ""])
def test_a_model_s_name_cannot_leave_the_folder(deployer: BucketDeployer, package: Path, model: str) -> None:
    revision = Revision(model, "1", package_digest(package))
    for step in (deployer.smoke, deployer.confirm, deployer.roll_back, lambda each: deployer.active(each.model)):
        with pytest.raises(InputError, match="cannot be used"):
            step(revision)
    with pytest.raises(InputError, match="cannot be used"):
        deployer.deploy(revision, package)


def test_the_real_server_answers_the_golden_rows_of_what_lies_in_the_bucket(
    deployer: BucketDeployer, revision: Revision, package: Path
) -> None:
    deployer.deploy(revision, package)
    goldens = read_manifest(package).goldens
    package.rename(package.with_name("moved"))
    report = deployer.smoke(revision)
    assert (report.requests, report.text, report.label) == (len(goldens), goldens[len(goldens) // 2].text, "negative")


def test_a_revision_that_is_damaged_in_the_bucket_fails_its_smoke_test_and_is_taken_away(
    bench: Bench, uri: str, deployer: BucketDeployer, revision: Revision, package: Path
) -> None:
    with pytest.raises(SmokeTestFailed, match=r"The deployed revision is broken: gs://.*manifest\.json is missing"):
        deployer.smoke(revision)
    deployer.deploy(revision, package)
    damage(bench, uri, revision)
    with pytest.raises(SmokeTestFailed, match=r"is broken: gs://.*/onnx/model\.onnx: digest is .*, the manifest says"):
        smoke_or_roll_back(deployer, revision)
    assert stored(bench, revision) == []


def test_a_confirmed_revision_serves_and_the_one_before_is_kept(
    bench: Bench, deployer: BucketDeployer, revision: Revision, second: Revision, package: Path, challenger: Path
) -> None:
    for each, source in ((revision, package), (second, challenger)):
        deployer.deploy(each, source)
        deployer.confirm(each)
        deployer.confirm(each)
        assert deployer.active("sentiment") == ActiveRevision("sentiment", each.model_version, each.digest)
    assert len(stored(bench, revision)) == len(stored(bench, second)) > 1
    written = [call for call in bench.called(INSERT) if str(call["query"]).count("ifGenerationMatch")]
    assert len(written) == 2


def test_a_revision_that_is_missing_or_not_whole_is_not_confirmed(
    bench: Bench,
    uri: str,
    deployer: BucketDeployer,
    revision: Revision,
    second: Revision,
    package: Path,
    challenger: Path,
) -> None:
    deployer.deploy(revision, package)
    deployer.confirm(revision)
    with pytest.raises(ContractError, match=r"manifest\.json is missing"):
        deployer.confirm(second)
    deployer.deploy(second, challenger)
    damage(bench, uri, second, cut=True)
    with pytest.raises(DigestMismatch, match=r"model\.onnx: \d+ bytes, the manifest says"):
        deployer.confirm(second)
    storage.Client().bucket(bench.bucket).blob(f"{folder(uri, second)}/onnx/model.onnx".split("/", 3)[3]).delete()
    with pytest.raises(ContractError, match=r"onnx/model\.onnx is missing"):
        deployer.confirm(second)
    active = deployer.active("sentiment")
    assert active is not None and active.digest == revision.digest


def test_rolling_back_takes_an_unconfirmed_revision_away_and_never_the_active_one(
    bench: Bench, deployer: BucketDeployer, revision: Revision, second: Revision, package: Path, challenger: Path
) -> None:
    deployer.deploy(revision, package)
    deployer.confirm(revision)
    deployer.deploy(second, challenger)
    for each in (second, second, revision):
        deployer.roll_back(each)
    assert stored(bench, second) == []
    assert stored(bench, revision) != []


def test_a_roll_back_that_is_cut_short_leaves_no_package(
    bench: Bench, deployer: BucketDeployer, second: Revision, challenger: Path
) -> None:
    deployer.deploy(second, challenger)
    bench.faults.add("storage.objects.delete", "denied", skip=1)
    with pytest.raises(InputError, match="may not be deleted"):
        deployer.roll_back(second)
    with pytest.raises(ContractError, match=r"manifest\.json is missing"):
        deployer.confirm(second)


@pytest.mark.parametrize("kind", ["503", "dropped", "reply-lost"])
def test_a_confirmation_whose_reply_is_late_or_lost_is_made_once(
    bench: Bench, deployer: BucketDeployer, revision: Revision, package: Path, kind: str
) -> None:
    deployer.deploy(revision, package)
    bench.faults.add(INSERT, kind)  # type: ignore[arg-type]
    deployer.confirm(revision)
    assert bench.faults.unused() == []
    assert deployer.active("sentiment") == ActiveRevision("sentiment", "1", revision.digest)


def test_an_active_json_that_is_broken_is_named(bench: Bench, uri: str, deployer: BucketDeployer) -> None:
    bench.storage.write(f"{uri}/sentiment/active.json", b"{}")
    with pytest.raises(ContractError, match=r"gs://.*sentiment/active\.json: "):
        deployer.active("sentiment")


def test_runs_that_promote_at_once_leave_the_deployment_with_the_last_champion(
    uri: str, registry_uri: str, registry: BucketRegistry, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    packages = [tiny_package(tmp_path / str(number), bias=(0.1 * number, 0.0)) for number in range(4)]
    revisions = []
    for package in packages:
        version = registry.register_candidate("sentiment", package, {})
        revisions.append(Revision("sentiment", version.version, version.digest))
        BucketDeployer(uri).deploy(revisions[-1], package)

    def promote(revision: Revision) -> bool:
        own = BucketRegistry(registry_uri)
        for _ in range(20):
            champion = own.champion("sentiment")
            try:
                # Each was compared with whoever was champion a moment ago.
                confirm_champion(
                    own, BucketDeployer(uri), revision, expected_version=champion.version if champion else None
                )
            except ChampionMoved:
                BucketDeployer(uri).deploy(revision, packages[int(revision.model_version) - 1])
            else:
                return True
        return False

    with ThreadPoolExecutor(len(revisions)) as pool:
        assert any(pool.map(promote, revisions))
    champion, active = registry.champion("sentiment"), BucketDeployer(uri).active("sentiment")
    assert champion is not None and active is not None
    assert (active.digest, active.model_version) == (champion.digest, champion.version)


def test_where_the_deployment_cannot_follow_the_champion_is_who_it_was(
    bench: Bench, uri: str, registry: BucketRegistry, deployer: BucketDeployer, package: Path
) -> None:
    version = registry.register_candidate("sentiment", package, {})
    revision = Revision("sentiment", version.version, version.digest)
    deployer.deploy(revision, package)
    damage(bench, uri, revision, cut=True)
    with pytest.raises(TunelaneError, match=r"could not be put to serve .*there is no champion again"):
        confirm_champion(registry, deployer, revision, expected_version=None)
    assert (registry.champion("sentiment"), deployer.active("sentiment")) == (None, None)
