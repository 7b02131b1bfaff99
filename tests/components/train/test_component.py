from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunelane_components.train.checkpoint import read_card
from tunelane_components.train.component import import_checkpoint, train_lora
from tunelane_components.train.report import render
from tunelane_serving.contract import read
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Taxonomy


@pytest.fixture
def model(tmp_path: Path) -> dsl.Model:
    """Give an output artifact as kfp does: its directory is there before the task starts."""
    directory = tmp_path / "artifacts" / "model"
    directory.mkdir(parents=True)
    return dsl.Model(uri=str(directory))


def test_train_lora_writes_the_checkpoint_its_metadata_and_metrics(
    tiny_encoder: Path, toy_dataset: Path, model: dsl.Model, tmp_path: Path
) -> None:
    metrics, report = dsl.Metrics(uri=str(tmp_path / "metrics")), dsl.HTML(uri=str(tmp_path / "report"))
    train_lora.python_func(
        dsl.Dataset(uri=str(toy_dataset)),
        model,
        metrics,
        report,
        base_model=str(tiny_encoder),
        rank=2,
        alpha=3,
        dropout=0.05,
        target_modules="query",
        epochs=1,
        batch_size=8,
        learning_rate=0.02,
        warmup_fraction=0.2,
        max_length_tokens=32,
        precision="fp32",
        use_class_weights=True,
        seed=5,
    )
    card = read_card(Path(model.path))
    assert card.options == {
        "rank": 2,
        "alpha": 3,
        "dropout": 0.05,
        "target_modules": "query",
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 0.02,
        "warmup_fraction": 0.2,
        "max_length_tokens": 32,
        "precision": "fp32",
        "use_class_weights": True,
        "seed": 5,
    }
    assert model.metadata == {"taxonomy_digest": card.taxonomy.digest, "base_model": tiny_encoder.name}
    assert metrics.metadata == card.metrics
    assert set(card.metrics) == {"valid_macro_f1", "best_epoch", "train_rows"}
    assert Path(report.path).read_text(encoding="utf-8") == render(card)


def test_train_lora_has_the_defaults_of_its_options() -> None:
    from dataclasses import asdict

    from tunelane_components.train.lora import LoraOptions

    inputs = train_lora.component_spec.inputs
    assert {name: inputs[name].default for name in asdict(LoraOptions())} == asdict(LoraOptions())


def test_train_lora_refuses_options_before_it_reads_anything(model: dsl.Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^epochs must be at least 1"):
        train_lora.python_func(
            dsl.Dataset(uri="/missing"),
            model,
            dsl.Metrics(uri=str(tmp_path / "metrics")),
            dsl.HTML(uri=str(tmp_path / "report")),
            base_model="x",
            epochs=0,
        )


def test_import_checkpoint_returns_the_taxonomy_that_the_next_task_reads(
    toy_checkpoint: Path, model: dsl.Model, tmp_path: Path
) -> None:
    (tmp_path / "labels.yaml").write_text("labels: [negative, {name: neutral, description: neither}, positive]")
    uri = import_checkpoint.python_func(
        model, checkpoint=str(toy_checkpoint), taxonomy=str(tmp_path / "labels.yaml"), max_length_tokens=48
    )
    card = read_card(Path(model.path))
    assert read(Path(uri), Taxonomy) == card.taxonomy
    assert card.taxonomy.labels[1].description == "neither"
    assert card.max_length_tokens == 48


def test_import_checkpoint_takes_a_state_dict_and_a_remote_taxonomy(
    toy_checkpoint: Path, tiny_encoder: Path, model: dsl.Model, tmp_path: Path
) -> None:
    import fsspec
    import torch

    from tunelane_components.train.checkpoint import load_model

    torch.save(load_model(toy_checkpoint).state_dict(), tmp_path / "model.pt")
    fsspec.filesystem("memory").pipe_file("/import/labels.json", b'["negative", "neutral", "positive"]')
    import_checkpoint.python_func(
        model,
        checkpoint=str(tmp_path / "model.pt"),
        taxonomy="memory://import/labels.json",
        base_model=str(tiny_encoder),
        max_length_tokens=64,
    )
    assert read_card(Path(model.path)).taxonomy.names == ("negative", "neutral", "positive")


def test_import_checkpoint_names_what_is_missing(model: dsl.Model) -> None:
    with pytest.raises(InputError, match=r"^No such file or directory: /no/model\. Pass --set checkpoint="):
        import_checkpoint.python_func(model, checkpoint="/no/model")


@pytest.mark.parametrize("component", [train_lora, import_checkpoint])
def test_the_components_compile_alone(component: dsl.base_component.BaseComponent, tmp_path: Path) -> None:
    compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))
    assert "tunelane/trainer" in (tmp_path / "component.yaml").read_text()
