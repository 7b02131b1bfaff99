import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tunelane_serving.database.database import Database, sqlite_url
from tunelane_serving.database.tables import model_versions
from tunelane_serving.package import package_digest, read_manifest, verify
from tunelane_serving.problems import BadPackage, InvalidRequest, NotFound, VersionExists
from tunelane_serving.repository.blobs import FolderBlobs
from tunelane_serving.repository.repository import STAGES, ModelRepository


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(database_url)) as database:
        yield database


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "packages")


@pytest.fixture
def repository(database: Database, blobs: FolderBlobs) -> ModelRepository:
    return ModelRepository(database, blobs)


@pytest.fixture
def stopped_clock(database: Database, blobs: FolderBlobs) -> tuple[ModelRepository, list[float]]:
    """Give a repository, and the seconds that it takes for the time."""
    now_s = [100.0]
    return ModelRepository(database, blobs, clock=lambda: now_s[0]), now_s


def test_what_is_added_is_described_as_its_manifest_says(repository: ModelRepository, package: Path) -> None:
    stored = repository.add("reviews", "first", package, {"team": "search", "runs": [1, 2.5, None]})
    manifest = read_manifest(package)
    assert (stored.digest, stored.framework, stored.task) == (package_digest(package), "onnx", "single_label")
    assert (stored.inputs, stored.outputs) == (manifest.inputs, manifest.outputs)
    assert (stored.labels, stored.stage) == (("negative", "positive"), "development")
    assert stored.size_bytes == sum(file.size_bytes for file in manifest.files)
    assert repository.get("reviews", "first") == stored
    assert read_manifest(repository.package(stored.digest), expected_digest=stored.digest) == manifest


def test_versions_without_a_name_are_numbered_and_listed_newest_first(
    repository: ModelRepository, package: Path, other_package: Path
) -> None:
    names = (None, "3", "beta", None, None)
    added = [repository.add("reviews", name, package, {}).version for name in names]
    assert added == ["1", "3", "beta", "4", "5"]
    repository.add("others", None, other_package, {})
    assert [stored.version for stored in repository.versions("reviews")] == added[::-1]


def test_a_version_is_one_package_for_good(repository: ModelRepository, package: Path, other_package: Path) -> None:
    first = repository.add("reviews", "1", package, {"by": "a"})
    assert repository.add("reviews", "1", package, {"by": "b"}) == first
    with pytest.raises(VersionExists, match="another version"):
        repository.add("reviews", "1", other_package, {})
    assert repository.versions("reviews") == [first]


def test_a_package_that_was_lost_comes_back_with_another_upload(
    repository: ModelRepository, blobs: FolderBlobs, package: Path
) -> None:
    stored = repository.add("reviews", "1", package, {})
    shutil.rmtree(blobs.local(stored.digest))
    with pytest.raises(NotFound, match="upload it again"):
        repository.package(stored.digest)
    assert repository.add("reviews", "1", package, {}) == stored
    verify(repository.package(stored.digest), expected_digest=stored.digest)


def test_a_refused_package_is_not_kept(repository: ModelRepository, package: Path, other_package: Path) -> None:
    repository.add("reviews", "1", package, {})
    with pytest.raises(VersionExists):
        repository.add("reviews", "1", other_package, {})
    with pytest.raises(NotFound):
        repository.package(package_digest(other_package))


def test_what_is_not_there_is_not_found(repository: ModelRepository, package: Path) -> None:
    repository.add("reviews", "1", package, {})
    for model_id, version in (("reviews", "2"), ("others", "1"), ("revi\0ews", "1"), ("reviews", "\ud800")):
        with pytest.raises(NotFound):
            repository.get(model_id, version)
        with pytest.raises(NotFound):
            repository.set_stage(model_id, version, "production")
        with pytest.raises(NotFound):
            repository.resolve(model_id, version)
    for model_id in ("others", "\0"):
        with pytest.raises(NotFound):
            repository.resolve(model_id, None)
        with pytest.raises(NotFound):
            repository.versions(model_id)
    with pytest.raises(NotFound):
        repository.package("0" * 64)


