"""Labelled text to a dataset: read, check, bring together, split, write; whole or not at all, and only if new."""

import logging
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from tunelane_components.etl.dataset import DatasetSummary, read_summary
from tunelane_components.etl.finish import (
    Inputs,
    input_digest,
    quarantined_parts,
    rejected_rows,
    sha256_of_source,
    write_dataset,
)
from tunelane_components.etl.options import DatasetOptions, Fields, check_options
from tunelane_components.etl.progress import BuildProgress, OnProgress, say_nothing
from tunelane_components.etl.renderers import check_format
from tunelane_components.etl.renderers.prompts import PromptTemplate, load_prompt
from tunelane_components.etl.rows.mapping import mapping_of
from tunelane_components.etl.rows.rejections import check_rejected
from tunelane_components.etl.shuffle.decide import decide
from tunelane_components.etl.shuffle.local import InProcess, Runner, WorkerProcesses
from tunelane_components.etl.shuffle.mapped import Mapped, map_chunks, map_sources
from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.shuffle.read import require_columns_of_rows
from tunelane_components.etl.shuffle.workspace import Workspace
from tunelane_components.etl.sources.find import Found, SourceFile, find_sources
from tunelane_components.etl.taxonomy import load_taxonomy
from tunelane_components.etl.tokens import NoTokenizerFile, tokenizer_path
from tunelane_components.etl.upload import upload_dataset
from tunelane_components.storage import local_copy
from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.files import directory_written_atomically, remove_leftovers, sha256_file
from tunelane_serving.taxonomy import Taxonomy

# About this much of the candidates is in one worker's memory at a time, before Python's own needs.
_PARTITION_BYTES = 12 * 2**20
# Candidates hold a row as a record, and some as it was read, too.
_SPILLED_PER_READ = 2.5
_COMPRESSION = 5
_MOST_PARTITIONS = 4_000
# Starting workers takes longer than reading this much.
_WORTH_WORKERS_BYTES = 8 * 2**20


class Build(msgspec.Struct, frozen=True):
    """A dataset that was built, or found to be there already.

    Attributes:
        summary: of the dataset.
        is_new: False where the same input and options had built it before, so that nothing was done.
        uploaded_to: the URI of the dataset below `upload_root`; empty where none was asked for.
    """

    summary: DatasetSummary
    is_new: bool
    uploaded_to: str


