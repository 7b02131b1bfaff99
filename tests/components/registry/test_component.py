import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunelane_components.gate.verdict import Decision, Rule, Verdict
from tunelane_components.registry.component import register_candidate, resolve_champion
from tunelane_components.registry.mlflow_registry import MlflowRegistry
from tunelane_serving.contract import write
from tunelane_serving.errors import ContractError
from tunelane_serving.package import package_digest, read_manifest, verify


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> dsl.Model:
    return dsl.Model(uri=str(tiny_package(tmp_path / "package")))


@pytest.fixture
def champion(tmp_path: Path) -> dsl.Model:
    # kfp makes the directory of an output before the task starts.
    directory = tmp_path / "artifacts" / "champion"
    directory.mkdir(parents=True)
    return dsl.Model(uri=str(directory))


@pytest.fixture
def write_verdict(tmp_path: Path) -> Callable[..., dsl.Artifact]:
    def write_verdict(digest: str, decision: Decision = "promote") -> dsl.Artifact:
        outcome = "passed" if decision == "promote" else "failed"
        rule = Rule('F1 of "it\'s"', 0.91, 0.85, outcome, "Macro-F1 0.910 on 120 rows.")
        path = tmp_path / "verdict"
        write(path, Verdict(decision, "It is good enough.", (rule,), 120, digest, macro_f1=0.91))
        return dsl.Artifact(uri=str(path))

    return write_verdict


def test_without_a_champion_the_version_is_empty_and_so_is_the_directory(champion: dsl.Model, database: Path) -> None:
    (Path(champion.path) / "left-by-the-first-try").touch()
    assert resolve_champion.python_func("sentiment", f"sqlite:///{database}", champion) == ""
    assert list(Path(champion.path).iterdir()) == []
    assert champion.metadata == {}


def test_the_champion_is_pinned_by_version_and_digest(
    champion: dsl.Model, package: dsl.Model, registry: MlflowRegistry, database: Path
) -> None:
    digest = registry.register_candidate("sentiment", Path(package.path), {}).digest
    registry.move_champion("sentiment", expected=None, to="1")
    assert resolve_champion.python_func("sentiment", f"sqlite:///{database}", champion) == "1"
    manifest = verify(Path(champion.path), expected_digest=digest)
    assert manifest.taxonomy is not None
    assert champion.metadata == {"version": "1", "digest": digest, "taxonomy_digest": manifest.taxonomy.digest}


def test_a_promoted_package_is_registered_with_its_verdict(
    package: dsl.Model, write_verdict: Callable[..., dsl.Artifact], database: Path
) -> None:
    from mlflow.tracking import MlflowClient

    digest = package_digest(Path(package.path))
    uri = f"sqlite:///{database}"
    assert register_candidate.python_func(package, write_verdict(digest), "sentiment", uri, run_id="run-7") == "1"
    tags = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version("sentiment", "1").tags
    assert tags["tunelane.verdict"] == "promote"
    assert tags["tunelane.verdict.rows"] == "120"
    assert json.loads(tags["tunelane.verdict.rules"]) == {'F1 of "it\'s"': 0.91}
    assert tags["tunelane.macro_f1"] == "0.91"
    assert tags["tunelane.run_id"] == "run-7"
    assert tags["tunelane.digest"] == digest
    assert MlflowRegistry(database).champion("sentiment") is None


def test_a_package_without_a_promoting_verdict_of_its_own_is_not_registered(
    package: dsl.Model, write_verdict: Callable[..., dsl.Artifact], database: Path
) -> None:
    digest = package_digest(Path(package.path))
    with pytest.raises(ContractError, match=f"the verdict is on 000000000000, the package is {digest[:12]}"):
        register_candidate.python_func(package, write_verdict("0" * 64), "sentiment", f"sqlite:///{database}")
    for decision in ("reject", "insufficient"):
        with pytest.raises(ContractError, match=decision):
            register_candidate.python_func(
                package, write_verdict(digest, decision), "sentiment", f"sqlite:///{database}"
            )
    assert not database.exists()


def test_the_components_compile(tmp_path: Path) -> None:
    for component in (resolve_champion, register_candidate):
        compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))


def test_what_is_fetched_is_what_was_registered(
    champion: dsl.Model, package: dsl.Model, registry: MlflowRegistry, database: Path
) -> None:
    registry.register_candidate("sentiment", Path(package.path), {})
    registry.move_champion("sentiment", expected=None, to="1")
    resolve_champion.python_func("sentiment", f"sqlite:///{database}", champion)
    assert read_manifest(Path(champion.path)) == read_manifest(Path(package.path))
