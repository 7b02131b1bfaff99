"""The fine-tuned checkpoint: what passes from training (or from a team that trained elsewhere) to export.

A directory with a merged Hugging Face sequence classifier, its tokenizer, and `tunelane.json`, which says what it is.
"""

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
    """The checkpoint as a `transformers` sequence classifier in float32, in evaluation mode, on the CPU."""
    prepare_torch_environment()
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    return model.eval()


def load_tokenizer(checkpoint: Path) -> Any:
    """The checkpoint's own tokenizer as `transformers` loads it: the reference that the package is held against."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


def fetch_base_model(uri: str, scratch: Path) -> Path:
    """A local directory with the model that `uri` names.

    Args:
        uri: a directory, a `gs://` (or other fsspec) URI, or a Hugging Face hub id.
        scratch: an empty directory for what has to be downloaded.

    Raises:
        InputError: there is no such model, or the hub cannot be reached and its cache does not hold it.
    """
    if Path(uri).exists() or "://" in uri or uri.startswith((".", "/", "~")):
        return local_copy(uri, scratch, what="base_model")
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
    """The licence in the front matter of the model's README.md, as hubs keep it; "unknown" where it says none."""
    readme = model / "README.md"
    if not readme.is_file():
        return "unknown"
    import yaml

    _, opening, rest = readme.read_text(encoding="utf-8", errors="replace").partition("---\n")
    if not opening:
        return "unknown"
    try:
        front_matter = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return "unknown"
    return str(front_matter.get("license", "unknown")) if isinstance(front_matter, dict) else "unknown"


def import_checkpoint(
    source: Path, target: Path, *, taxonomy: Taxonomy | None, base_model: Path | None, max_length_tokens: int
) -> CheckpointCard:
    """Bring a classifier that was trained elsewhere into the form that export reads.

    Args:
        source: a directory saved by `transformers`, or a `.pt`/`.bin` file holding its state dict.
        target: the checkpoint directory to write.
        taxonomy: the labels in the order of the model's outputs; read from the model's `id2label` where None.
        base_model: for a state dict: a directory with the architecture's config and the tokenizer.
        max_length_tokens: longest input, special tokens included.

    Raises:
        InputError: the checkpoint cannot be read, has no named labels, or does not fit the taxonomy.
    """
    prepare_torch_environment()
    if source.is_dir():
        model, tokenizer = _from_directory(source)
        origin = source
    else:
        model, tokenizer = _from_state_dict(source, base_model)
        origin = base_model or source
    names = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    if taxonomy is None:
        if all(name.startswith("LABEL_") for name in names):
            raise InputError(
                f"The checkpoint names no labels (its id2label is {', '.join(names)}). "
                "Pass --set taxonomy= with a file that lists them in the order of the model's outputs."
            )
        taxonomy = Taxonomy(tuple(Label(name) for name in names))
    elif len(taxonomy.labels) != len(names):
        raise InputError(f"The checkpoint has {len(names)} outputs, the taxonomy {len(taxonomy.labels)} labels.")
    elif not names[0].startswith("LABEL_") and names != list(taxonomy.names):
        raise InputError(
            f"The checkpoint's outputs are {', '.join(names)}; the taxonomy lists {', '.join(taxonomy.names)}. "
            "Put the taxonomy in the order of the outputs."
        )
    name_outputs(model, taxonomy)
    card = CheckpointCard(
        taxonomy=taxonomy,
        base_model=BaseModel(uri=str(origin), licence=licence_of(origin)),
        max_length_tokens=max_length_tokens,
    )
    with directory_written_atomically(target) as checkpoint:
        model.save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
        write(checkpoint / TAXONOMY, taxonomy)
        write_card(checkpoint, card)
    return card


def name_outputs(model: Any, taxonomy: Taxonomy) -> None:
    """Write the taxonomy's names into the model's config, so that the checkpoint says itself what its outputs mean."""
    model.config.id2label = dict(enumerate(taxonomy.names))
    model.config.label2id = {name: index for index, name in enumerate(taxonomy.names)}


def _from_directory(source: Path) -> tuple[Any, Any]:
    if not (source / "config.json").is_file():
        raise InputError(f"{source} holds no config.json. Pass a directory saved by transformers, or a .pt state dict.")
    try:
        return load_model(source), load_tokenizer(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as a sequence classifier: {_first_line(error)}") from error


def _from_state_dict(source: Path, base_model: Path | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if base_model is None:
        raise InputError(
            f"{source.name} holds weights only. Pass --set base_model= with the architecture's config and tokenizer."
        )
    try:
        # weights_only: a checkpoint from elsewhere must not run code while it is read.
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise InputError(f"{source} cannot be read as a state dict: {_first_line(error)}") from error
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{source} is not a state dict: names to tensors are expected.")
    heads = [value for name, value in content.items() if name.endswith(("classifier.weight", "out_proj.weight"))]
    if not heads:
        raise InputError(f"{source} has no classification head (no tensor named classifier.weight).")
    config = AutoConfig.from_pretrained(base_model, num_labels=heads[-1].shape[0])
    model = AutoModelForSequenceClassification.from_config(config)
    missing, unexpected = model.load_state_dict(content, strict=False)
    # Position ids are buffers that some releases save and others do not.
    wrong = [name for name in (*missing, *unexpected) if not name.endswith("position_ids")]
    if wrong:
        raise InputError(f"{source} does not fit {base_model.name}: {len(wrong)} tensors differ, the first is {wrong[0]}.")
    return model.eval(), load_tokenizer(base_model)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
