"""A classifier that was trained elsewhere, brought into the form that export reads."""

import tempfile
from pathlib import Path
from typing import Any

from tunelane_components.storage import local_copy
from tunelane_components.train.base_model import described, fetch_base_model
from tunelane_components.train.checkpoint import (
    TAXONOMY,
    CheckpointCard,
    load_model,
    load_tokenizer,
    name_outputs,
    one_line,
    output_names,
    require_length,
    write_card,
)
from tunelane_components.train.environment import prepare_torch_environment
from tunelane_serving.contract import write
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.taxonomy import Label, Taxonomy


def import_checkpoint(
    checkpoint: str, target: Path, *, taxonomy: Taxonomy | None, base_model: str, max_length_tokens: int
) -> CheckpointCard:
    """Bring a single-label classifier that was trained elsewhere into the form that export reads.

    Args:
        checkpoint: a directory saved by `transformers`, or a `.pt`/`.bin` file holding its state dict; local or a URI.
        target: the checkpoint directory to write, atomically.
        taxonomy: the labels in the order of the model's outputs; read from the model's `id2label` where None.
        base_model: for a state dict: directory, `gs://` URI or hub id with the architecture's config and the tokenizer.
        max_length_tokens: longest input, special tokens included.

    Raises:
        InputError: the checkpoint cannot be read, is of another task, has no named labels, or does not fit the
            taxonomy or the length.
    """
    prepare_torch_environment()
    with tempfile.TemporaryDirectory() as scratch:
        source = local_copy(checkpoint, Path(scratch) / "checkpoint", what="checkpoint")
        if source.is_dir():
            model, tokenizer = _from_directory(source)
            origin, uri = source, checkpoint
        elif base_model:
            origin, uri = fetch_base_model(base_model, Path(scratch) / "base_model"), base_model
            model, tokenizer = _from_state_dict(source, origin)
        else:
            raise InputError(
                f"{source.name} holds weights only. Pass --set base_model= with the architecture and tokenizer."
            )
        if model.config.problem_type not in (None, "single_label_classification"):
            raise InputError(
                f"{checkpoint} is a {model.config.problem_type} model. Pass one of single-label classification."
            )
        require_length(model, tokenizer, max_length_tokens)
        card = CheckpointCard(
            taxonomy=_taxonomy_of_outputs(model, taxonomy),
            base_model=described(uri, origin),
            max_length_tokens=max_length_tokens,
        )
        name_outputs(model, card.taxonomy)
        with directory_written_atomically(target) as directory:
            model.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            write(directory / TAXONOMY, card.taxonomy)
            write_card(directory, card)
    return card


def _taxonomy_of_outputs(model: Any, given: Taxonomy | None) -> Taxonomy:
    """Check the given taxonomy against the names of the model's outputs, or make one of them."""
    names = output_names(model)
    # What transformers writes where nobody named them.
    named = not all(name.startswith("LABEL_") for name in names)
    if given is None:
        if not named:
            raise InputError(
                f"The checkpoint names no labels (its id2label is {', '.join(names)}). "
                "Pass --set taxonomy= with a file that lists them in the order of the model's outputs."
            )
        try:
            return Taxonomy(tuple(Label(name) for name in names))
        except ValueError as error:
            raise InputError(f"The checkpoint's id2label is no taxonomy: {error}. Pass --set taxonomy=FILE.") from error
    if len(given.labels) != len(names):
        raise InputError(f"The checkpoint has {len(names)} outputs, the taxonomy {len(given.labels)} labels.")
    if named and names != given.names:
        raise InputError(
            f"The checkpoint's outputs are {', '.join(names)}; the taxonomy lists {', '.join(given.names)}. "
            "Put the taxonomy in the order of the outputs."
        )
    return given


def _from_directory(source: Path) -> tuple[Any, Any]:
    if not (source / "config.json").is_file():
        raise InputError(f"{source} holds no config.json. Pass a directory saved by transformers, or a .pt state dict.")
    return load_model(source), load_tokenizer(source)


def _from_state_dict(source: Path, base_model: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        # weights_only: a checkpoint from elsewhere must not run code while it is read.
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise InputError(
            f"{source.name} cannot be read as a state dict ({type(error).__name__}). "
            "Save it with torch.save(model.state_dict(), …): anything but tensors is refused, since it could run code."
        ) from error
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{source.name} is not a state dict: names to tensors are expected.")
    heads = [value for name, value in content.items() if name.endswith(("classifier.weight", "out_proj.weight"))]
    if not heads:
        raise InputError(f"{source.name} has no classification head (no tensor named classifier.weight).")
    try:
        config = AutoConfig.from_pretrained(base_model, num_labels=len(heads[-1]), trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        missing, unexpected = model.load_state_dict(content, strict=False)
    except Exception as error:  # transformers cannot read the config, or torch finds other shapes
        raise InputError(f"{source.name} does not fit base_model {base_model.name}: {one_line(error)}") from error
    # Position ids are buffers that some releases save and others do not.
    wrong = [name for name in (*missing, *unexpected) if not name.endswith("position_ids")]
    if wrong:
        raise InputError(
            f"{source.name} does not fit base_model {base_model.name}: {wrong[0]} is only in one ({len(wrong)} are)."
        )
    return model.eval(), load_tokenizer(base_model)
