"""From a checkpoint or a base model to a sealed package without a dataset: what `ensure_model` builds with."""

import importlib.util
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tunelane_components.export.embedding import export_embedding_package, read_settings, torch_embeddings
from tunelane_components.export.onnx import export_package
from tunelane_components.parity.comparison import ParityBounds, out_of_bounds
from tunelane_components.parity.parity import ParityFailed, compare, torch_logits
from tunelane_components.train.base_model import described, fetch_base_model
from tunelane_components.train.checkpoint import CARD, TAXONOMY, read_card, write_card
from tunelane_components.train.importing import import_checkpoint
from tunelane_serving.contract import read
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically, link_or_copy
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.models.embedder import TextEmbedder
from tunelane_serving.package import Golden, Manifest, ParityReport, Variant, VariantParity, seal
from tunelane_serving.taxonomy import Taxonomy

Answerer = Callable[[str], NDArray[np.float32]]
"""Gives what a golden row holds of a text: scores in taxonomy order, or a vector."""

# Eight pairs that say nearly the same: of each, an encoder should find the other the nearest.
_SENTENCES = (
    "The soup was cold and the waiter forgot our drinks.",
    "Our drinks never came, and they served the soup cold.",
    "I love this little camera; the pictures are wonderful.",
    "What a great camera, its photos look superb!",
    "The train to the coast leaves at half past seven.",
    "At 7:30 there is a train to the seaside.",
    "My parcel has still not arrived. Where is it?",
    "I am waiting for my package, which is late.",
    "She planted tomatoes and beans behind the house.",
    "Behind her home she grows beans and tomatoes.",
    "Please reset the password of my account, I cannot sign in.",
    "I am locked out of my account and need a new password.",
    "Heavy snow closed the mountain road for three days, and the village above it had to be supplied by helicopter.",
    "For three days the village could be reached by helicopter only, since snow had shut the road up the mountain.",
    "He laughed.",
    "He was laughing.",
)
_BOUNDS = ParityBounds(min_agreement=0.8)
"""Sixteen general sentences are not the task's own: two near ties that fall the other way say little."""

_MAX_COSINE_DISTANCE = 0.05
"""How far a variant's vector of a text may point from PyTorch's, as 1 - cosine."""

# A vector takes kilobytes in the manifest, scores take bytes.
_GOLDEN_VECTORS = 4
# A tolerance below these would turn a package away for the rounding of another CPU.
_SMALLEST_TOLERANCE = {"fp32": 1e-4}
_SMALLEST_TOLERANCE_QUANTIZED = 1e-2
_NEEDED = ("torch", "transformers", "onnx", "onnxscript", "fsspec")


def build_package(source: str, target: Path, *, say: Callable[[str], None]) -> None:
    """Fetch a model, export it, compare it with PyTorch and write the sealed package to `target`, atomically.

    A checkpoint of this library and a single-label classifier saved by `transformers` become classifiers, anything else
    an encoder that gives a vector a text. Variants that do not answer as PyTorch does are left out; fp32 has to.
    The package has golden rows and a parity report on sixteen sentences, and no reference histograms: those need the
    task's own texts.

    Args:
        source: a directory, a `gs://` URI or a Hugging Face hub id.
        target: the package's directory.
        say: takes the progress.

    Raises:
        ModuleNotFoundError: the extra `train` is not installed.
        InputError: there is no such model, or it is of a kind that cannot be served.
        ParityFailed: the exported graph does not answer as PyTorch does.
    """
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build.") as folder:
        scratch = Path(folder)
        say(f"fetching {source}")
        model = fetch_base_model(source, scratch / "model")
        draft = scratch / "draft"
        say("exporting to ONNX, fp32 and int8")
        if (model / CARD).is_file() or _classifies(model):
            checkpoint = model if (model / CARD).is_file() else _imported(source, model, scratch / "checkpoint")
            manifest = export_package(checkpoint, draft)
            say(f"comparing with PyTorch on {len(_SENTENCES)} sentences")
            reports = _compared_classifiers(checkpoint, draft, manifest)
        else:
            manifest = export_embedding_package(model, draft, base_model=described(source, model))
            say(f"comparing with PyTorch on {len(_SENTENCES)} sentences")
            reports = _compared_encoders(model, draft, manifest)
        kept = _within_bounds(reports, manifest, say)
        say("writing the package")
        _write_sealed(draft, target, manifest, [report for report in reports if report.variant in kept])


