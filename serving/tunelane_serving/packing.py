"""Making packages of graphs that are already there: embeddings, and anything by its tensors.

Classifiers are packed by the export and parity stages, which hold them against PyTorch.
"""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from tunelane_serving.backends.graph import Graph
from tunelane_serving.backends.onnx_file import check_onnx_file
from tunelane_serving.backends.opening import SAVED_MODEL, open_graph
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.models.embedder import TextEmbedder
from tunelane_serving.models.tensor_model import TensorModel
from tunelane_serving.package import (
    MANIFEST,
    TOKENIZER,
    BaseModel,
    Framework,
    Golden,
    Manifest,
    Variant,
    describe_files,
    seal,
    verify,
)

VARIANT = "fp32"
# As far as another CPU's order of additions goes, relative to the largest number.
_SMALLEST_TOLERANCE = 1e-4


def pack_embedder(
    graph: Path,
    tokenizer: Path,
    target: Path,
    *,
    max_length_tokens: int,
    golden_texts: Sequence[str],
    framework: Framework = "onnx",
    pooling: Literal["none", "mean", "cls"] = "mean",
    normalize: bool = True,
    base_model: BaseModel | None = None,
) -> str:
    """Pack a sentence encoder; gives the package's digest.

    Args:
        graph: an ONNX file, a `.tflite` file, or the saved_model.pb of a SavedModel. It takes `input_ids` and maybe
            `attention_mask` and `token_type_ids`, (batch, sequence); its first output is pooled.
        tokenizer: the tokenizer.json that its ids come from.
        target: the package's directory; one that is there is replaced.
        max_length_tokens: longer texts are cut.
        golden_texts: the package must give the vectors of these as now wherever it is served.
        framework: "onnx" or "tensorflow".
        pooling: "mean" or "cls" over (batch, tokens, width), "none" for an output of (batch, width).
        normalize: bring vectors to length 1.
        base_model: where the encoder comes from, and its licence.

    Raises:
        InputError: a file is missing.
        ContractError: the graph or tokenizer cannot be loaded, or do not fit.
    """
    _require_files(graph, tokenizer)
    with directory_written_atomically(target) as directory:
        shutil.copyfile(tokenizer, directory / TOKENIZER)
        variant, opened = _copied(graph, directory, framework)
        manifest = Manifest(
            framework=framework,
            task="embedding",
            files=describe_files(directory),
            variants=(variant,),
            inputs=opened.inputs,
            outputs=opened.outputs,
            max_length_tokens=max_length_tokens,
            base_model=base_model or BaseModel(graph.stem),
            pooling=pooling,
            normalize=normalize,
        )
        seal(directory, manifest)
        embedder = TextEmbedder(directory, manifest, variant, opened)
        vectors = [embedder.embed(text) for text in golden_texts]
        rows = [
            Golden(text, {VARIANT: tuple(vector.tolist())}) for text, vector in zip(golden_texts, vectors, strict=True)
        ]
        deviation = 0.0
        if framework == "onnx":
            plain = TextEmbedder.open(directory, optimize=False)
            deviation = _largest(plain.embed(text) - vector for text, vector in zip(golden_texts, vectors, strict=True))
        return _sealed(directory, manifest, rows, deviation, _largest(vectors))


