import json
import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tunelane_components.train.checkpoint import (
    CARD,
    load_model,
    load_tokenizer,
    output_names,
    read_card,
)
from tunelane_components.train.importing import import_checkpoint
from tunelane_serving.contract import read
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Label, Taxonomy

NAMES = ("negative", "neutral", "positive")
TAXONOMY = Taxonomy(tuple(Label(name, f"{name} in tone") for name in NAMES))


@pytest.fixture
def finished(toy_checkpoint: Path, tmp_path: Path) -> Path:
    """Copy the toy classifier as another team would hand it over: without a card."""
    directory = tmp_path / "finished"
    shutil.copytree(toy_checkpoint, directory, ignore=shutil.ignore_patterns(CARD))
    return directory


@pytest.fixture
def state_dict(toy_checkpoint: Path) -> dict[str, torch.Tensor]:
    """Give the toy classifier's tensors by name."""
    tensors: dict[str, torch.Tensor] = load_model(toy_checkpoint).state_dict()
    return tensors


def _bring_in(
    checkpoint: Path, target: Path, taxonomy: Taxonomy | None = None, base_model: str = "", max_length_tokens: int = 64
) -> Any:
    return import_checkpoint(
        str(checkpoint), target, taxonomy=taxonomy, base_model=base_model, max_length_tokens=max_length_tokens
    )


def _edit_config(checkpoint: Path, **changes: Any) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _logits(checkpoint: Path) -> torch.Tensor:
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    with torch.inference_mode():
        logits: torch.Tensor = model(**tokenizer("a good film it was", return_tensors="pt")).logits
    return logits


def test_a_directory_comes_in_with_its_own_labels(finished: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
    (finished / "README.md").write_text("---\nlicense: mit\n---\n")
    card = _bring_in(finished, tmp_path / "checkpoint")
    assert card == read_card(tmp_path / "checkpoint")
    assert card.taxonomy.names == NAMES
    assert (card.base_model.uri, card.base_model.licence) == (finished.name, "mit")
    assert (card.data_digest, card.metrics, card.history) == ("", {}, ())
    assert read(tmp_path / "checkpoint" / "taxonomy.json", Taxonomy) == card.taxonomy
    assert torch.equal(_logits(tmp_path / "checkpoint"), _logits(toy_checkpoint))


def test_a_given_taxonomy_names_outputs_that_have_no_names(finished: Path, tmp_path: Path) -> None:
    _edit_config(finished, id2label={str(index): f"LABEL_{index}" for index in range(3)}, label2id={})
    with pytest.raises(InputError, match=r"names no labels \(its id2label is LABEL_0, LABEL_1, LABEL_2\).*taxonomy="):
        _bring_in(finished, tmp_path / "checkpoint")
    card = _bring_in(finished, tmp_path / "checkpoint", TAXONOMY)
    assert card.taxonomy == TAXONOMY
    assert output_names(load_model(tmp_path / "checkpoint")) == NAMES


def test_a_given_taxonomy_keeps_its_descriptions(finished: Path, tmp_path: Path) -> None:
    assert _bring_in(finished, tmp_path / "checkpoint", TAXONOMY).taxonomy.digest == TAXONOMY.digest


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("positive", "neutral", "negative"),
            "The checkpoint's outputs are negative, neutral, positive; the taxonomy lists positive, neutral, negative. "
            "Put the taxonomy in the order of the outputs.",
        ),
        (("negative", "positive"), "The checkpoint has 3 outputs, the taxonomy 2 labels."),
    ],
)
def test_a_taxonomy_that_does_not_fit_the_outputs_is_refused(
    names: tuple[str, ...], message: str, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        _bring_in(finished, tmp_path / "checkpoint", Taxonomy(tuple(map(Label, names))))
    assert str(refused.value) == message
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, r"id2label is no taxonomy: labels\[1\]: 'a' stands twice"),
        ({"problem_type": "multi_label_classification"}, r"is a multi_label_classification model\. Pass one of single"),
        ({"model_type": "no-such-type"}, r"cannot be read as a sequence classifier: .*no-such-type"),
        ({"hidden_size": 16}, "cannot be read as a sequence classifier"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(
    config: dict[str, Any], message: str, finished: Path, tmp_path: Path
) -> None:
    _edit_config(finished, **config)
    with pytest.raises(InputError, match=message) as refused:
        _bring_in(finished, tmp_path / "checkpoint")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "checkpoint").exists()


def test_an_encoder_without_a_head_is_no_classifier(tiny_encoder: Path, tmp_path: Path) -> None:
    # transformers would put a random head on it without an error.
    two = Taxonomy((Label("no"), Label("yes")))
    with pytest.raises(InputError, match=r"is no finished classifier: it has no weights for classifier\.bias \(2 are"):
        _bring_in(tiny_encoder, tmp_path / "checkpoint", two)


def test_a_model_without_a_tokenizer_is_refused(finished: Path, tmp_path: Path) -> None:
    # transformers would make up a tokenizer that knows no word.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (finished / name).unlink()
    with pytest.raises(InputError, match=r"has no tokenizer \(.*tokenizer\.json\)\. Save it beside the model\."):
        _bring_in(finished, tmp_path / "checkpoint")