def build_dataset(
    data: str,
    output: Path,
    *,
    text_field: str = "text",
    label_field: str = "label",
    label_separator: str = "",
    multi_label: bool = False,
    id_field: str = "",
    source_field: str = "",
    image_field: str = "",
    metadata_fields: str = "",
    split_field: str = "",
    test_data: str = "",
    taxonomy: str = "",
    source_format: str = "",
    delimiter: str = "",
    encoding: str = "utf-8",
    mask_personal_data: bool = False,
    max_characters: int = 100_000,
    tokenizer: str = "",
    max_length_tokens: int = 128,
    max_tokens: int = 0,
    max_rejected_fraction: float = 0.1,
    near_duplicate_threshold: float = 0.8,
    rows: int = 0,
    minimum_rows: int = 50,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_per_label: int = 0,
    min_per_label: int = 0,
    formats: str = "",
    prompt_template: str = "",
    upload_root: str = "",
    workers: int = 0,
    runner: Callable[[Plan], Runner] | None = None,
    workspace: str = "",
    progress: OnProgress | None = None,
) -> Build:
    """Check and split the labelled text in `data`; write the dataset's directory `output`, whole or not at all.

    The same rows and options, in whatever order and in whatever files, give byte-identical splits and the same digest.
    Where `output` holds just that already, nothing is done.

    Args:
        data: a CSV, TSV, JSON, JSONL or Parquet file, plain, .gz or .zst; a folder or a pattern of them; local or any
            URI that fsspec knows. For a transformer whatever it takes.
        output: the directory to write. An existing one is replaced.
        text_field: the column of the text, a path into nested values (`note.body`), or a template (`{title}: {note}`).
        label_field: the column or path of the label; `domains[].name` takes one from each element of a list.
        label_separator: what stands between several labels in one text.
        multi_label: whether a row can have several labels. Where the taxonomy has parents, each label brings its own.
        id_field: the column or path of the row's id; empty: ids are made from the texts.
        source_field: the column or path that says where a row came from, a slice in evaluation; empty: there is none.
        image_field: the column or path of an image's URI; empty: there is none.
        metadata_fields: columns or paths to keep in `meta`, separated by commas; `name=path` renames one.
        split_field: the column or path that says train, valid or test; where it is empty, the hash decides.
        test_data: files as in `data` whose rows are the test split; the others are split into train and valid.
        taxonomy: a YAML or JSON file of the labels; empty: the labels found in the data, in alphabetical order.
        source_format: csv, tsv, json, jsonl, parquet or the name of a transformer; empty: by the ending of each file.
        delimiter: of CSV files; empty: found.
        encoding: of text files.
        mask_personal_data: replace e-mail addresses, phone numbers, URLs and @names before anything is written.
        max_characters: longer texts are quarantined; 0 allows any.
        tokenizer: directory, URI or hub id to count tokens with; empty: none are counted.
        max_length_tokens: where the trainer will cut texts; the report says how many that are.
        max_tokens: texts with more tokens are quarantined; 0 allows any.
        max_rejected_fraction: stop if a larger share of the rows is quarantined.
        near_duplicate_threshold: drop training rows that are so similar (Jaccard) to a validation or test row; 0 does
            not look for them.
        rows: keep this many rows, a stable choice in which a smaller number is part of a larger; 0 keeps all.
        minimum_rows: stop if fewer are kept; 0 also allows splits and labels without rows.
        valid_fraction: the share of rows to choose epochs and thresholds on.
        test_fraction: the share of rows to judge the model on.
        max_per_label: keep at most this many training rows a label; a row of several stays while one has room.
        min_per_label: leave out inferred labels with fewer texts; with a taxonomy, stop.
        formats: further formats to write, separated by commas: prompt_completion, input_output, messages, gemini.
        prompt_template: a Jinja2 file for the prompts of those formats; empty: the one that is shipped.
        upload_root: where to put the finished dataset, below training-data/; empty: nowhere.
        workers: processes to use; 0: as many as there are cores, and none for small data.
        runner: performs the tasks elsewhere than on this machine, together with `workspace`.
        workspace: folder or URI that the runner's machines share; a new folder in it is used, and removed in the end.
            Empty: below `output`.
        progress: is told how far the build is.

    Raises:
        InputError: the data, the taxonomy or an option cannot be used, or too few rows are left.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given = load_taxonomy(local_copy(taxonomy, Path(scratch) / "taxonomy", what="taxonomy")) if taxonomy else None
        prompt = load_prompt(
            local_copy(prompt_template, Path(scratch) / "prompt", what="prompt_template") if prompt_template else None
        )
        tokenizer_file = _tokenizer_file(tokenizer, Path(scratch) / "tokenizer", is_needed=max_tokens > 0)
        options = DatasetOptions(
            fields=Fields(
                text=text_field,
                label=label_field,
                id=id_field,
                source=source_field,
                label_separator=label_separator,
                image=image_field,
                metadata=metadata_fields,
                split=split_field,
            ),
            taxonomy_given=given is not None,
            rows=rows,
            minimum_rows=minimum_rows,
            valid_fraction=valid_fraction,
            test_fraction=test_fraction,
            multi_label=multi_label,
            source_format=source_format,
            delimiter=delimiter,
            encoding=encoding,
            mask_personal_data=mask_personal_data,
            max_characters=max_characters,
            tokenizer_digest=sha256_file(tokenizer_file) if tokenizer_file else "",
            max_length_tokens=max_length_tokens,
            max_tokens=max_tokens,
            max_rejected_fraction=max_rejected_fraction,
            near_duplicate_threshold=near_duplicate_threshold,
            max_per_label=max_per_label,
            min_per_label=min_per_label,
            formats=formats,
            prompt_digest=prompt.digest if formats else "",
            test_data_given=bool(test_data),
        )
        check_options(options)
        if workers < 0:
            raise InputError(f"workers={workers}: pass 0 for as many as there are cores, or how many to use.")
        mapping_of(options.fields)
        for name in options.format_names:
            check_format(name)
        inputs = _find_inputs(data, test_data, source_format, given, prompt)
        summary = _built_before(output, inputs, options)
        is_new = summary is None
        if summary is None:
            # Another machine has to fetch it for itself.
            counter = "" if not tokenizer_file else tokenizer if runner else str(tokenizer_file)
            try:
                summary = _build(output, inputs, options, counter, workers, runner, workspace, progress or say_nothing)
            except OSError as error:
                why = error.strerror or error
                raise InputError(
                    f"Cannot write {output}: {why}. Choose a directory with room that you may write to."
                ) from error
    uploaded_to = upload_dataset(output, upload_root) if upload_root else ""
    return Build(summary, is_new, uploaded_to)


def _tokenizer_file(tokenizer: str, scratch: Path, *, is_needed: bool) -> Path | None:
    """Give the tokenizer's file, None where none was asked for or where the model has none and only the report asks."""
    try:
        return tokenizer_path(tokenizer, scratch) if tokenizer else None
    except NoTokenizerFile as error:
        if is_needed:
            raise
        logging.getLogger(__name__).warning("Tokens are not counted: %s", error)
        return None


