"""Sentence encoders to ONNX, fp32 and int8, as a package that gives a vector for a text."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tunelane_components.export.onnx import (
    FP32_GRAPH,
    INT8_GRAPH,
    described_tensors,
    export_graph,
    quantize_graph,
)
from tunelane_components.train.checkpoint import load_tokenizer, one_line
from tunelane_components.train.environment import prepare_torch_environment
from tunelane_serving.backends.onnx import open_session
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.package import TOKENIZER, BaseModel, Manifest, Variant, describe_files, seal

OUTPUT = "last_hidden_state"

_MODULES = "modules.json"
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
# Where a model does not say how long its texts may be; encoders of sentences are trained on less.
_LONGEST_TOKENS = 512


class EncoderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an encoder makes one vector of a text, as its own files say."""

    pooling: Literal["mean", "cls"]
    normalize: bool
    max_length_tokens: int


def export_embedding_package(
    model: Path, package: Path, *, base_model: BaseModel, max_length_tokens: int | None = None, quantize: bool = True
) -> Manifest:
    """Write the encoder's graphs, tokenizer and manifest to `package`, atomically: no golden rows or parity report yet.

    Inputs are `input_ids` and `attention_mask`, (batch, sequence) int64; the output is `last_hidden_state`, (batch,
    sequence, width) float32, of which the server makes one vector as `pooling` and `normalize` say.

    Args:
        model: a directory saved by `transformers` or sentence-transformers.
        package: the directory to write.
        base_model: what the manifest says of its origin.
        max_length_tokens: longest input, special tokens included; None: what the model's files say.
        quantize: add an int8 graph and prefer it.

    Raises:
        InputError: the model cannot be read, is no encoder, makes its vectors in a way that is not served, or has no
            fast tokenizer.
    """
    settings = read_settings(model)
    if not (model / TOKENIZER).is_file():
        raise InputError(f"{model} has no {TOKENIZER}. Save the model with a fast tokenizer.")
    with directory_written_atomically(package) as draft:
        shutil.copyfile(model / TOKENIZER, draft / TOKENIZER)
        variants = [Variant("fp32", FP32_GRAPH)]
        export_graph(load_encoder(model), draft / FP32_GRAPH, output=OUTPUT)
        if quantize:
            quantize_graph(draft / FP32_GRAPH, draft / INT8_GRAPH)
            variants.insert(0, Variant("int8", INT8_GRAPH))
        session = open_session(draft / FP32_GRAPH)
        manifest = Manifest(
            framework="onnx",
            task="embedding",
            files=describe_files(draft),
            variants=tuple(variants),
            inputs=described_tensors(session.get_inputs()),
            outputs=described_tensors(session.get_outputs()),
            max_length_tokens=max_length_tokens or settings.max_length_tokens,
            base_model=base_model,
            pooling=settings.pooling,
            normalize=settings.normalize,
        )
        seal(draft, manifest)
    return manifest


def read_settings(model: Path) -> EncoderSettings:
    """Read pooling, normalisation and length from sentence-transformers' files; mean and length 1 without them.

    Raises:
        InputError: the model has a part or a pooling that is not served, or a file that cannot be read.
    """
    config = _read_json(model / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{model} has no config.json. Pass a directory saved by transformers.")
    modules = _read_json(model / _MODULES) or ()
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    unknown = [kind for kind in kinds if kind not in _KNOWN_MODULES]
    if unknown:
        raise InputError(f"{model} has a {unknown[0]} part ({_MODULES}); only {', '.join(_KNOWN_MODULES)} are served.")
    lengths = [
        (_read_json(model / "sentence_bert_config.json") or {}).get("max_seq_length"),
        # RoBERTa counts two positions that texts cannot have: its own limit stands in the file above.
        config.get("max_position_embeddings"),
        _LONGEST_TOKENS,
    ]
    return EncoderSettings(
        pooling=_pooling(model, next((module["path"] for module in modules if module["type"].endswith("Pooling")), "")),
        normalize="Normalize" in kinds or not kinds,
        max_length_tokens=min(length for length in lengths if isinstance(length, int) and length > 0),
    )


def _pooling(model: Path, folder: str) -> Literal["mean", "cls"]:
    config = (_read_json(model / folder / "config.json") if folder else None) or {"pooling_mode": "mean"}
    modes = {
        name.removeprefix("pooling_mode_") for name, on in config.items() if on is True and "pooling_mode_" in name
    }
    # Newer releases write one name in place of a flag for each.
    if isinstance(config.get("pooling_mode"), str):
        modes = {config["pooling_mode"]}
    if modes in ({"mean"}, {"mean_tokens"}):
        return "mean"
    if modes in ({"cls"}, {"cls_token"}):
        return "cls"
    raise InputError(f"{model} pools in a way that is not served ({folder}/config.json); mean and cls are.")


def load_encoder(model: Path) -> Any:
    """Load a `transformers` encoder in float32, in evaluation mode, on the CPU.

    Raises:
        InputError: it cannot be read as one, or lacks some of its weights, which transformers would make up.
    """
    prepare_torch_environment()
    import torch
    from transformers import AutoModel

    try:
        encoder, found = AutoModel.from_pretrained(
            model, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # transformers, safetensors and torch each raise their own
        raise InputError(f"{model} cannot be read as an encoder: {one_line(error)}") from error
    if encoder.config.is_encoder_decoder or getattr(encoder.config, "is_decoder", False):
        raise InputError(f"{model} is not an encoder ({encoder.config.model_type}). Pass a sentence encoder.")
    # A pooler is not used here, and many encoders are saved without.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise InputError(f"{model} has no weights for {missing[0]} ({len(missing)} are missing).")
    return encoder.eval()


def torch_embeddings(model: Path, texts: Sequence[str], manifest: Manifest) -> NDArray[np.float32]:
    """Run the encoder in PyTorch with its own tokenizer, one text at a time: (texts, width) float32."""
    encoder, tokenizer = load_encoder(model), load_tokenizer(model)
    import torch

    vectors = []
    with torch.inference_mode():
        for text in texts:
            tokens = tokenizer(text, truncation=True, max_length=manifest.max_length_tokens, return_tensors="pt")
            (states,) = encoder(**tokens).last_hidden_state
            vector = states.mean(0) if manifest.pooling == "mean" else states[0]
            vectors.append(torch.nn.functional.normalize(vector, dim=0) if manifest.normalize else vector)
    result: NDArray[np.float32] = torch.stack(vectors).numpy()
    return result


def _read_json(path: Path) -> Any:
    """Give a JSON file's content, or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON. Save the model again.") from error