def pack_tensors(
    graph: Path,
    target: Path,
    *,
    framework: Framework = "onnx",
    features_for_golden: Sequence[Mapping[str, Any]] = (),
    base_model: BaseModel | None = None,
) -> str:
    """Pack any graph, to be asked by its input schema; gives the package's digest.

    Args:
        graph: an ONNX file, a `.tflite` file, or the saved_model.pb of a SavedModel. The first axis of every input is
            that of the batch: dynamic, or 1.
        target: the package's directory; one that is there is replaced.
        framework: "onnx" or "tensorflow".
        features_for_golden: items as they are asked for, nested lists by input name without the batch axis. The package
            must answer these as now wherever it is served.
        base_model: where the graph comes from, and its licence.

    Raises:
        InputError: the file is missing.
        ContractError: the graph cannot be loaded, or has no batch axis.
        FeaturesMismatch: a golden item does not fit the graph.
    """
    _require_files(graph)
    with directory_written_atomically(target) as directory:
        variant, opened = _copied(graph, directory, framework)
        manifest = Manifest(
            framework=framework,
            task="tensors",
            files=describe_files(directory),
            variants=(variant,),
            inputs=opened.inputs,
            outputs=opened.outputs,
            max_length_tokens=1,
            base_model=base_model or BaseModel(graph.stem),
        )
        seal(directory, manifest)
        model = TensorModel(directory, manifest, variant, opened)
        outputs = [model.flat_outputs(features) for features in features_for_golden]
        rows = [
            Golden("", {VARIANT: tuple(numbers.tolist())}, features=dict(features))
            for features, numbers in zip(features_for_golden, outputs, strict=True)
        ]
        deviation = 0.0
        if framework == "onnx":
            plain = TensorModel.open(directory, optimize=False)
            deviation = _largest(
                plain.flat_outputs(features) - numbers
                for features, numbers in zip(features_for_golden, outputs, strict=True)
            )
        return _sealed(directory, manifest, rows, deviation, _largest(outputs))


def archive(package: Path, target: Path) -> Path:
    """Write a package as one file, as it is uploaded: `.tar.gz`, `.tgz`, `.tar` or `.zip`; gives `target`.

    Its members stand at the top, without a directory around them. The file is there whole or not at all.

    Raises:
        ContractError: it is no whole package.
        InputError: the name ends in something else.
    """
    paths = (MANIFEST, *(file.path for file in verify(package).files))
    modes = {".tar.gz": "w:gz", ".tgz": "w:gz", ".tar": "w", ".zip": "zip"}
    mode = next((mode for suffix, mode in modes.items() if target.name.endswith(suffix)), None)
    if mode is None:
        raise InputError(f"{target.name}: name the archive .tar.gz, .tgz, .tar or .zip")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        partial = Path(folder) / "partial"
        if mode == "zip":
            # Not strictly: a build that sets all times to 0 has files from before 1980, which zip cannot say.
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
                for path in paths:
                    packed.write(package / path, path)
        else:
            with tarfile.open(partial, mode) as tar:  # type: ignore[call-overload]
                for path in paths:
                    tar.add(package / path, path)
        partial.replace(target)
    return target


def _require_files(*paths: Path) -> None:
    for path in paths:
        if not path.is_file():
            hint = f"; name the {SAVED_MODEL} in it" if path.is_dir() else ""
            raise InputError(f"{path}: no such file{hint}")


def _copied(graph: Path, directory: Path, framework: Framework) -> tuple[Variant, Graph]:
    """Copy a graph into a package, a SavedModel with all that belongs to it, and open it there."""
    if graph.name == SAVED_MODEL:
        shutil.copytree(graph.parent, directory / "saved_model")
        path = f"saved_model/{SAVED_MODEL}"
    else:
        path = f"model{graph.suffix}"
        shutil.copyfile(graph, directory / path)
    if framework == "onnx":
        check_onnx_file(directory / path)
    return Variant(VARIANT, path), open_graph(framework, directory / path)


def _largest(arrays: Any) -> float:
    return max((float(np.abs(array).max(initial=0.0)) for array in arrays), default=0.0)


def _sealed(
    directory: Path, manifest: Manifest, goldens: Sequence[Golden], deviation: float, largest_score: float
) -> str:
    """Put golden rows and tolerance into the manifest.

    The tolerance is twice what ONNX Runtime's optimised and unoptimised execution differ by, and at least what another
    CPU may round by.
    """
    tolerance = max(2 * deviation, _SMALLEST_TOLERANCE * max(1.0, largest_score))
    (variant,) = manifest.variants
    return seal(
        directory,
        msgspec.structs.replace(
            manifest,
            goldens=tuple(goldens),
            variants=(msgspec.structs.replace(variant, golden_tolerance=tolerance),),
        ),
    )
