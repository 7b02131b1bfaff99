import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from tunelane_components.etl.dataset import read_split, read_summary, read_taxonomy
from tunelane_components.train import lora
from tunelane_components.train.checkpoint import load_model, load_tokenizer, read_card
from tunelane_components.train.lora import LoraOptions, train_lora
from tunelane_serving.contract import write
from tunelane_serving.errors import InputError

# All tests that need the toy lane run in one worker, which builds it once.


def _predicted(checkpoint: Path, dataset: Path) -> list[str]:
    """Ask the saved checkpoint about the validation texts, one at a time, by plain transformers."""
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    answers = []
    for record in read_split(dataset, "valid"):
        logits = model(**tokenizer(record.text, return_tensors="pt")).logits[0]
        answers.append(model.config.id2label[int(logits.argmax())])
    return answers


def _weights(checkpoint: Path) -> dict[str, np.ndarray]:
    return load_file(checkpoint / "model.safetensors")


def _same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_it_learns_the_task(toy_checkpoint: Path) -> None:
    card = read_card(toy_checkpoint)
    # Six seeds gave 0.94 to 0.99; one label for all rows gives 0.16.
    assert card.metrics["valid_macro_f1"] > 0.85
    assert card.history[-1].train_loss < 0.5 * card.history[0].train_loss


def test_the_saved_model_scores_what_its_card_says(toy_checkpoint: Path, toy_dataset: Path) -> None:
    from sklearn.metrics import f1_score

    truth = [record.labels[0] for record in read_split(toy_dataset, "valid")]
    card = read_card(toy_checkpoint)
    found = f1_score(truth, _predicted(toy_checkpoint, toy_dataset), average="macro")
    assert found == pytest.approx(card.metrics["valid_macro_f1"])
    assert card.metrics["valid_macro_f1"] == max(epoch.valid_macro_f1 for epoch in card.history)
    assert card.history[int(card.metrics["best_epoch"]) - 1].valid_macro_f1 == card.metrics["valid_macro_f1"]


