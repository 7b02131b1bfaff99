"""The fine-tuned checkpoint: what passes from training (or from a team that trained elsewhere) to export.

A directory with a merged Hugging Face sequence classifier, its tokenizer, and `tunelane.json`, which says what it is.
"""

import textwrap
from pathlib import Path
from typing import Any, Literal

import msgspec

from tunelane_components.train.environment import prepare_torch_environment
from tunelane_serving.contract import read, write
from tunelane_serving.errors import InputError
from tunelane_serving.package import BaseModel
from tunelane_serving.taxonomy import Taxonomy

CARD = "tunelane.json"
TAXONOMY = "taxonomy.json"

_LONGEST_REASON_CHARACTERS = 240


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One epoch of training: mean training loss, validation macro-F1, seconds since the start, its last step.

    `step` is 0 where it was not recorded.
    """

    epoch: int
    train_loss: float
    valid_macro_f1: float
    elapsed_s: float
    step: int = 0


class LossPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training loss at a step: the mean over the steps since the point before."""

    step: int
    loss: float


class CheckpointCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint was trained from and on, and how training went.

    `data_digest`, `history` and `losses` are empty where it was trained elsewhere.
    """

    taxonomy: Taxonomy
    base_model: BaseModel
    max_length_tokens: int
    data_digest: str = ""
    metrics: dict[str, float] = {}
    options: dict[str, str | bool | int | float] = {}
    history: tuple[Epoch, ...] = ()
    losses: tuple[LossPoint, ...] = ()
    version: Literal[1] = 1


def write_card(checkpoint: Path, card: CheckpointCard) -> None:
    """Write the card into a checkpoint directory."""
    write(checkpoint / CARD, card)


def read_card(checkpoint: Path) -> CheckpointCard:
    """Read a checkpoint's card; raises ContractError where there is none."""
    return read(checkpoint / CARD, CheckpointCard)


def load_model(checkpoint: Path) -> Any:
    """Load the checkpoint as a `transformers` sequence classifier in float32, in evaluation mode, on the CPU.

    Raises:
        InputError: it cannot be read as one, or lacks some of its weights, which transformers would make up.
    """
    prepare_torch_environment()
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # transformers, safetensors and torch each raise their own
        raise InputError(f"{checkpoint} cannot be read as a sequence classifier: {one_line(error)}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise InputError(
            f"{checkpoint} is no finished classifier: it has no weights for {missing[0]} ({len(missing)} are missing)."
        )
    return model.eval()


def load_tokenizer(checkpoint: Path) -> Any:
    """Load a model's own tokenizer as `transformers` does: the reference that the package is held against.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers each raise their own
        raise InputError(f"{checkpoint} has no tokenizer that can be read: {one_line(error)}") from error
    # Where there are no files transformers makes a tokenizer of the model's type that knows no word.
    files = tokenizer.vocab_files_names.values()
    if not any((checkpoint / file).is_file() for file in files):
        raise InputError(f"{checkpoint} has no tokenizer ({', '.join(files)}). Save it beside the model.")
    return tokenizer


def require_length(model: Any, tokenizer: Any, max_length_tokens: int) -> None:
    """Stop where `max_length_tokens` leaves no room for a text, or `model` cannot take an input of that length.

    The model is asked: configs name their limits differently, and RoBERTa's counts two positions that it does not have.
    """
    import torch

    special_tokens = tokenizer.num_special_tokens_to_add()
    if max_length_tokens <= special_tokens:
        raise InputError(
            f"max_length_tokens={max_length_tokens} leaves no room beside {special_tokens} special tokens."
        )
    longest = tokenizer("a " * max_length_tokens, truncation=True, max_length=max_length_tokens, return_tensors="pt")
    try:
        with torch.inference_mode():
            model(**longest)
    except (IndexError, RuntimeError) as error:
        raise InputError(
            f"max_length_tokens={max_length_tokens} is more than the model has positions for. Pass a smaller number."
        ) from error


def name_outputs(model: Any, taxonomy: Taxonomy) -> None:
    """Write the taxonomy's names into the model's config, so that the checkpoint says itself what its outputs mean."""
    model.config.id2label = dict(enumerate(taxonomy.names))
    model.config.label2id = {name: index for index, name in enumerate(taxonomy.names)}


def output_names(model: Any) -> tuple[str, ...]:
    """Read from the model's config what it calls its outputs, in order."""
    return tuple(str(model.config.id2label[position]) for position in range(model.config.num_labels))


def one_line(error: Exception) -> str:
    """Put an error's text on one line of bearable length; its type where it has none."""
    return textwrap.shorten(str(error), _LONGEST_REASON_CHARACTERS, placeholder=" …") or type(error).__name__