def _classifies(model: Path) -> bool:
    """Say by its config whether a model that `transformers` saved has a classification head."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        architectures = [str(name) for name in config.get("architectures") or ()]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{model} has no config.json that can be read. Pass a directory saved by transformers."
        ) from error
    generative = [name for name in architectures if name.endswith(("ForCausalLM", "ForConditionalGeneration"))]
    if generative:
        raise InputError(f"{model} is a {generative[0]}. Pass a classifier or a sentence encoder.")
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def _imported(source: str, model: Path, checkpoint: Path) -> Path:
    """Bring a classifier that was trained elsewhere into the form that export reads."""
    taxonomy = read(model / TAXONOMY, Taxonomy) if (model / TAXONOMY).is_file() else None
    card = import_checkpoint(
        str(model),
        checkpoint,
        taxonomy=taxonomy,
        base_model="",
        max_length_tokens=read_settings(model).max_length_tokens,
    )
    # Not the scratch directory that it was fetched to.
    write_card(checkpoint, msgspec.structs.replace(card, base_model=described(source, model)))
    return checkpoint


def _compared_classifiers(checkpoint: Path, draft: Path, manifest: Manifest) -> list[VariantParity]:
    """Hold every variant against the checkpoint. There is no truth to measure F1 by: `f1_delta` is 0."""
    names = read_card(checkpoint).taxonomy.names
    reference, output_names = torch_logits(checkpoint, list(_SENTENCES), manifest.max_length_tokens)
    # By name: a checkpoint whose outputs stand in another order must not pass.
    output_labels = np.array([names.index(name) if name in names else -1 for name in output_names])
    reports = []
    for variant in manifest.variants:
        classifier = TextClassifier.open(draft, variant=variant.name)
        logits = np.stack([classifier.logits(text) for text in _SENTENCES])
        report = compare(variant.name, reference, logits, output_labels, output_labels[reference.argmax(-1)])
        reports.append(msgspec.structs.replace(report, f1_delta=0.0))
    return reports


def _compared_encoders(model: Path, draft: Path, manifest: Manifest) -> list[VariantParity]:
    """Hold every variant against the encoder.

    In the report the deltas of logits are those of the vectors' components, the delta of scores is the largest cosine
    distance between the two vectors of a text, and a label flips where another sentence is found the nearest.
    """
    reference = torch_embeddings(model, _SENTENCES, manifest)
    expected = _nearest(reference)
    reports = []
    for variant in manifest.variants:
        answer = _opened(draft, manifest, variant)
        vectors = np.stack([answer(text) for text in _SENTENCES])
        cosines = (_unit(reference) * _unit(vectors)).sum(axis=1)
        flips = int((expected != _nearest(vectors)).sum())
        reports.append(
            VariantParity(
                variant=variant.name,
                max_abs_logit_delta=float(np.abs(reference - vectors).max()),
                max_abs_score_delta=float(1 - cosines.min()),
                label_flips=flips,
                agreement=1 - flips / len(_SENTENCES),
                f1_delta=0.0,
            )
        )
    return reports


def _within_bounds(reports: Sequence[VariantParity], manifest: Manifest, say: Callable[[str], None]) -> set[str]:
    """Names of the variants that answer as PyTorch does; raises ParityFailed where fp32 is not among them."""
    kept = set()
    for report in reports:
        problem = out_of_bounds(report, _BOUNDS)
        if not problem and manifest.task == "embedding" and not report.max_abs_score_delta <= _MAX_COSINE_DISTANCE:
            problem = (
                f"a vector's cosine distance is {report.max_abs_score_delta:.2g}, {_MAX_COSINE_DISTANCE} is allowed"
            )
        if problem and report.variant == "fp32":
            raise ParityFailed(f"fp32 does not answer as PyTorch does on {len(_SENTENCES)} sentences: {problem}.")
        if problem:
            say(f"{report.variant} is left out: {problem}")
        else:
            kept.add(report.variant)
    return kept


def _write_sealed(draft: Path, package: Path, manifest: Manifest, reports: Sequence[VariantParity]) -> None:
    """Put the files of the variants that passed under a manifest with report, golden rows and tolerances."""
    passed = {report.variant for report in reports}
    variants = [variant for variant in manifest.variants if variant.name in passed]
    answers = {variant.name: _opened(draft, manifest, variant) for variant in variants}
    texts = _SENTENCES
    if manifest.task == "embedding":
        by_length = sorted(texts, key=len)
        texts = tuple(by_length[place] for place in np.linspace(0, len(texts) - 1, _GOLDEN_VECTORS).round().astype(int))
    left_out = {variant.path for variant in manifest.variants} - {variant.path for variant in variants}
    files = tuple(file for file in manifest.files if file.path not in left_out)
    sealed = msgspec.structs.replace(
        manifest,
        files=files,
        variants=tuple(
            msgspec.structs.replace(variant, golden_tolerance=_tolerance(draft, manifest, variant, texts))
            for variant in variants
        ),
        parity=ParityReport(rows=len(_SENTENCES), variants=tuple(reports)),
        goldens=tuple(
            Golden(text, {name: tuple(answer(text).tolist()) for name, answer in answers.items()}) for text in texts
        ),
    )
    with directory_written_atomically(package) as directory:
        for file in files:
            link_or_copy(draft / file.path, directory / file.path)
        seal(directory, sealed)


def _tolerance(draft: Path, manifest: Manifest, variant: Variant, texts: Sequence[str]) -> float:
    """How far the answers of a faithful machine may stand from this one's, as `parity.sealing` measures it."""
    optimized, plain = _opened(draft, manifest, variant), _opened(draft, manifest, variant, optimize=False)
    deviation = max(float(np.abs(optimized(text) - plain(text)).max()) for text in texts)
    return max(2 * deviation, _SMALLEST_TOLERANCE.get(variant.name, _SMALLEST_TOLERANCE_QUANTIZED))


def _opened(draft: Path, manifest: Manifest, variant: Variant, *, optimize: bool = True) -> Answerer:
    """Open a variant by the class that serves it."""
    if manifest.task != "embedding":
        return TextClassifier.open(draft, variant=variant.name, optimize=optimize).scores
    return TextEmbedder.open(draft, variant=variant.name, optimize=optimize).embed


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each row of (rows, width) the other row with the highest cosine."""
    units = _unit(vectors)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    nearest: NDArray[np.int64] = cosines.argmax(axis=1)
    return nearest


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units