def _find_inputs(
    data: str, test_data: str, source_format: str, taxonomy: Taxonomy | None, prompt: PromptTemplate
) -> Inputs:
    """Find all files to read, those of the test split last."""
    found = find_sources(data, source_format=source_format)
    test = Found([], [])
    if test_data:
        test = find_sources(test_data, source_format=source_format, what="test_data")
    # Two files of one name must be told apart in quarantine.
    taken = {source.name for source in found.files}
    held_out = [
        msgspec.structs.replace(source, name=f"test_data/{source.name}") if source.name in taken else source
        for source in test.files
    ]
    return Inputs(
        data=data,
        sources=[*found.files, *held_out],
        given_splits=("",) * len(found.files) + ("test",) * len(held_out),
        ignored=[*found.ignored, *test.ignored],
        taxonomy=taxonomy,
        prompt=prompt,
    )


def _built_before(output: Path, inputs: Inputs, options: DatasetOptions) -> DatasetSummary | None:
    """Give the summary of the dataset at `output` if this very build wrote it, and nobody changed it since."""
    # Here too, since a build that has nothing to do would never come to remove them.
    remove_leftovers(output)
    try:
        summary = read_summary(output)
    except ContractError:
        return None
    # What is cheap to compare comes first: digests are of every byte that would be read.
    sizes = [(source.name, source.size_bytes) for source in inputs.sources]
    if summary.options != options or sizes != [(facts.name, facts.size_bytes) for facts in summary.inputs]:
        return None
    digests = [sha256_of_source(source) for source in inputs.sources]
    if summary.input_digest != input_digest(inputs, digests, options):
        return None
    is_whole = all(
        (output / name).is_file() and sha256_file(output / name) == digest for name, digest in summary.files.items()
    )
    return summary if is_whole else None


def _build(
    output: Path,
    inputs: Inputs,
    options: DatasetOptions,
    tokenizer: str,
    workers: int,
    runner: Callable[[Plan], Runner] | None,
    workspace: str,
    progress: OnProgress,
) -> DatasetSummary:
    """Build the dataset's directory."""
    with directory_written_atomically(output) as directory:
        # A place of its own, which is all that is removed afterwards.
        shared = Workspace(f"{workspace.rstrip('/')}/{uuid.uuid4().hex}" if workspace else str(directory / "work"))
        plan = Plan(
            options=options,
            taxonomy=inputs.taxonomy,
            names=tuple(source.name for source in inputs.sources),
            given_splits=inputs.given_splits,
            partitions=_partitions(inputs.sources),
            workspace=shared.root,
            tokenizer=tokenizer,
        )
        try:
            if runner is not None:
                summary = _run(directory, inputs, plan, runner(plan), map_sources, progress)
            elif (count := _worker_count(inputs.sources, workers)) > 1:
                with WorkerProcesses(plan, count) as processes:
                    summary = _run(directory, inputs, plan, processes, map_chunks, progress)
            else:
                summary = _run(directory, inputs, plan, InProcess(plan), map_chunks, progress)
        finally:
            shared.remove()
    return summary


def _run(
    directory: Path,
    inputs: Inputs,
    plan: Plan,
    runner: Runner,
    map_rows: Callable[[Sequence[SourceFile], Plan, Runner, OnProgress], Mapped],
    progress: OnProgress,
) -> DatasetSummary:
    """Map, decide, and write the dataset into `directory`."""
    mapped, facts = map_rows(inputs.sources, plan, runner, progress)
    require_columns_of_rows(mapped, plan)
    shared = Workspace(plan.workspace)
    options = plan.options
    rows = sum(outcome.rows for outcome in mapped)
    rejected: Counter[str] = Counter()
    for outcome in mapped:
        rejected.update(outcome.rejected)
    check_rejected(rejected, rows, options.max_rejected_fraction, inputs.name, rejected_rows(mapped, shared))
    decided = decide(
        mapped, plan, runner, lambda phase, done, total: progress(BuildProgress(phase, done, total, "parts"))
    )
    rejected.update(decided.outcome.quarantined)
    lines = chain(rejected_rows(mapped, shared), quarantined_parts(plan, shared))
    check_rejected(rejected, rows, options.max_rejected_fraction, inputs.name, lines)
    progress(BuildProgress("write", 0, plan.partitions, "parts"))
    return write_dataset(directory, inputs, plan, facts, mapped, decided)


def _partitions(sources: Sequence[SourceFile]) -> int:
    """Choose how many parts there are, so that one fits a worker's memory: the result does not depend on it."""
    return max(1, min(_MOST_PARTITIONS, round(_plain_bytes(sources) * _SPILLED_PER_READ / _PARTITION_BYTES)))


def _plain_bytes(sources: Sequence[SourceFile]) -> int:
    """Estimate how much text there is to read."""
    return sum(
        source.size_bytes * (_COMPRESSION if source.compression or source.format == "parquet" else 1)
        for source in sources
    )


def _worker_count(sources: Sequence[SourceFile], workers: int) -> int:
    """Choose how many processes work."""
    if workers:
        return workers
    return usable_cores() if _plain_bytes(sources) >= _WORTH_WORKERS_BYTES else 1