@pytest.mark.parametrize(
    ("model_id", "version", "metadata"),
    [
        ("", "1", {}),
        ("../reviews", "1", {}),
        ("reviews\n", "1", {}),
        ("r" * 129, "1", {}),
        ("reviews", "", {}),
        ("reviews", "-1", {}),
        ("reviews", "1" * 65, {}),
        ("reviews", "1", {"large": "x" * (64 << 10)}),
        ("reviews", "1", {"not a number": float("nan")}),
        ("reviews", "1", {"object": object()}),
        ("reviews", "1", {"half": "\ud800"}),
        ("reviews", "1", ["a list"]),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    blobs: FolderBlobs, package: Path, tmp_path: Path, model_id: str, version: str, metadata: dict[str, object]
) -> None:
    repository = ModelRepository(Database(f"sqlite:///{tmp_path / 'never.db'}"), blobs)
    with pytest.raises(InvalidRequest):
        repository.add(model_id, version, package, metadata)
    assert list(tmp_path.iterdir()) == []


def test_any_text_in_metadata_comes_back(repository: ModelRepository, package: Path) -> None:
    metadata = {"nul": "a\0b", "quotes": "\"'%s?", "emoji": "\N{GRINNING FACE}", "large": 2**63 - 1}
    repository.add("reviews", "1", package, metadata)
    assert repository.get("reviews", "1").metadata == metadata


def test_a_damaged_package_gets_no_version(
    repository: ModelRepository, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    damaged = tiny_package(tmp_path / "damaged")
    (damaged / "onnx" / "model.onnx").write_bytes(b"short")
    with pytest.raises(BadPackage, match="the manifest says") as caught:
        repository.add("reviews", "1", damaged, {})
    assert str(damaged) not in str(caught.value)
    with pytest.raises(NotFound):
        repository.versions("reviews")


def test_production_answers_for_the_model_and_the_newest_before_there_is_one(
    stopped_clock: tuple[ModelRepository, list[float]], package: Path, other_package: Path
) -> None:
    repository, _ = stopped_clock
    repository.add("reviews", "1", package, {})
    repository.add("reviews", "2", other_package, {})
    assert repository.resolve("reviews", None).version == "2"
    repository.set_stage("reviews", "1", "production")
    assert repository.resolve("reviews", None).version == "1"
    repository.set_stage("reviews", "1", "development")
    assert repository.resolve("reviews", None).version == "2"
    assert repository.resolve("reviews", "1").version == "1"


def test_one_steps_down_when_another_goes_into_production(repository: ModelRepository, package: Path) -> None:
    for version in ("1", "2"):
        repository.add("reviews", version, package, {})
        repository.add("others", version, package, {})
    repository.set_stage("others", "1", "production")
    repository.set_stage("reviews", "1", "production")
    for _ in range(2):
        assert repository.set_stage("reviews", "2", "production").stage == "production"
    assert {stored.version: stored.stage for stored in repository.versions("reviews")} == {
        "1": "staging",
        "2": "production",
    }
    assert repository.get("others", "1").stage == "production"


def test_a_stage_that_is_none_is_refused(repository: ModelRepository, package: Path) -> None:
    repository.add("reviews", "1", package, {})
    with pytest.raises(InvalidRequest, match="none of development, staging, production"):
        repository.set_stage("reviews", "1", "live")  # type: ignore[arg-type]


def test_a_change_elsewhere_shows_after_a_second(
    stopped_clock: tuple[ModelRepository, list[float]], database: Database, blobs: FolderBlobs, package: Path
) -> None:
    repository, now_s = stopped_clock
    elsewhere = ModelRepository(database, blobs)
    assert repository.remembered("reviews", None) is None
    elsewhere.add("reviews", "1", package, {})
    assert repository.resolve("reviews", None).version == "1"
    elsewhere.add("reviews", "2", package, {})
    assert repository.resolve("reviews", None).version == "1"
    remembered = repository.remembered("reviews", None)
    assert remembered is not None
    assert remembered.version == "1"
    now_s[0] += 1.0
    assert repository.remembered("reviews", None) is None
    assert repository.resolve("reviews", None).version == "2"


def test_what_was_read_before_an_own_change_is_not_remembered_after_it(
    stopped_clock: tuple[ModelRepository, list[float]], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, _ = stopped_clock
    repository.add("reviews", "1", package, {})
    get = repository.get

    def get_slowly(model_id: str, version: str) -> object:
        found = get(model_id, version)
        repository.set_stage("reviews", "1", "staging")
        return found

    monkeypatch.setattr(repository, "get", get_slowly)
    repository.resolve("reviews", "1")
    monkeypatch.undo()
    assert repository.resolve("reviews", "1").stage == "staging"


def test_many_names_do_not_fill_the_memory(
    stopped_clock: tuple[ModelRepository, list[float]], database: Database, package: Path
) -> None:
    repository, _ = stopped_clock
    stored = repository.add("reviews", "1", package, {})
    repository._remembered.update({("reviews", str(number)): (100.0, stored) for number in range(5000)})
    repository.resolve("reviews", None)
    assert len(repository._remembered) == 1


def test_instances_that_add_together_take_turns(
    database_url: str, blobs: FolderBlobs, package: Path, other_package: Path
) -> None:
    """Numbers are given once, and of two packages that want one version one gets it."""
    with closing(Database(database_url)) as one, closing(Database(database_url)) as two:
        repositories = [ModelRepository(one, blobs), ModelRepository(two, blobs)]
        together = threading.Barrier(4)

        def add(number: int) -> list[str]:
            got = []
            together.wait()
            for turn in range(5):
                repository = repositories[number % 2]
                got.append(repository.add("reviews", None, package, {}).version)
                try:
                    repository.add("reviews", f"named-{turn}", (package, other_package)[number // 2], {})
                except VersionExists:
                    got.append("refused")
            return got

        with ThreadPoolExecutor(4) as threads:
            got = [version for versions in threads.map(add, range(4)) for version in versions]
        # Of four that want a name, two have the same package: they get it or are refused both.
        assert got.count("refused") == 10
        numbered = [version for version in got if version != "refused"]
        assert len(set(numbered)) == len(numbered) == 20
        assert len(repositories[0].versions("reviews")) == 25
        with one.transaction() as connection:
            numbers = connection.execute(select(model_versions.c.number)).scalars().all()
        assert sorted(numbers) == list(range(1, 26))


def test_there_is_always_exactly_one_in_production_while_instances_race(
    database_url: str, blobs: FolderBlobs, package: Path
) -> None:
    with closing(Database(database_url)) as one, closing(Database(database_url)) as two:
        repositories = [ModelRepository(one, blobs), ModelRepository(two, blobs)]
        for version in "1234":
            repositories[0].add("reviews", version, package, {})
        repositories[0].set_stage("reviews", "1", "production")
        ended = threading.Event()
        counts = []

        def watch() -> None:
            of_stage = select(func.count()).where(model_versions.c.stage == "production")
            while True:
                with two.transaction() as connection:
                    counts.append(connection.execute(of_stage).scalar_one())
                if ended.is_set():
                    return

        def race(version: str) -> None:
            for turn in range(12):
                stored = repositories[turn % 2].set_stage("reviews", version, "production")
                assert stored.stage == "production"

        with ThreadPoolExecutor(5) as threads:
            watching = threads.submit(watch)
            try:
                list(threads.map(race, "1234"))
            finally:
                ended.set()
            watching.result()
        assert set(counts) == {1}
        assert sorted(stored.stage for stored in repositories[0].versions("reviews")) == ["production"] + 3 * [
            "staging"
        ]


def test_the_database_itself_lets_one_version_be_in_production(
    repository: ModelRepository, database: Database, package: Path
) -> None:
    for version in "12":
        repository.add("reviews", version, package, {})
    repository.set_stage("reviews", "1", "production")
    with pytest.raises(IntegrityError), database.transaction() as connection:
        connection.execute(update(model_versions).values(stage="production"))
    with pytest.raises(IntegrityError), database.transaction() as connection:
        row = connection.execute(select(model_versions).where(model_versions.c.version == "1")).one()._asdict()
        connection.execute(insert(model_versions).values(**row | {"version": "3", "stage": "staging"}))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from([None, "1", "2", "a"])),
            st.tuples(st.sampled_from(STAGES), st.sampled_from(["1", "2", "3", "a"])),
        ),
        max_size=12,
    )
)
def test_resolving_follows_every_change(
    changes: list[tuple[str, str | None]],
    package: Path,
    blobs: FolderBlobs,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Beside a plain model of it: stages by version, in the order of upload."""
    with closing(Database(sqlite_url(tmp_path_factory.mktemp("database") / "tunelane.db"))) as database:
        repository = ModelRepository(database, blobs)
        stages: dict[str, str] = {}
        for change, version in changes:
            if change == "add":
                added = repository.add("reviews", version, package, {}).version
                assert version is None or added == version
                assert version is not None or added not in stages
                stages.setdefault(added, "development")
            elif version in stages:
                if change == "production":
                    stages = {name: "staging" if stage == change else stage for name, stage in stages.items()}
                stages[version] = change
                repository.set_stage("reviews", version, change)  # type: ignore[arg-type]
            if stages:
                expected = next((name for name, stage in stages.items() if stage == "production"), [*stages][-1])
                assert repository.resolve("reviews", None).version == expected
                found = {stored.version: stored.stage for stored in reversed(repository.versions("reviews"))}
                assert [*found.items()] == [*stages.items()]