def test_broken_weights_are_refused(finished: Path, tmp_path: Path) -> None:
    weights = finished / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as a sequence classifier"):
        _bring_in(finished, tmp_path / "checkpoint")


@pytest.mark.parametrize("length", [0, 2, 65])
def test_a_length_that_the_model_cannot_take_is_refused(length: int, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^max_length_tokens={length} "):
        _bring_in(finished, tmp_path / "checkpoint", max_length_tokens=length)


@pytest.mark.parametrize("by_state_dict", [False, True])
def test_code_beside_the_weights_is_not_run(
    by_state_dict: bool, finished: Path, state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    (finished / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: ...\nclass Config: ...\n")
    auto_map = {"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"}
    _edit_config(finished, model_type="mine", auto_map=auto_map)
    if by_state_dict:
        torch.save(state_dict, tmp_path / "model.pt")
        with pytest.raises(InputError, match="does not fit base_model finished"):
            _bring_in(tmp_path / "model.pt", tmp_path / "checkpoint", TAXONOMY, str(finished))
    else:
        with pytest.raises(InputError, match="cannot be read as a sequence classifier"):
            _bring_in(finished, tmp_path / "checkpoint")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["", "state_dict", "model_state_dict"])
def test_a_state_dict_comes_in_bare_or_wrapped(
    key: str, state_dict: dict[str, torch.Tensor], tiny_encoder: Path, toy_checkpoint: Path, tmp_path: Path
) -> None:
    torch.save({key: state_dict, "epoch": 3} if key else state_dict, tmp_path / "model.pt")
    card = _bring_in(tmp_path / "model.pt", tmp_path / "checkpoint", TAXONOMY, str(tiny_encoder))
    assert (card.base_model.uri, card.base_model.licence) == (tiny_encoder.name, "apache-2.0")
    assert output_names(load_model(tmp_path / "checkpoint")) == NAMES
    assert torch.equal(_logits(tmp_path / "checkpoint"), _logits(toy_checkpoint))


def test_a_state_dict_needs_a_taxonomy_and_a_base_model(
    state_dict: dict[str, torch.Tensor], tiny_encoder: Path, tmp_path: Path
) -> None:
    torch.save(state_dict, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"^The checkpoint names no labels .* Pass --set taxonomy="):
        _bring_in(tmp_path / "model.pt", tmp_path / "checkpoint", None, str(tiny_encoder))
    with pytest.raises(InputError, match=r"^model\.pt holds weights only\. Pass --set base_model="):
        _bring_in(tmp_path / "model.pt", tmp_path / "checkpoint", TAXONOMY)
    assert not (tmp_path / "checkpoint").exists()


def test_a_state_dict_that_does_not_fit_is_refused(
    state_dict: dict[str, torch.Tensor], tiny_encoder: Path, tmp_path: Path
) -> None:
    pooler = "bert.pooler.dense.weight"
    cases: list[tuple[dict[str, Any], str]] = [
        ({**state_dict, pooler: torch.zeros(5, 5)}, rf"size mismatch for {pooler}"),
        ({name: value for name, value in state_dict.items() if name != pooler}, rf"{pooler} is only in one \(1 are\)"),
        ({**state_dict, "extra.weight": torch.zeros(1)}, r"extra\.weight is only in one \(1 are\)"),
        ({pooler: state_dict[pooler]}, r"has no classification head"),
        ({}, r"has no classification head"),
        ({"classifier.weight": [1.0]}, r"is not a state dict"),
    ]
    for content, message in cases:
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(InputError, match=message) as refused:
            _bring_in(tmp_path / "model.pt", tmp_path / "checkpoint", TAXONOMY, str(tiny_encoder))
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "checkpoint").exists()


class _RunsCode:
    """An object whose pickle calls `open` when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_pickle_with_code_is_refused_and_the_code_not_run(
    by_torch: bool, state_dict: dict[str, torch.Tensor], tiny_encoder: Path, tmp_path: Path
) -> None:
    content = {**state_dict, "extra": _RunsCode(tmp_path / "ran")}
    if by_torch:
        torch.save(content, tmp_path / "model.pt")
    else:
        (tmp_path / "model.pt").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=r"anything but tensors is refused, since it could run code\.$"):
        _bring_in(tmp_path / "model.pt", tmp_path / "checkpoint", TAXONOMY, str(tiny_encoder))
    assert not (tmp_path / "ran").exists()
    # The file is what it is said to be: a careless reader runs it.
    with suppress(RuntimeError):
        torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_what_is_no_checkpoint_at_all_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a model")
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "notes.txt", r"^notes\.txt cannot be read as a state dict"),
        (tmp_path / "empty", r"holds no config\.json\. Pass a directory saved by transformers, or a \.pt"),
        (tmp_path / "missing", r"^No such file or directory: .*missing\. Pass --set checkpoint="),
    ]
    for checkpoint, message in cases:
        with pytest.raises(InputError, match=message):
            _bring_in(checkpoint, tmp_path / "checkpoint", TAXONOMY, str(tiny_encoder))
