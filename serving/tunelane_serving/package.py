"""The model package: the directory that is shipped. Built once, never edited; a change is a new package.

A package's digest is the SHA-256 of its `manifest.json`, which holds the SHA-256 of every other file.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec

from tunelane_serving.contract import decode, write
from tunelane_serving.errors import ContractError, DigestMismatch
from tunelane_serving.files import directory_written_atomically, link_or_copy, sha256_bytes, sha256_file
from tunelane_serving.taxonomy import Taxonomy

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

Framework = Literal["onnx", "tensorflow", "rules"]
Task = Literal["single_label", "multi_label", "embedding", "tensors"]
LABEL_TASKS: tuple[Task, ...] = ("single_label", "multi_label")


class PackagedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a package: path relative to it, SHA-256 and size."""

    path: str
    sha256: str
    size_bytes: int


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One graph of the model (fp32, int8, …) and how far its scores may stand from the golden ones.

    `golden_tolerance` is a probability difference, measured when the package was built; 0 until then.
    `batch_independent` says that its answers were found to be the same, bit for bit, beside texts of equal token length
    as alone; only then may a server put such texts together unasked.
    """

    name: str
    path: str
    golden_tolerance: float = 0.0
    batch_independent: bool = False


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A graph's input or output: ONNX dtype and shape, dynamic axes by name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class BaseModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model was fine-tuned from, and under which licence ("unknown" where the source does not say)."""

    uri: str
    licence: str = "unknown"


class VariantParity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variant against PyTorch on held-out rows, one text at a time."""

    variant: str
    max_abs_logit_delta: float
    max_abs_score_delta: float
    label_flips: int
    agreement: float
    f1_delta: float


class ParityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the packaged graphs compare with the PyTorch model. `f1_delta` is variant minus PyTorch, macro-F1."""

    rows: int
    variants: tuple[VariantParity, ...]


class Histogram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reference distribution for drift: counts by bin. Numeric bins have `edges` (one more than counts)."""

    name: str
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.edges) == bool(self.categories):
            raise ValueError("edges: a histogram has either edges or categories")
        if len(self.counts) != (len(self.edges) - 1 if self.edges else len(self.categories)):
            raise ValueError("counts: one for each bin")
        if any(count < 0 for count in self.counts):
            raise ValueError("counts: none is negative")
        if any(not low < high for low, high in pairwise(self.edges)):
            raise ValueError("edges: ascend")


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A row that the package must answer as it did when it was built.

    The row is a `text`; for a `tensors` package that is empty, and `features` holds nested lists by input name, without
    the batch axis.
    `scores` holds by variant what was answered: scores in taxonomy order, an embedding, or all outputs one after the
    other, flattened.
    """

    text: str
    scores: dict[str, tuple[float, ...]]
    features: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a package holds. `variants` stand in order of preference; paths are relative and stay inside the package.

    `pooling` and `normalize` are for embeddings: how token vectors (batch, sequence, width) become one vector a text
    ("none" where the graph does it), and whether that is brought to length 1.
    """

    framework: Framework
    task: Task
    files: tuple[PackagedFile, ...]
    variants: tuple[Variant, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_length_tokens: int
    base_model: BaseModel
    taxonomy: Taxonomy | None = None
    thresholds: dict[str, float] = {}
    data_digest: str = ""
    metrics: dict[str, float] = {}
    parity: ParityReport | None = None
    reference: tuple[Histogram, ...] = ()
    goldens: tuple[Golden, ...] = ()
    pooling: Literal["none", "mean", "cls"] = "none"
    normalize: bool = True
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if self.task in LABEL_TASKS and self.taxonomy is None:
            raise ValueError(f"taxonomy: a {self.task} package has one")
        if self.max_length_tokens < 1:
            raise ValueError("max_length_tokens: at least 1")
        if self.framework != "rules" and not self.variants:
            raise ValueError("variants: at least one graph")
        paths = [file.path for file in self.files]
        for position, path in enumerate(paths):
            if path == MANIFEST or Path(path).is_absolute() or ".." in Path(path).parts or "\\" in path:
                raise ValueError(f"files[{position}].path: {path!r} does not stay inside the package")
        if len(set(paths)) != len(paths):
            raise ValueError("files: a path stands twice")
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("variants: a name stands twice")
        for position, variant in enumerate(self.variants):
            if variant.path not in paths:
                raise ValueError(f"variants[{position}].path: {variant.path!r} is not among the files")
        if len({histogram.name for histogram in self.reference}) != len(self.reference):
            raise ValueError("reference: a name stands twice")
        for position, golden in enumerate(self.goldens):
            if set(golden.scores) != set(names):
                raise ValueError(f"goldens[{position}].scores: one entry for each variant")
        if self.taxonomy is not None:
            unknown = set(self.thresholds) - set(self.taxonomy.names)
            if unknown:
                raise ValueError(f"thresholds: {sorted(unknown)[0]!r} is not a label")
            for position, golden in enumerate(self.goldens):
                if any(len(scores) != len(self.taxonomy.labels) for scores in golden.scores.values()):
                    raise ValueError(f"goldens[{position}].scores: one number for each label")


def describe_files(directory: Path) -> tuple[PackagedFile, ...]:
    """Digest and size of every file under `directory` but the manifest, in path order."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple(
        PackagedFile(path.relative_to(directory).as_posix(), sha256_file(path), path.stat().st_size)
        for path in paths
        if path != directory / MANIFEST
    )


