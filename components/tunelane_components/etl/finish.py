"""From the parts of a build to the files of the dataset."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tunelane_components.etl.balance import class_weights, few_rows
from tunelane_components.etl.dataset import (
    QUARANTINE,
    REPORT,
    STATISTICS,
    SUMMARY,
    TAXONOMY,
    DatasetSummary,
    split_path,
)
from tunelane_components.etl.options import DatasetOptions
from tunelane_components.etl.renderers import render_splits
from tunelane_components.etl.renderers.gemini_limits import check_limits
from tunelane_components.etl.renderers.prompts import PromptTemplate
from tunelane_components.etl.report import render
from tunelane_components.etl.shuffle.decide import Decided
from tunelane_components.etl.shuffle.map import MapOutcome
from tunelane_components.etl.shuffle.plan import Plan, part_name, rejected_name
from tunelane_components.etl.shuffle.workspace import Workspace
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.sources.find import SourceFile
from tunelane_components.etl.split import SPLITS, Split
from tunelane_components.etl.statistics import measure
from tunelane_components.etl.taxonomy import infer_taxonomy
from tunelane_components.etl.tokens import load_tokenizer
from tunelane_components.storage import filesystem, local_path
from tunelane_serving.contract import encode, write
from tunelane_serving.errors import InputError
from tunelane_serving.files import sha256_bytes, sha256_file
from tunelane_serving.taxonomy import Taxonomy

# What changes what a build writes for the same input must change this number: it is part of the input's digest.
_BUILD_VERSION = 1
_CHUNK_BYTES = 1 << 20


class Inputs(msgspec.Struct, frozen=True):
    """What goes into a build besides its options: the data as it was named, its files, and what was given with it."""

    data: str
    sources: list[SourceFile]
    given_splits: tuple[str, ...]
    ignored: list[str]
    taxonomy: Taxonomy | None
    prompt: PromptTemplate

    @property
    def name(self) -> str:
        """The data's last part, as errors and the summary call it: a file, a folder or a pattern."""
        return self.data.rstrip("/").rpartition("/")[2] or self.data


def write_dataset(
    directory: Path,
    inputs: Inputs,
    plan: Plan,
    facts: Sequence[SourceFacts],
    mapped: Sequence[MapOutcome],
    decided: Decided,
) -> DatasetSummary:
    """Write the files of the dataset into `directory`, the summary of them among the last.

    Raises:
        InputError: there are too few rows or labels to train and judge with.
    """
    options, outcome = plan.options, decided.outcome
    shared = Workspace(plan.workspace)
    rows_by_split: dict[Split, int] = {split: outcome.rows_by_split.get(split, 0) for split in SPLITS}
    quarantined: Counter[str] = Counter(outcome.quarantined)
    personal_data: Counter[str] = Counter()
    for chunk in mapped:
        quarantined.update(chunk.rejected)
        personal_data.update(chunk.personal_data)
    rows_read = sum(chunk.rows for chunk in mapped)
    _require_rows(inputs.name, rows_read, quarantined.total(), decided, options)
    taxonomy = plan.taxonomy or infer_taxonomy(decided.label_names)
    labels: dict[Split, dict[str, int]] = {
        split: {name: outcome.labels[split].get(name, 0) for name in taxonomy.names} for split in SPLITS
    }
    warnings = _require_enough(inputs.name, rows_by_split, labels, taxonomy, options)

    files = {
        split_path(directory, split).name: _joined(
            split_path(directory, split),
            (shared.read(part_name(partition, split)) for partition in range(plan.partitions)),
        )
        for split in SPLITS
    }
    write(directory / TAXONOMY, taxonomy)
    files[TAXONOMY] = sha256_file(directory / TAXONOMY)
    digest = sha256_bytes("".join(f"{name} {found}\n" for name, found in files.items()).encode())
    files[QUARANTINE] = _joined(directory / QUARANTINE, _quarantine(mapped, plan, shared))
    for name in options.format_names:
        files |= render_splits(directory, name, taxonomy, inputs.prompt, multi_label=options.multi_label)
    if "gemini" in options.format_names:
        warnings += _within_limits_of_gemini(directory)

    digests = [source.sha256 for source in facts]
    summary = DatasetSummary(
        digest=digest,
        taxonomy_digest=taxonomy.digest,
        data_file=inputs.name,
        data_sha256=digests[0] if len(facts) == 1 else _digest_of_digests(facts),
        options=options,
        rows_read=rows_read,
        rows_kept=sum(rows_by_split.values()),
        rows_merged=outcome.merged,
        rows_cut=outcome.cut,
        quarantined=dict(sorted(quarantined.items())),
        conflicting_texts=outcome.conflicting_texts,
        repeated_ids=outcome.repeated_ids,
        labels=labels,
        sources=_counts_by_source(outcome.sources, sum(rows_by_split.values())),
        files=files,
        rows_leaked=outcome.leaked,
        rows_near_duplicate=outcome.near_duplicate,
        rows_over_cap=outcome.over_cap,
        rows_by_split=rows_by_split,
        # A path of this machine says nothing elsewhere, and the same data in another folder is the same.
        inputs=tuple(msgspec.structs.replace(source, uri="") if local_path(source.uri) else source for source in facts),
        ignored_files=tuple(inputs.ignored),
        personal_data=dict(sorted(personal_data.items())),
        class_weights=class_weights(labels["train"], rows_by_split["train"], multi_label=options.multi_label),
        warnings=tuple(warnings),
        options_digest=sha256_bytes(encode(options)),
        input_digest=input_digest(inputs, digests, options),
    )
    write(directory / SUMMARY, summary)
    tokenizer = load_tokenizer(plan.tokenizer, directory / "work") if plan.tokenizer else None
    statistics = measure(
        directory, taxonomy, rows_by_split, tokenizer=tokenizer, max_length_tokens=options.max_length_tokens
    )
    write(directory / STATISTICS, statistics)
    (directory / REPORT).write_text(render(summary, statistics), encoding="utf-8")
    return summary


