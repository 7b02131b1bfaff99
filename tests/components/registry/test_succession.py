"""Who was champion before: what a rollback goes by."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_components.registry.succession import moved
from tunelane_serving.errors import InputError


@pytest.fixture
def three(registry: MlflowRegistry, tiny_package: Callable[..., Path], tmp_path: Path) -> MlflowRegistry:
    """A registry with three versions of a model, and no champion."""
    for index in range(3):
        registry.register_candidate("sentiment", tiny_package(tmp_path / str(index), bias=(index, 0.0)), {})
    return registry


def promote(registry: MlflowRegistry, *versions: str | None) -> None:
    """Make these champion, one after the other."""
    for version in versions:
        champion = registry.champion("sentiment")
        registry.move_champion("sentiment", expected=champion.version if champion else None, to=version)


def client_of(database: Path) -> object:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{database}", registry_uri=f"sqlite:///{database}")


def test_where_nobody_was_champion_there_is_no_succession(three: MlflowRegistry, tmp_path: Path) -> None:
    assert MlflowRegistry(tmp_path / "nowhere" / "registry.db").succession("sentiment") == []
    assert three.succession("sentiment") == []
    assert three.succession("unknown") == []
    three.move_champion("sentiment", expected=None, to=None)
    assert three.succession("sentiment") == []
    with pytest.raises(InputError, match="cannot be used"):
        three.succession("../x")


def test_champions_follow_one_another_and_what_is_taken_back_is_gone(three: MlflowRegistry, database: Path) -> None:
    promote(three, "1", "2", "3")
    assert three.succession("sentiment") == ["1", "2", "3"]
    promote(three, "2")
    assert three.succession("sentiment") == ["1", "2"]
    promote(three, "1")
    assert three.succession("sentiment") == ["1"]
    promote(three, "3")
    assert MlflowRegistry(database).succession("sentiment") == ["1", "3"]
    promote(three, None)
    assert three.succession("sentiment") == ["1"]
    promote(three, "2")
    assert three.succession("sentiment") == ["1", "2"]


def test_a_champion_of_a_time_without_successions_is_the_first(three: MlflowRegistry, database: Path) -> None:
    client_of(database).set_registered_model_alias("sentiment", "champion", "2")  # type: ignore[attr-defined]
    assert three.succession("sentiment") == ["2"]
    promote(three, "3")
    assert three.succession("sentiment") == ["2", "3"]


def test_an_alias_or_tag_set_in_mlflow_does_not_break_it(three: MlflowRegistry, database: Path) -> None:
    client = client_of(database)
    promote(three, "1", "2")
    client.set_registered_model_alias("sentiment", "champion", "3")  # type: ignore[attr-defined]
    assert three.succession("sentiment") == ["1", "2", "3"]
    client.set_registered_model_tag("sentiment", "tunelane.succession", "what?")  # type: ignore[attr-defined]
    assert three.succession("sentiment") == ["3"]


def test_a_version_that_was_deleted_is_passed_over(three: MlflowRegistry, database: Path) -> None:
    promote(three, "1", "2", "3")
    client_of(database).delete_model_version("sentiment", "2")  # type: ignore[attr-defined]
    assert three.succession("sentiment") == ["1", "3"]


@pytest.mark.parametrize(("to", "left"), [("3", ["1", "2"]), ("1", ["1", "2"]), (None, ["1", "2"])])
def test_a_process_killed_between_tag_and_alias_leaves_it_whole(
    three: MlflowRegistry, database: Path, to: str | None, left: list[str]
) -> None:
    promote(three, "1", "2")
    code = f"""
import os, signal, sys
from pathlib import Path
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow.tracking import MlflowClient
from tunelane_components.registry.mlflow_registry import MlflowRegistry
MlflowClient.set_registered_model_alias = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.delete_registered_model_alias = MlflowClient.set_registered_model_alias
MlflowRegistry(Path(sys.argv[1])).move_champion("sentiment", expected="2", to={to!r})
"""
    killed = subprocess.run([sys.executable, "-c", code, str(database)], check=False, env=os.environ)
    assert killed.returncode == -9
    champion = three.champion("sentiment")
    assert champion is not None and champion.version == "2"
    assert three.succession("sentiment") == left


@given(st.lists(st.sampled_from([*"12345", None])))
def test_a_succession_ends_with_the_champion_and_names_nobody_twice(moves: list[str | None]) -> None:
    succession: list[str] = []
    champion: str | None = None
    for to in moves:
        before = list(succession)
        succession, champion = moved(succession, champion, to), to
        assert len(set(succession)) == len(succession)
        assert champion is None or succession[-1] == champion
        # Whoever is previous was champion before, and was not taken back since.
        assert (
            succession[: len(succession) - (champion is not None)] == before[: len(succession) - (champion is not None)]
        )