def test_the_best_epoch_is_kept_though_later_ones_follow(
    tiny_encoder: Path,
    toy_dataset: Path,
    toy_options: LoraOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    f1_by_epoch = [0.2, 0.9, 0.4, 0.9]
    answers_by_epoch: list[list[tuple[str, str]]] = []
    names = read_taxonomy(toy_dataset).names

    def decreed_f1(truth: Any, predicted: Any, _labels: int) -> float:
        answers_by_epoch.append(
            sorted((names[true], names[found]) for true, found in zip(truth, predicted, strict=True))
        )
        return f1_by_epoch[len(answers_by_epoch) - 1]

    monkeypatch.setattr(lora, "single_label_macro_f1", decreed_f1)
    card = train_lora(toy_dataset, str(tiny_encoder), tmp_path / "checkpoint", replace(toy_options, epochs=4))
    assert [epoch.valid_macro_f1 for epoch in card.history] == f1_by_epoch
    assert card.metrics["best_epoch"] == 2
    truth = [record.labels[0] for record in read_split(toy_dataset, "valid")]
    answers = sorted(zip(truth, _predicted(tmp_path / "checkpoint", toy_dataset), strict=True))
    assert answers == answers_by_epoch[1]
    assert answers not in (answers_by_epoch[0], answers_by_epoch[3])


def test_the_checkpoint_is_a_plain_classifier_named_by_the_taxonomy(toy_checkpoint: Path, toy_dataset: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    assert not [name for name in _weights(toy_checkpoint) if "lora" in name or "base_layer" in name]
    assert not list(toy_checkpoint.glob("adapter*"))
    model, found = AutoModelForSequenceClassification.from_pretrained(toy_checkpoint, output_loading_info=True)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    names = read_taxonomy(toy_dataset).names
    assert model.config.id2label == dict(enumerate(names))
    assert model.config.label2id == {name: index for index, name in enumerate(names)}


def test_the_adapters_change_the_encoder_and_not_the_embeddings(tiny_encoder: Path, toy_checkpoint: Path) -> None:
    before, after = _weights(tiny_encoder), _weights(toy_checkpoint)
    changed = {name for name in before if not np.array_equal(before[name], after[f"bert.{name}"])}
    assert "encoder.layer.0.attention.self.query.weight" in changed
    assert not [name for name in changed if "embeddings" in name or "LayerNorm" in name or name.endswith("bias")]


def test_the_card_says_what_the_checkpoint_comes_from(
    tiny_encoder: Path, toy_checkpoint: Path, toy_dataset: Path, toy_options: LoraOptions
) -> None:
    card, summary = read_card(toy_checkpoint), read_summary(toy_dataset)
    assert card.taxonomy == read_taxonomy(toy_dataset)
    assert card.data_digest == summary.digest
    assert (card.base_model.uri, card.base_model.licence) == (tiny_encoder.name, "apache-2.0")
    assert card.max_length_tokens == toy_options.max_length_tokens
    assert card.metrics["train_rows"] == summary.rows_of("train")
    assert card.options["learning_rate"] == toy_options.learning_rate
    assert [epoch.epoch for epoch in card.history] == [1, 2, 3, 4, 5, 6]
    assert 0 < card.history[0].elapsed_s <= card.history[-1].elapsed_s


def test_the_card_keeps_the_learning_curve(toy_checkpoint: Path) -> None:
    card = read_card(toy_checkpoint)
    steps = [point.step for point in card.losses]
    assert steps == sorted(set(steps))
    assert len(steps) >= 5 * len(card.history)
    first = [point.loss for point in card.losses if point.step <= card.history[0].step]
    assert card.history[0].train_loss == pytest.approx(sum(first) / len(first))
    assert [epoch.step for epoch in card.history] == [card.history[0].step * epoch.epoch for epoch in card.history]


def test_a_seed_gives_the_same_weights_and_another_seed_others(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    weights = []
    for run, seed in enumerate((1, 1, 2)):
        options = replace(toy_options, epochs=1, dropout=0.1, seed=seed)
        train_lora(toy_dataset, str(tiny_encoder), tmp_path / f"run{run}", options)
        weights.append(_weights(tmp_path / f"run{run}"))
    assert _same(weights[0], weights[1])
    assert not _same(weights[0], weights[2])


def test_only_the_named_modules_get_adapters(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    options = replace(toy_options, epochs=1, target_modules="query, value")
    train_lora(toy_dataset, str(tiny_encoder), tmp_path / "checkpoint", options)
    before, after = _weights(tiny_encoder), _weights(tmp_path / "checkpoint")
    changed = {name.split(".")[-2] for name in before if not np.array_equal(before[name], after[f"bert.{name}"])}
    assert changed == {"query", "value"}


def test_bf16_training_saves_float32_weights(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    options = replace(toy_options, epochs=1, precision="bf16")
    train_lora(toy_dataset, str(tiny_encoder), tmp_path / "checkpoint", options)
    assert {weight.dtype for weight in _weights(tmp_path / "checkpoint").values()} == {np.dtype(np.float32)}


def test_a_base_with_another_tasks_head_gets_a_new_one(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = tmp_path / "two-labels"
    AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(base)
    train_lora(toy_dataset, str(base), tmp_path / "checkpoint", replace(toy_options, epochs=1))
    assert _weights(tmp_path / "checkpoint")["classifier.weight"].shape == (3, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be at least 1, not 0."),
        ({"alpha": 0}, "alpha must be at least 1, not 0."),
        ({"epochs": -1}, "epochs must be at least 1, not -1."),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0."),
        ({"max_length_tokens": 0}, "max_length_tokens must be at least 1, not 0."),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, not 0.0."),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0 and finite, not nan."),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0 and finite, not inf."),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0."),
        ({"warmup_fraction": -0.1}, "warmup_fraction must be at least 0 and below 1, not -0.1."),
        ({"seed": -1}, "seed must be at least 0 and below 2**32, not -1."),
        ({"precision": "fp8"}, "precision must be auto, bf16 or fp32, not 'fp8'."),
    ],
)
def test_options_refuse_nonsense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        LoraOptions(**options)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target_modules": "nonsense_a,nonsense_b"},
            "target_modules 'nonsense_a,nonsense_b': no such module. "
            "Pass all-linear, or some of: classifier, dense, key, query, value.",
        ),
        ({"max_length_tokens": 2}, "max_length_tokens=2 leaves no room beside 2 special tokens."),
        (
            {"max_length_tokens": 65},
            "max_length_tokens=65 is more than the model has positions for. Pass a smaller number.",
        ),
        ({"learning_rate": 1e30}, "Training diverged: a weight is not finite. Lower learning_rate (now 1e+30)."),
    ],
)
def test_options_that_the_model_cannot_take_are_refused(
    options: dict[str, Any],
    message: str,
    tiny_encoder: Path,
    toy_dataset: Path,
    toy_options: LoraOptions,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError) as refused:
        train_lora(toy_dataset, str(tiny_encoder), tmp_path / "model", replace(toy_options, epochs=1, **options))
    assert str(refused.value) == message
    assert not list(tmp_path.iterdir())


