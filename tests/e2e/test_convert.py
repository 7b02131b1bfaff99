"""A checkpoint from elsewhere to a package, by the `convert` pipeline."""

from pathlib import Path

import pytest

from tests.e2e.place import Place, Promoted
from tunelane_serving.classifier import TextClassifier

pytestmark = pytest.mark.xdist_group("e2e")


def _sample() -> list[str]:
    return ["--set", "data=sample://sentiment", "--set", "rows=300"]


def test_a_directory_saved_by_transformers_becomes_a_package_that_answers_alike(
    promoted: Promoted, place: Place
) -> None:
    checkpoint = promoted.place.artifact("train-lora", "model")
    run = place.tunelane("run", "convert", "--set", f"checkpoint={checkpoint}", *_sample())
    assert run.returncode == 0, run.stdout + run.stderr
    package = place.artifact("validate-parity", "package")
    original = TextClassifier.load(promoted.place.artifact("validate-parity", "package"))
    converted = TextClassifier.load(package)
    assert converted.classify("a dull and lifeless mess").labels == original.classify("a dull and lifeless mess").labels
    assert f"Package   {package.relative_to(place.root.parent)}" in run.stdout


def test_a_state_dict_needs_a_base_model_and_a_taxonomy_and_then_becomes_a_package(
    promoted: Promoted, place: Place, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(promoted.place.artifact("train-lora", "model"))
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": model.state_dict()}, weights)
    arguments = ["run", "convert", "--set", f"checkpoint={weights}", *_sample()]

    alone = place.tunelane(*arguments)
    assert alone.returncode == 2
    assert "base_model" in alone.stderr

    unnamed = place.tunelane(*arguments, "--set", "base_model=sample://minilm")
    assert unnamed.returncode == 2
    assert "taxonomy" in unnamed.stderr

    taxonomy = promoted.place.artifact("build-dataset", "dataset") / "taxonomy.json"
    run = place.tunelane(*arguments, "--set", "base_model=sample://minilm", "--set", f"taxonomy={taxonomy}")
    assert run.returncode == 0, run.stdout + run.stderr
    assert TextClassifier.load(place.artifact("validate-parity", "package")).taxonomy.names == ("negative", "positive")
