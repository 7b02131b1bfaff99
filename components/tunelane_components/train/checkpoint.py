"""The fine-tuned checkpoint: what passes from training (or from a team that trained elsewhere) to export.

A directory with a merged Hugging Face sequence classifier, its tokenizer, and `tunelane.json`, which says what it is.
"""

import tempfile
import textwrap
from pathlib import Path
from typing import Any, Literal

import msgspec

from tunelane_components.storage import local_copy
from tunelane_components.train.cpu import prepare_torch_environment
from tunelane_serving.contract import read, write
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.package import BaseModel
from tunelane_serving.taxonomy import Label, Taxonomy

CARD = "tunelane.json"
TAXONOMY = "taxonomy.json"

_LONGEST_REASON_CHARACTERS = 240


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One epoch of training: mean training loss, validation macro-F1, seconds since the start."""

    epoch: int
    train_loss: float
    valid_macro_f1: float
    elapsed_s: float


class CheckpointCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint was trained from and on. `data_digest` is empty where it was trained elsewhere."""

    taxonomy: Taxonomy
    base_model: BaseModel
    max_length_tokens: int
    data_digest: str = ""
    metrics: dict[str, float] = {}
    options: dict[str, str | int | float] = {}
    history: tuple[Epoch, ...] = ()
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


def fetch_base_model(uri: str, scratch: Path) -> Path:
    """Give a local directory with the model that `uri` names.

    Args:
        uri: a directory, a `gs://` (or other fsspec) URI, or a Hugging Face hub id.
        scratch: an empty directory for what has to be downloaded.

    Raises:
        InputError: there is no such model, it is no directory, or the hub cannot be reached and its cache does not hold
            it.
    """
    if Path(uri).exists() or "://" in uri or uri.startswith((".", "/", "~")):
        model = local_copy(uri, scratch, what="base_model")
        if not model.is_dir():
            raise InputError(
                f"base_model {uri} is a file. Pass the directory that holds config, weights and tokenizer."
            )
        return model
    prepare_torch_environment()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # Other frameworks' weights and exported graphs are several times the size of what is read here.
        return Path(snapshot_download(uri, ignore_patterns=["*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"Cannot get base model {uri!r}: no such directory, and the Hugging Face hub did not give it "
            f"({type(error).__name__}). Pass --set base_model= with a directory, a gs:// URI or a hub id."
        ) from error


def licence_of(model: Path) -> str:
    """Read the licence from the front matter of the model's README.md, where hubs keep it; "unknown" without one."""
    readme = model / "README.md"
    content = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    if not content.startswith("---\n"):
        return "unknown"
    import yaml

    try:
        front_matter = yaml.safe_load(content.removeprefix("---\n").partition("\n---")[0])
    except yaml.YAMLError:
        return "unknown"
    return str(front_matter.get("license", "unknown")) if isinstance(front_matter, dict) else "unknown"


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
            base_model=BaseModel(uri=uri, licence=licence_of(origin)),
            max_length_tokens=max_length_tokens,
        )
        name_outputs(model, card.taxonomy)
        with directory_written_atomically(target) as directory:
            model.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            write(directory / TAXONOMY, card.taxonomy)
            write_card(directory, card)
    return card


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
