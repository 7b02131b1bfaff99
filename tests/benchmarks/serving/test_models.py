import json
from pathlib import Path

from benchmarks.serving.models import champion, checkpoint_of

DIGEST = "ab" * 32


def _package(directory: Path, content: str = "{}") -> Path:
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text(content)
    return directory


def test_the_champion_is_what_the_deployment_makes_active(tmp_path: Path) -> None:
    deployment = tmp_path / "deployments" / "sentiment"
    package = _package(deployment / "revisions" / DIGEST)
    assert champion(tmp_path) is None
    (deployment / "active.json").write_text(json.dumps({"digest": DIGEST}))
    assert champion(tmp_path) == package


def test_the_checkpoint_is_that_of_the_run_with_the_same_package(tmp_path: Path) -> None:
    package = _package(tmp_path / "package", '{"one": 1}')
    for run, content in (("a", '{"other": 1}'), ("b", '{"one": 1}')):
        artifacts = tmp_path / "runs" / run / "artifacts" / "train"
        _package(artifacts / "validate-parity" / "package", content)
        (artifacts / "train-lora" / "model").mkdir(parents=True)
    assert checkpoint_of(package, tmp_path) == tmp_path / "runs" / "b" / "artifacts" / "train" / "train-lora" / "model"


def test_a_package_from_elsewhere_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint_of(_package(tmp_path / "package"), tmp_path) is None
