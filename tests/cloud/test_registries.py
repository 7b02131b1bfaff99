"""What every registry must do, asked of each there is: MLflow's in a file, and the one in a bucket."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cloud.bench.bench import Bench
from tunelane_components.registry.interface import ChampionMoved, ModelVersion, Registry
from tunelane_components.registry.open import open_registry
from tunelane_components.registry.packages import manifest_at
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.package import package_digest, read_manifest, verify

Open = Callable[[], Registry]


@pytest.fixture(params=["file", "bucket"])
def reopen(request: pytest.FixtureRequest, bench: Bench, tmp_path: Path) -> Open:
    """Open one and the same registry, each time as another process would."""
    if request.param == "bucket":
        return lambda: open_registry(f"gs://{bench.bucket}/team a/registry")
    database = tmp_path / "registry" / "registry.db"
    database.parent.mkdir()
    database.write_bytes(request.getfixturevalue("made_database").read_bytes())
    return lambda: open_registry(f"sqlite:///{database}")


def test_before_the_first_registration_there_is_nothing(reopen: Open, tmp_path: Path) -> None:
    registry = reopen()
    assert registry.names() == registry.versions("sentiment") == registry.succession("sentiment") == []
    assert registry.champion("sentiment") is None
    registry.move_champion("sentiment", expected=None, to=None)
    with pytest.raises(InputError, match="'sentiment' has no version '1'"):
        registry.move_champion("sentiment", expected=None, to="1")
    with pytest.raises(InputError, match="'sentiment' has no version with digest 000000000000 in "):
        registry.fetch("sentiment", "0" * 64, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    assert reopen().names() == []


def test_a_candidate_becomes_the_first_champion_and_is_fetched_whole(
    reopen: Open, package: Path, tmp_path: Path
) -> None:
    taxonomy = read_manifest(package).taxonomy
    assert taxonomy is not None
    expected = ModelVersion("sentiment", "1", package_digest(package), taxonomy.digest)
    assert reopen().register_candidate("sentiment", package, {"tunelane.run_id": "run-7"}) == expected
    assert reopen().champion("sentiment") is None
    reopen().move_champion("sentiment", expected=None, to="1")
    assert reopen().champion("sentiment") == expected
    assert reopen().fetch("sentiment", expected.digest, tmp_path / "fetched") == expected
    verify(tmp_path / "fetched", expected_digest=expected.digest)


def test_a_package_gets_one_version_of_each_model_and_keeps_its_first_tags(
    reopen: Open, package: Path, challenger: Path
) -> None:
    first = reopen().register_candidate("sentiment", package, {"tunelane.run_id": "run-7"})
    assert reopen().register_candidate("sentiment", challenger, {}).version == "2"
    assert reopen().register_candidate("sentiment", package, {"late": "tag"}) == first
    assert reopen().register_candidate("other", package, {}).version == "1"
    assert reopen().names() == ["other", "sentiment"]
    assert [version.version for version in reopen().versions("sentiment")] == ["2", "1"]
    tags = reopen().versions("sentiment")[1].tags
    assert tags["tunelane.run_id"] == "run-7" and "late" not in tags


def test_versions_are_listed_with_their_champion_time_and_place(reopen: Open, package: Path, challenger: Path) -> None:
    # MLflow's clock has milliseconds.
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    for path in (package, challenger):
        reopen().register_candidate("sentiment", path, {})
    reopen().move_champion("sentiment", expected=None, to="1")
    newest, oldest = reopen().versions("sentiment")
    assert [(each.version, each.is_champion) for each in (newest, oldest)] == [("2", False), ("1", True)]
    assert (newest.digest, oldest.digest) == (package_digest(challenger), package_digest(package))
    assert before <= oldest.registered_at <= newest.registered_at <= datetime.now(UTC)
    assert manifest_at(newest.package, newest.digest) == read_manifest(challenger)
    with pytest.raises(ContractError):
        manifest_at(newest.package, oldest.digest)


def test_a_champion_is_moved_only_from_the_version_that_was_expected(
    reopen: Open, package: Path, challenger: Path
) -> None:
    for path in (package, challenger):
        reopen().register_candidate("sentiment", path, {})
    reopen().move_champion("sentiment", expected=None, to="1")
    with pytest.raises(ChampionMoved) as caught:
        reopen().move_champion("sentiment", expected=None, to="2")
    assert str(caught.value) == (
        "The champion of 'sentiment' moved from nobody to version 1 while this run was going; nothing was changed. "
        "Run again to be compared with it."
    )
    with pytest.raises(ChampionMoved, match="from version 2 to version 1"):
        reopen().move_champion("sentiment", expected="2", to="2")
    for unknown in ("3", "latest", ""):
        with pytest.raises(InputError, match=f"no version '{unknown}'"):
            reopen().move_champion("sentiment", expected="1", to=unknown)
    champion = reopen().champion("sentiment")
    assert champion is not None and champion.version == "1"
    reopen().move_champion("sentiment", expected="1", to=None)
    assert reopen().champion("sentiment") is None


def test_champions_follow_one_another_and_what_is_taken_back_is_gone(
    reopen: Open, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    for index in range(3):
        reopen().register_candidate("sentiment", tiny_package(tmp_path / str(index), bias=(index, 0.0)), {})
    champion = None
    for to, succession in (
        ("1", ["1"]),
        ("2", ["1", "2"]),
        ("3", ["1", "2", "3"]),
        ("3", ["1", "2", "3"]),
        ("1", ["1"]),
        ("3", ["1", "3"]),
        (None, ["1"]),
        ("2", ["1", "2"]),
    ):
        reopen().move_champion("sentiment", expected=champion, to=to)
        assert reopen().succession("sentiment") == succession
        champion = to


@pytest.mark.parametrize("name", ["", "..", "a/b", "a:b", "it's", "-x", ".hidden", "x" * 129])
def test_a_name_that_is_no_name_is_refused(reopen: Open, package: Path, name: str) -> None:
    registry = reopen()
    for ask in (registry.champion, registry.versions, registry.succession):
        with pytest.raises(InputError, match="cannot be used"):
            ask(name)
    with pytest.raises(InputError, match="cannot be used"):
        registry.register_candidate(name, package, {})
    assert reopen().names() == []


@pytest.mark.parametrize("digest", ["0" * 64, "' OR 1=1 --", "../../etc"])
def test_an_unknown_digest_is_the_user_s_mistake(reopen: Open, package: Path, tmp_path: Path, digest: str) -> None:
    known = reopen().register_candidate("sentiment", package, {}).digest
    with pytest.raises(InputError, match="has no version with digest"):
        reopen().fetch("sentiment", digest, tmp_path / "fetched")
    with pytest.raises(InputError, match="'other' has no version with digest"):
        reopen().fetch("other", known, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_broken_package_is_not_registered(reopen: Open, package: Path) -> None:
    (package / "notes.txt").write_text("left over")
    with pytest.raises(ContractError, match=r"notes\.txt is not in the manifest"):
        reopen().register_candidate("sentiment", package, {})
    assert reopen().versions("sentiment") == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.sampled_from([None, "1", "2"]), st.sampled_from([None, "1", "2", "3"])), max_size=8))
def test_any_moves_leave_the_champion_that_a_plain_model_of_them_has(
    bench: Bench, package: Path, challenger: Path, moves: list[tuple[str | None, str | None]]
) -> None:
    bench.reset()
    registry = open_registry(f"gs://{bench.bucket}/registry")
    for path in (package, challenger):
        registry.register_candidate("sentiment", path, {})
    champion: str | None = None
    for expected, to in moves:
        try:
            registry.move_champion("sentiment", expected=expected, to=to)
        except ChampionMoved:
            assert expected != champion
        except InputError:
            assert to == "3"
        else:
            assert expected == champion
            champion = to
        found = registry.champion("sentiment")
        assert (found.version if found else None) == champion
        succession = registry.succession("sentiment")
        assert champion is None or succession[-1] == champion
        assert len({*succession}) == len(succession)
