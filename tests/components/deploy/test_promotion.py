from collections.abc import Callable
from pathlib import Path

import pytest

from tunelane_components.deploy.interface import Revision, SmokeTestFailed
from tunelane_components.deploy.local import LocalDeployer
from tunelane_components.deploy.promotion import confirm_champion, smoke_or_roll_back
from tunelane_components.registry.interface import ChampionMoved
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.deployment import read_active, revision_path
from tunelane_serving.errors import InputError, TunelaneError

Register = Callable[[Path], Revision]


def champion_and_active(registry: MlflowRegistry, deployment: Path) -> tuple[str | None, str | None]:
    """Who is champion and who serves, by version."""
    champion, active = registry.champion("sentiment"), read_active(deployment)
    return champion.version if champion else None, active.model_version if active else None


def test_the_registry_decides_before_the_deployment_follows(
    registry: MlflowRegistry, root: Path, deployment: Path, package: Path, register: Register
) -> None:
    seen = []

    class Watched(LocalDeployer):
        def confirm(self, revision: Revision) -> None:
            seen.append(champion_and_active(registry, deployment))
            super().confirm(revision)

    revision = register(package)
    deployer = Watched(root)
    deployer.deploy(revision, package)
    confirm_champion(registry, deployer, revision, expected_version=None)
    assert seen == [("1", None)]
    assert champion_and_active(registry, deployment) == ("1", "1")


def test_who_comes_too_late_is_rolled_back_and_changes_nothing(
    registry: MlflowRegistry,
    deployer: LocalDeployer,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
) -> None:
    first, second = register(package), register(challenger)
    deployer.deploy(first, package)
    deployer.deploy(second, challenger)
    confirm_champion(registry, deployer, second, expected_version=None)
    with pytest.raises(ChampionMoved) as caught:
        confirm_champion(registry, deployer, first, expected_version=None)
    assert str(caught.value) == (
        "The champion of 'sentiment' moved from nobody to version 2 while this run was going; nothing was changed. "
        "Run again to be compared with it."
    )
    assert champion_and_active(registry, deployment) == ("2", "2")
    assert not revision_path(deployment, first.digest).exists()


def test_a_second_try_does_what_a_killed_first_one_left_undone(
    registry: MlflowRegistry, deployer: LocalDeployer, deployment: Path, package: Path, register: Register
) -> None:
    revision = register(package)
    deployer.deploy(revision, package)
    # The first try, or a faster run with the same package, stands between its two steps.
    registry.move_champion("sentiment", expected=None, to="1")
    confirm_champion(registry, deployer, revision, expected_version=None)
    assert champion_and_active(registry, deployment) == ("1", "1")
    confirm_champion(registry, deployer, revision, expected_version=None)
    assert champion_and_active(registry, deployment) == ("1", "1")


def test_a_second_try_that_fails_leaves_who_is_champion_to_whoever_made_it_so(
    registry: MlflowRegistry,
    deployer: LocalDeployer,
    deployment: Path,
    package: Path,
    register: Register,
    damage: Callable[[Revision], None],
) -> None:
    revision = register(package)
    deployer.deploy(revision, package)
    registry.move_champion("sentiment", expected=None, to="1")
    damage(revision)
    with pytest.raises(TunelaneError):
        confirm_champion(registry, deployer, revision, expected_version=None)
    assert champion_and_active(registry, deployment) == ("1", None)


def test_what_cannot_be_taken_away_does_not_hide_why_it_should_be(
    registry: MlflowRegistry,
    root: Path,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
    damage: Callable[[Revision], None],
) -> None:
    class Kept(LocalDeployer):
        def roll_back(self, revision: Revision) -> None:
            raise InputError(f"{revision.model} may not be deleted.")

    first, second = register(package), register(challenger)
    left = "The revision could not be taken away, and gets no traffic (sentiment may not be deleted.)."
    deployer = Kept(root)
    deployer.deploy(first, package)
    registry.move_champion("sentiment", expected=None, to=second.model_version)
    with pytest.raises(ChampionMoved) as moved:
        confirm_champion(registry, deployer, first, expected_version=None)
    assert str(moved.value).startswith("The champion of 'sentiment' moved from nobody to version 2 while")
    assert str(moved.value).endswith(left)
    damage(first)
    with pytest.raises(SmokeTestFailed) as failed:
        smoke_or_roll_back(deployer, first)
    assert str(failed.value).startswith("The server did not start. The server said: ")
    assert str(failed.value).endswith(left) and "\n" not in str(failed.value)
    assert champion_and_active(registry, deployment) == ("2", None)


def test_where_the_deployment_cannot_follow_the_champion_is_who_it_was(
    registry: MlflowRegistry,
    deployer: LocalDeployer,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
    damage: Callable[[Revision], None],
) -> None:
    first, second = register(package), register(challenger)
    deployer.deploy(first, package)
    damage(first)
    with pytest.raises(
        TunelaneError, match=r"^Version 1 of 'sentiment' could not be put to serve .*there is no champion"
    ):
        confirm_champion(registry, deployer, first, expected_version=None)
    assert champion_and_active(registry, deployment) == (None, None)
    deployer.deploy(first, package)
    confirm_champion(registry, deployer, first, expected_version=None)
    deployer.deploy(second, challenger)
    damage(second)
    with pytest.raises(TunelaneError, match="version 1 is champion again") as caught:
        confirm_champion(registry, deployer, second, expected_version="1")
    assert "\n" not in str(caught.value)
    assert champion_and_active(registry, deployment) == ("1", "1")


def test_where_the_champion_cannot_be_moved_back_the_error_says_who_it_is(
    registry: MlflowRegistry,
    database: Path,
    root: Path,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
) -> None:
    revision = register(package)
    register(challenger)

    class Overtaken(LocalDeployer):
        def confirm(self, revision: Revision) -> None:
            registry.move_champion("sentiment", expected="1", to="2")
            super().confirm(revision)

    class Cut(MlflowRegistry):
        def move_champion(self, name: str, *, expected: str | None, to: str | None) -> None:
            if to is None:
                raise OSError("No space left on device")
            super().move_champion(name, expected=expected, to=to)

    with pytest.raises(TunelaneError, match=r"could not be put to serve .*; another run moved the champion meanwhile"):
        confirm_champion(registry, Overtaken(root), revision, expected_version=None)
    assert champion_and_active(registry, deployment) == ("2", None)
    registry.move_champion("sentiment", expected="2", to=None)
    with pytest.raises(TunelaneError, match=r"the registry still names it champion, .*No space left"):
        confirm_champion(Cut(database), LocalDeployer(root), revision, expected_version=None)
    assert champion_and_active(registry, deployment) == ("1", None)


def test_a_champion_that_was_moved_on_meanwhile_is_the_one_that_serves(
    registry: MlflowRegistry,
    root: Path,
    deployer: LocalDeployer,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
) -> None:
    first, second = register(package), register(challenger)
    deployer.deploy(first, package)
    deployer.deploy(second, challenger)

    class Slow(LocalDeployer):
        def confirm(self, revision: Revision) -> None:
            if revision == first:
                # The faster run takes both of its steps between those of this one.
                confirm_champion(registry, deployer, second, expected_version="1")
            super().confirm(revision)

    confirm_champion(registry, Slow(root), first, expected_version=None)
    assert champion_and_active(registry, deployment) == ("2", "2")