def seal(directory: Path, manifest: Manifest) -> str:
    """Write `manifest` into `directory`, whose files it must describe; returns the package's digest."""
    write(directory / MANIFEST, manifest)
    return package_digest(directory)


def package_digest(directory: Path) -> str:
    """SHA-256 of the manifest, which names every other file's; raises ContractError without one."""
    return sha256_bytes(_manifest_bytes(directory))


def read_manifest(directory: Path, *, expected_digest: str | None = None) -> Manifest:
    """Read a package's manifest without looking at its other files.

    Raises:
        ContractError: no manifest, or one that breaks the contract.
        DigestMismatch: it is not the package that `expected_digest` names.
    """
    content = _manifest_bytes(directory)
    found = sha256_bytes(content)
    if expected_digest is not None and found != expected_digest:
        raise DigestMismatch(f"{directory}: package digest is {found[:12]}, expected {expected_digest[:12]}")
    return decode(content, Manifest, str(directory / MANIFEST))


def verify(directory: Path, *, expected_digest: str | None = None) -> Manifest:
    """Read the manifest and check that the directory holds its files, whole, and nothing else.

    Raises:
        ContractError: a file is missing or is not in the manifest, or the manifest is broken.
        DigestMismatch: a file or the manifest is not what its digest says.
    """
    manifest = verify_listing(directory, expected_digest=expected_digest)
    verify_files(directory, manifest.files)
    return manifest


def verify_listing(directory: Path, *, expected_digest: str | None = None) -> Manifest:
    """Read the manifest and check that the directory holds its files by name and size, and nothing else.

    Raises:
        ContractError, DigestMismatch: as `verify` does.
    """
    manifest = read_manifest(directory, expected_digest=expected_digest)
    listed = {file.path for file in manifest.files}
    for path in directory.rglob("*"):
        relative = path.relative_to(directory).as_posix()
        if path.is_symlink():
            raise ContractError(f"{directory}: {relative} is a symbolic link; a package holds its files themselves")
        if not path.is_dir() and relative not in listed and relative != MANIFEST:
            raise ContractError(f"{directory}: {relative} is not in the manifest")
    for file in manifest.files:
        path = directory / file.path
        if not path.is_file():
            raise ContractError(f"{directory}: {file.path} is missing")
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            raise DigestMismatch(f"{path}: {size_bytes} bytes, the manifest says {file.size_bytes}")
    return manifest


def verify_files(directory: Path, files: Iterable[PackagedFile]) -> None:
    """Check the content of files; raises DigestMismatch where one is not what its digest says."""
    for file in files:
        path = directory / file.path
        found = sha256_file(path)
        if found != file.sha256:
            raise DigestMismatch(f"{path}: digest is {found[:12]}, the manifest says {file.sha256[:12]}")


def put_package(source: Path, target: Path, digest: str) -> None:
    """Put the package at `source` at `target`, whole or not at all; one that stands there intact is left alone.

    Files are hard links where the file system allows it. Two callers with the same target must take turns.

    Raises:
        ContractError: `source` is not a whole package.
        DigestMismatch: it is not the one that `digest` names, or a file was changed.
    """
    manifest = verify(source, expected_digest=digest)
    if is_whole(target, digest):
        return
    with directory_written_atomically(target) as scratch:
        for path in (MANIFEST, *(file.path for file in manifest.files)):
            link_or_copy(source / path, scratch / path)


def is_whole(package: Path, digest: str) -> bool:
    """Whether the package that `digest` names stands at `package`, verified."""
    try:
        verify(package, expected_digest=digest)
    except ContractError:
        return False
    return True


def _manifest_bytes(directory: Path) -> bytes:
    try:
        return (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise ContractError(f"{directory}: not a model package: {MANIFEST}: {error.strerror}") from error
