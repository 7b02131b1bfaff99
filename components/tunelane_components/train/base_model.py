"""The base model: what is fine-tuned, from a directory, a bucket or the Hugging Face hub."""

from pathlib import Path

from tunelane_components.storage import local_copy
from tunelane_components.train.environment import prepare_torch_environment
from tunelane_serving.errors import InputError
from tunelane_serving.package import BaseModel


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
            f"({type(error).__name__}). Pass a directory, a gs:// URI or a hub id."
        ) from error


def described(uri: str, model: Path) -> BaseModel:
    """What a checkpoint and its package record of the base model at `uri`, which lies at `model`.

    A local directory is recorded by its name alone, so that a package is the same wherever it is built.
    """
    return BaseModel(uri=Path(uri).name if Path(uri).is_dir() else uri, licence=licence_of(model))


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
