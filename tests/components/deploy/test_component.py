from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunelane_components.deploy.component import confirm_champion, deploy, smoke_test
from tunelane_components.deploy.interface import Revision, SmokeTestFailed
from tunelane_components.registry.interface import ChampionMoved
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.deployment import read_active, revision_path
from tunelane_serving.package import read_manifest

Register = Callable[[Path], Revision]


@pytest.fixture
def metrics(tmp_path: Path) -> dsl.Metrics:
    return dsl.Metrics(uri=str(tmp_path / "metrics"))


def test_a_candidate_is_deployed_tested_and_made_champion(
    registry: MlflowRegistry,
    database: Path,
    root: Path,
    deployment: Path,
    package: Path,
    register: Register,
    metrics: dsl.Metrics,
) -> None:
    revision = register(package)
    model, uri = dsl.Model(uri=str(package)), f"local:{root}"
    deploy.python_func(model, "sentiment", revision.model_version, uri)
    smoke_test.python_func(model, "sentiment", revision.model_version, uri, metrics)
    assert (registry.champion("sentiment"), read_active(deployment)) == (None, None)
    confirm_champion.python_func(model, "sentiment", revision.model_version, "", f"sqlite:///{database}", uri)
    champion, active = registry.champion("sentiment"), read_active(deployment)
    assert champion is not None and active is not None
    assert champion.digest == active.digest == revision.digest
    assert champion.version == active.model_version == "1"
    goldens = read_manifest(package).goldens
    assert metrics.metadata["requests"] == len(goldens)
    assert metrics.metadata["max_latency_ms"] > 0
    assert (metrics.metadata["text"], metrics.metadata["label"]) == (goldens[len(goldens) // 2].text, "negative")
    assert metrics.metadata["confidence"] >= 0.5


def test_a_failed_smoke_test_leaves_the_old_champion_champion_and_active(
    registry: MlflowRegistry,
    database: Path,
    root: Path,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
    damage: Callable[[Revision], None],
    metrics: dsl.Metrics,
) -> None:
    old, new = register(package), register(challenger)
    uri = f"local:{root}"
    deploy.python_func(dsl.Model(uri=str(package)), "sentiment", "1", uri)
    confirm_champion.python_func(dsl.Model(uri=str(package)), "sentiment", "1", "", f"sqlite:///{database}", uri)
    before = (registry.champion("sentiment"), (deployment / "active.json").read_bytes())
    model = dsl.Model(uri=str(challenger))
    deploy.python_func(model, "sentiment", "2", uri)
    damage(new)
    with pytest.raises(SmokeTestFailed):
        smoke_test.python_func(model, "sentiment", "2", uri, metrics)
    assert (registry.champion("sentiment"), (deployment / "active.json").read_bytes()) == before
    assert revision_path(deployment, old.digest).is_dir()
    assert not revision_path(deployment, new.digest).exists()
    assert metrics.metadata == {}


def test_who_was_compared_with_another_champion_does_not_become_one(
    registry: MlflowRegistry,
    database: Path,
    root: Path,
    deployment: Path,
    package: Path,
    challenger: Path,
    register: Register,
) -> None:
    register(package)
    register(challenger)
    registry.move_champion("sentiment", expected=None, to="2")
    model, uri = dsl.Model(uri=str(package)), f"local:{root}"
    deploy.python_func(model, "sentiment", "1", uri)
    with pytest.raises(ChampionMoved, match="from nobody to version 2"):
        confirm_champion.python_func(model, "sentiment", "1", "", f"sqlite:///{database}", uri)
    assert read_active(deployment) is None
    assert not list((deployment / "revisions").iterdir())


def test_the_components_compile(tmp_path: Path) -> None:
    for component in (deploy, smoke_test, confirm_champion):
        compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))
