import json
import math
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from tunelane_components.etl.dataset import read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.parity.comparison import ParityBounds, out_of_bounds
from tunelane_components.parity.parity import ParityFailed, compare, spread_over_lengths, validate_parity
from tunelane_serving.errors import DigestMismatch, InputError
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.package import (
    TOKENIZER,
    VariantParity,
    describe_files,
    read_manifest,
    seal,
    verify,
)

# All tests that need the toy lane run in one worker, which builds it once.


@pytest.fixture
def draft(toy_package_draft: Path, tmp_path: Path) -> Path:
    """Copy the toy draft, to be damaged."""
    return Path(shutil.copytree(toy_package_draft, tmp_path / "draft"))


@pytest.fixture
def checkpoint(toy_checkpoint: Path, tmp_path: Path) -> Path:
    """Copy the toy checkpoint, to be damaged."""
    return Path(shutil.copytree(toy_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def refused(toy_checkpoint: Path, toy_dataset: Path, tmp_path: Path) -> Callable[..., str]:
    """Give a check that parity fails, says why in one line, and writes nothing."""

    def check(draft: Path, checkpoint: Path = toy_checkpoint, error: type[Exception] = ParityFailed) -> str:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(error) as failed:
            validate_parity(checkpoint, toy_dataset, draft, tmp_path / "package", bounds=ParityBounds())
        assert sorted(tmp_path.iterdir()) == before
        assert "\n" not in str(failed.value)
        return str(failed.value)

    return check


def _reseal(package: Path, **changes: Any) -> None:
    """Write the manifest anew, so that it fits the files as they are now."""
    manifest = msgspec.structs.replace(read_manifest(package), files=describe_files(package), **changes)
    seal(package, manifest)


def _edit_config(checkpoint: Path, **changes: Any) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _edit_initializers(graph: Path, edit: Callable[[str, np.ndarray], np.ndarray]) -> None:
    """Rewrite the tensors of an ONNX file."""
    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        array = edit(tensor.name, numpy_helper.to_array(tensor))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, graph)


def _held_out(dataset: Path) -> list[Record]:
    return [*read_split(dataset, "valid"), *read_split(dataset, "test")]


# The real pair


def test_a_faithful_package_is_sealed_with_what_was_measured(toy_package: Path, toy_dataset: Path) -> None:
    report = verify(toy_package).parity
    assert report is not None
    assert report.rows == len(_held_out(toy_dataset))
    int8, fp32 = report.variants
    assert (int8.variant, fp32.variant) == ("int8", "fp32")
    assert fp32.max_abs_logit_delta < 1e-4
    assert (fp32.label_flips, fp32.agreement, fp32.f1_delta) == (0, 1.0, 0.0)
    assert int8.max_abs_logit_delta > fp32.max_abs_logit_delta
    assert int8.agreement >= 0.95


def test_rows_are_cut_to_what_is_asked(
    toy_checkpoint: Path, toy_dataset: Path, toy_package_draft: Path, tmp_path: Path
) -> None:
    arguments = (toy_checkpoint, toy_dataset, toy_package_draft, tmp_path / "package")
    report = validate_parity(*arguments, bounds=ParityBounds(), max_rows=20)
    assert report.rows == 20
    for rows in (0, -1):
        with pytest.raises(InputError, match=rf"^max_rows must be at least 1, not {rows}\.$"):
            validate_parity(*arguments, bounds=ParityBounds(), max_rows=rows)


# A pair that does not belong together


def test_a_tokenizer_with_other_ids_is_refused(draft: Path, refused: Callable[..., str]) -> None:
    tokenizer = json.loads((draft / TOKENIZER).read_text())
    vocabulary = tokenizer["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith("[")]
    ids = [vocabulary[word] for word in words]
    vocabulary.update(zip(words, reversed(ids), strict=True))
    (draft / TOKENIZER).write_text(json.dumps(tokenizer))
    _reseal(draft)
    message = refused(draft)
    assert re.match(r"int8 does not answer as PyTorch does on \d+ held-out rows: \d+\.\d% of labels agree, 95", message)


def test_a_tokenizer_that_minds_case_is_refused(
    draft: Path, toy_checkpoint: Path, toy_dataset: Path, tmp_path: Path
) -> None:
    # As small a slip as there is: the normaliser is lost, and only texts with capitals tell.
    tokenizer = json.loads((draft / TOKENIZER).read_text())
    tokenizer["normalizer"] = None
    (draft / TOKENIZER).write_text(json.dumps(tokenizer))
    _reseal(draft)
    dataset = Path(shutil.copytree(toy_dataset, tmp_path / "dataset"))
    path = dataset / "test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "text": line["text"].upper()}) + "\n" for line in lines))
    with pytest.raises(ParityFailed):
        validate_parity(toy_checkpoint, dataset, draft, tmp_path / "package", bounds=ParityBounds())


def test_a_shorter_maximum_length_in_the_package_is_refused(draft: Path, refused: Callable[..., str]) -> None:
    _reseal(draft, max_length_tokens=4)
    assert "of labels agree" in refused(draft)


def test_labels_in_another_order_in_the_package_are_refused_with_both_digests(
    draft: Path, refused: Callable[..., str]
) -> None:
    taxonomy = read_manifest(draft).taxonomy
    assert taxonomy is not None
    swapped = msgspec.structs.replace(taxonomy, labels=taxonomy.labels[::-1])
    _reseal(draft, taxonomy=swapped)
    message = refused(draft, error=DigestMismatch)
    assert taxonomy.digest[:12] in message
    assert swapped.digest[:12] in message
    assert "the dataset" in message
    assert "the package" in message


def test_a_checkpoint_of_another_taxonomy_is_refused_with_both_digests(
    checkpoint: Path, toy_package_draft: Path, toy_dataset: Path, refused: Callable[..., str]
) -> None:
    card = json.loads((checkpoint / "tunelane.json").read_text())
    card["taxonomy"]["labels"].reverse()
    (checkpoint / "tunelane.json").write_text(json.dumps(card))
    message = refused(toy_package_draft, checkpoint, DigestMismatch)
    assert read_taxonomy(toy_dataset).digest[:12] in message
    assert "the checkpoint" in message


@pytest.mark.parametrize(
    "names", [("positive", "neutral", "negative"), ("neutral", "negative", "positive"), ("x", "y", "z")]
)
def test_a_checkpoint_whose_outputs_have_other_names_is_refused(
    names: tuple[str, ...], checkpoint: Path, toy_package_draft: Path, refused: Callable[..., str]
) -> None:
    _edit_config(checkpoint, id2label={str(index): name for index, name in enumerate(names)})
    assert "of labels agree, 95.0% are needed" in refused(toy_package_draft, checkpoint)


def test_a_checkpoint_with_another_head_is_refused(
    checkpoint: Path, toy_package_draft: Path, refused: Callable[..., str]
) -> None:
    from safetensors.torch import load_file, save_file

    # Same labels and same shapes: another training could have given it.
    weights = load_file(checkpoint / "model.safetensors")
    weights["classifier.weight"] = weights["classifier.weight"].flip(0).contiguous()
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    refused(toy_package_draft, checkpoint)


def test_an_fp32_graph_with_slightly_other_weights_is_refused(draft: Path, refused: Callable[..., str]) -> None:
    generator = np.random.default_rng(0)

    def disturb(_name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.float32 or array.ndim != 2:
            return array
        return array * (1 + 0.002 * generator.standard_normal(array.shape)).astype(np.float32)

    _edit_initializers(draft / "model.onnx", disturb)
    _reseal(draft)
    message = refused(draft)
    assert re.match(
        r"fp32 does not answer as PyTorch does on \d+ .*: max \|Δlogit\| is .*, 0\.001 is allowed\.", message
    )


def test_an_int8_graph_with_broken_weights_is_refused(draft: Path, refused: Callable[..., str]) -> None:
    def mirror(_name: str, array: np.ndarray) -> np.ndarray:
        return array[::-1].copy() if array.dtype == np.int8 and array.ndim == 2 else array

    _edit_initializers(draft / "model.int8.onnx", mirror)
    _reseal(draft)
    assert refused(draft).startswith("int8 does not answer")


def test_a_graph_that_gives_nan_for_the_longest_texts_alone_is_refused(
    draft: Path, toy_dataset: Path, refused: Callable[..., str]
) -> None:
    classifier = TextClassifier.open(draft)
    lengths = [classifier.token_count(record.text) for record in _held_out(toy_dataset)]
    # So few rows that label agreement alone would let them pass.
    assert lengths.count(max(lengths)) < 0.05 * len(lengths)

    def poison(name: str, array: np.ndarray) -> np.ndarray:
        if name.endswith("position_embeddings.weight"):
            array = array.copy()
            array[max(lengths) - 1] = np.nan
        return array

    shutil.copyfile(draft / "model.onnx", draft / "model.int8.onnx")
    _edit_initializers(draft / "model.int8.onnx", poison)
    _reseal(draft)
    assert re.match(r"int8 does not answer .*: a logit is not a finite number\.", refused(draft))


def test_a_draft_that_is_not_what_was_exported_is_refused(draft: Path, refused: Callable[..., str]) -> None:
    tokenizer = draft / TOKENIZER
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert "the manifest says" in refused(draft, error=DigestMismatch)


def test_bounds_decide_what_passes(
    toy_checkpoint: Path, toy_dataset: Path, toy_package_draft: Path, tmp_path: Path
) -> None:
    with pytest.raises(ParityFailed, match=r"^int8 .*: macro-F1 changes by [+-]0\.\d{3}, \+0\.500 is allowed\.$"):
        validate_parity(
            toy_checkpoint, toy_dataset, toy_package_draft, tmp_path / "package", bounds=ParityBounds(min_f1_delta=0.5)
        )
    assert not (tmp_path / "package").exists()


# The judgement alone


def test_a_comparison_counts_flips_by_name_and_f1_by_truth() -> None:
    reference = np.array([[2, 1], [0, 3], [5, 1], [1, 2]], np.float32)
    truth = np.array([1, 0, 1, 0])
    # The checkpoint calls its first output by the taxonomy's second name.
    by_name = np.array([1, 0])
    same = compare("fp32", reference, reference[:, ::-1], by_name, truth)
    assert (same.label_flips, same.agreement, same.f1_delta) == (0, 1.0, 0.0)
    by_position = compare("fp32", reference, reference, by_name, truth)
    assert (by_position.label_flips, by_position.agreement, by_position.f1_delta) == (4, 0.0, -1.0)
    assert by_position.max_abs_logit_delta == 0


def test_a_comparison_measures_logits_and_scores() -> None:
    reference = np.array([[0, 0], [0, 0]], np.float32)
    logits = np.array([[0, 0], [0, math.log(3)]], np.float32)
    report = compare("fp32", reference, logits, np.array([0, 1]), np.array([0, 1]))
    assert report.max_abs_logit_delta == pytest.approx(math.log(3))
    assert report.max_abs_score_delta == pytest.approx(0.25)
    assert (report.label_flips, report.agreement) == (1, 0.5)


@given(
    variant=st.sampled_from(["int8", "fp32"]),
    row=st.integers(0, 399),
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    in_both=st.booleans(),
)
def test_one_logit_that_is_not_finite_fails_a_variant(variant: str, row: int, value: float, in_both: bool) -> None:
    reference = np.tile(np.array([1, 2, 3], np.float32), (400, 1))
    logits = reference.copy()
    logits[row, 2] = value
    if in_both:
        reference = logits
    with np.errstate(invalid="ignore"):
        report = compare(variant, reference, logits, np.arange(3), np.full(400, 2))
    assert out_of_bounds(report, ParityBounds())


_GOOD = VariantParity("fp32", 1e-6, 1e-6, 0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"max_abs_logit_delta": 1e-3}, ""),
        ({"max_abs_logit_delta": 2e-3}, "max |Δlogit| is 0.002, 0.001 is allowed"),
        ({"variant": "int8", "max_abs_logit_delta": 2.0}, ""),
        ({"variant": "int8", "agreement": 0.95}, ""),
        ({"variant": "int8", "agreement": 0.94}, "94.0% of labels agree, 95.0% are needed"),
        ({"agreement": math.nan}, "nan% of labels agree, 95.0% are needed"),
        ({"f1_delta": -0.03}, ""),
        ({"f1_delta": -0.04}, "macro-F1 changes by -0.040, -0.030 is allowed"),
        ({"f1_delta": math.nan}, "macro-F1 changes by +nan, -0.030 is allowed"),
        ({"max_abs_logit_delta": math.nan}, "max |Δlogit| is nan: a logit is not a finite number"),
        (
            {"variant": "int8", "max_abs_logit_delta": math.inf},
            "max |Δlogit| is inf: a logit is not a finite number",
        ),
    ],
)
def test_what_is_out_of_bounds_is_said_with_figures(changes: dict[str, Any], problem: str) -> None:
    assert out_of_bounds(msgspec.structs.replace(_GOOD, **changes), ParityBounds()) == problem


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=120), count=st.integers(1, 60), order=st.randoms())
def test_rows_are_spread_over_lengths(lengths: list[int], count: int, order: Any) -> None:
    records = [Record(f"r{number}", "x" * length, ("a",)) for number, length in enumerate(lengths)]
    chosen = spread_over_lengths(records, count)
    assert len({record.id for record in chosen}) == len(chosen) == min(count, len(records))
    found = [len(record.text) for record in chosen]
    assert found == sorted(found)
    assert found[0] == min(lengths)
    if count > 1:
        assert found[-1] == max(lengths)
    # Evenly: between two neighbours no more rows are left out than there must be.
    ranks = sorted(records, key=lambda record: (len(record.text), record.id))
    positions = [ranks.index(record) for record in chosen]
    widest = max((after - before for before, after in pairwise(positions)), default=1)
    assert widest <= math.ceil((len(records) - 1) / max(len(chosen) - 1, 1)) or widest == 1
    # The order of the rows changes nothing.
    shuffled = list(records)
    order.shuffle(shuffled)
    assert spread_over_lengths(shuffled, count) == chosen