def input_digest(inputs: Inputs, digests: Sequence[str], options: DatasetOptions) -> str:
    """Digest what decides what a build writes: every byte of every file, the options, and the version of the build."""
    files = zip(inputs.sources, digests, inputs.given_splits, strict=True)
    parts = [
        f"build {_BUILD_VERSION}",
        encode(options).decode(),
        inputs.taxonomy.digest if inputs.taxonomy else "",
        *(f"{source.name} {digest} {split}" for source, digest, split in files),
    ]
    return sha256_bytes("\n".join(parts).encode())


def sha256_of_source(source: SourceFile) -> str:
    """Digest the bytes of a source as they are stored; of a transformer's there is none."""
    path = local_path(source.uri)
    if path is not None:
        return sha256_file(path) if path.is_file() else ""
    file_system, remote = filesystem(source.uri, what="data")
    digest = hashlib.sha256()
    with file_system.open(remote, "rb") as stream:
        while content := stream.read(_CHUNK_BYTES):
            digest.update(content)
    return digest.hexdigest()


def rejected_rows(mapped: Sequence[MapOutcome], shared: Workspace) -> Iterator[bytes]:
    """Yield the quarantined rows of the map step as lines, in the order of files and lines."""
    for chunk in mapped:
        if chunk.rejected:
            yield from shared.read(rejected_name(chunk.number)).splitlines()


def quarantined_parts(plan: Plan, shared: Workspace) -> Iterator[bytes]:
    """Yield the quarantined rows of the reduce step as lines."""
    for partition in range(plan.partitions):
        yield from shared.read(part_name(partition, "quarantine")).splitlines()


def _within_limits_of_gemini(directory: Path) -> list[str]:
    """Stop where the tuning service would refuse the dataset; warn of rows that it would leave out."""
    violations = check_limits(directory / "gemini")
    refused = [violation.message for violation in violations if violation.severity == "error"]
    if refused:
        raise InputError(refused[0])
    return [violation.message for violation in violations]


def _quarantine(mapped: Sequence[MapOutcome], plan: Plan, shared: Workspace) -> Iterator[bytes]:
    """Yield the quarantine in pieces: rows that are wrong by themselves, then those that others contradict."""
    for chunk in mapped:
        if chunk.rejected:
            yield shared.read(rejected_name(chunk.number))
    for partition in range(plan.partitions):
        yield shared.read(part_name(partition, "quarantine"))


def _joined(path: Path, pieces: Iterator[bytes]) -> str:
    """Write the pieces one after the other; return the SHA-256 of them all."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def _digest_of_digests(facts: Sequence[SourceFacts]) -> str:
    return sha256_bytes("".join(f"{source.name} {source.sha256}\n" for source in facts).encode())


def _counts_by_source(counts: dict[str, int], rows: int) -> dict[str, int]:
    """Add the rows without a source."""
    unnamed = rows - sum(counts.values())
    return dict(sorted({**counts, **({"": unnamed} if unnamed else {})}.items()))


def _require_rows(data: str, rows_read: int, quarantined: int, decided: Decided, options: DatasetOptions) -> None:
    """Stop where too few rows are left."""
    outcome = decided.outcome
    kept = sum(outcome.rows_by_split.values())
    needed = max(options.minimum_rows, 1)
    if kept < needed:
        repeats = outcome.merged + outcome.leaked + outcome.near_duplicate
        raise InputError(
            f"{data}: {kept} rows are left of {rows_read} read ({quarantined} quarantined, {repeats} duplicates, "
            f"{outcome.cut + outcome.over_cap} cut); at least {needed} must be. Add rows, or pass --set minimum_rows=N."
        )


def _require_enough(
    data: str,
    rows_by_split: dict[Split, int],
    labels: dict[Split, dict[str, int]],
    taxonomy: Taxonomy,
    options: DatasetOptions,
) -> list[str]:
    """Stop where a split has no rows or a label too few; warn of what is merely little.

    With several labels a row, a label without rows is a warning: the others can be learnt all the same. A label that
    has labels below it needs no rows of its own.
    """
    total = sum(rows_by_split.values())
    warnings = []
    for split, rows in rows_by_split.items():
        if rows:
            continue
        if options.minimum_rows:
            raise InputError(
                f"{data}: split {split} has 0 of {total} rows, 1 is needed. Add rows, or raise its fraction."
            )
        warnings.append(f"Split {split} has no rows.")
    leaves = [name for name in taxonomy.names if name not in taxonomy.groups]
    for label in leaves:
        everywhere = sum(by_label[label] for by_label in labels.values())
        if everywhere < options.min_per_label:
            raise InputError(
                f"{data}: label {label!r} has {everywhere} rows, {options.min_per_label} are needed (min_per_label). "
                "Add rows of it, or take it out of the taxonomy."
            )
        if not labels["train"][label] and not options.multi_label and options.minimum_rows:
            raise InputError(
                f"{data}: label {label!r} has 0 rows to train on ({everywhere} in valid and test), 1 is needed. "
                "Add rows of it, keep more rows, or take it out of the data and the taxonomy."
            )
    return warnings + few_rows(labels, exempt=sorted(taxonomy.groups))