def test_a_base_without_the_encoders_weights_is_refused(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file
    from transformers import AutoConfig, AutoTokenizer

    base = tmp_path / "base"
    AutoConfig.from_pretrained(tiny_encoder).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(base)
    save_file({"something.else": np.zeros(3, np.float32)}, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"has no weights for bert\.embeddings\..*are missing"):
        train_lora(toy_dataset, str(base), tmp_path / "model", toy_options)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("step", ["single_label_macro_f1", "write_card"])
def test_a_training_that_fails_midway_leaves_nothing(
    step: str,
    tiny_encoder: Path,
    toy_dataset: Path,
    toy_options: LoraOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> float:
        raise OSError("No space left on device")

    monkeypatch.setattr(lora, step, fail)
    with pytest.raises(OSError, match="No space left"):
        train_lora(toy_dataset, str(tiny_encoder), tmp_path / "model", replace(toy_options, epochs=1))
    assert not list(tmp_path.iterdir())


_TRAIN_FOR_EVER = """
import logging, sys
from pathlib import Path
import msgspec
from tunelane_components.train.lora import LoraOptions, train_lora
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
dataset, base_model, output, options = sys.argv[1:]
train_lora(Path(dataset), base_model, Path(output), msgspec.json.decode(options, type=LoraOptions))
"""


def test_a_killed_training_leaves_no_checkpoint_and_the_next_one_works(
    tiny_encoder: Path,
    toy_dataset: Path,
    toy_options: LoraOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "model"
    options = msgspec.json.encode(replace(toy_options, epochs=1000)).decode()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with subprocess.Popen(
        [sys.executable, "-c", _TRAIN_FOR_EVER, str(toy_dataset), str(tiny_encoder), str(output), options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 1:") for line in process.stdout)
        process.kill()
    assert not output.exists()
    train_lora(toy_dataset, str(tiny_encoder), output, replace(toy_options, epochs=1))
    assert read_card(output).history


def test_class_weights_count_where_they_are_asked_for(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(toy_dataset, dataset)
    favourite, *others = read_taxonomy(dataset).names
    weights = {favourite: 100.0, **dict.fromkeys(others, 0.01)}
    write(dataset / "dataset.json", msgspec.structs.replace(read_summary(dataset), class_weights=weights))
    shares = {}
    for use in (True, False):
        options = replace(toy_options, epochs=3, use_class_weights=use)
        train_lora(dataset, str(tiny_encoder), tmp_path / str(use), options)
        predicted = _predicted(tmp_path / str(use), dataset)
        shares[use] = predicted.count(favourite) / len(predicted)
    assert shares[True] > 0.9
    assert shares[False] < 0.6


def test_several_labels_a_row_are_refused(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(toy_dataset, dataset)
    summary = read_summary(dataset)
    several = msgspec.structs.replace(summary.options, multi_label=True)
    write(dataset / "dataset.json", msgspec.structs.replace(summary, options=several))
    with pytest.raises(InputError, match="several labels a row"):
        train_lora(dataset, str(tiny_encoder), tmp_path / "checkpoint", toy_options)
