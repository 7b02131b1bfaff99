import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import tunelane_components
from tunelane_components.etl.dataset import read_split
from tunelane_components.export.onnx import FP32_GRAPH, INT8_GRAPH, export_package
from tunelane_components.train.checkpoint import load_model, load_tokenizer, read_card
from tunelane_serving.backends.onnx import open_session
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.models.classifier import TextClassifier
from tunelane_serving.package import TOKENIZER, Tensor, package_digest, read_manifest, verify

# All tests that need the toy lane run in one worker, which builds it once.


@pytest.fixture
def checkpoint(toy_checkpoint: Path, tmp_path: Path) -> Path:
    """Copy the toy checkpoint, to be damaged."""
    return Path(shutil.copytree(toy_checkpoint, tmp_path / "checkpoint"))


def _nothing_but(directory: Path, *names: str) -> bool:
    return sorted(path.name for path in directory.iterdir()) == sorted(names)


def test_the_draft_is_a_package_whose_files_verify(toy_package_draft: Path) -> None:
    manifest = verify(toy_package_draft, expected_digest=package_digest(toy_package_draft))
    assert {file.path for file in manifest.files} == {FP32_GRAPH, INT8_GRAPH, TOKENIZER}
    assert (manifest.framework, manifest.task) == ("onnx", "single_label")


def test_int8_is_preferred_to_fp32(toy_package_draft: Path) -> None:
    variants = read_manifest(toy_package_draft).variants
    assert [(variant.name, variant.path) for variant in variants] == [("int8", INT8_GRAPH), ("fp32", FP32_GRAPH)]


def test_the_manifest_says_what_the_checkpoint_says(toy_package_draft: Path, toy_checkpoint: Path) -> None:
    manifest, card = read_manifest(toy_package_draft), read_card(toy_checkpoint)
    for field in ("taxonomy", "base_model", "max_length_tokens", "data_digest", "metrics"):
        assert getattr(manifest, field) == getattr(card, field), field


def test_the_draft_is_not_yet_sealed(toy_package_draft: Path) -> None:
    manifest = read_manifest(toy_package_draft)
    assert (manifest.parity, manifest.goldens, manifest.reference) == (None, (), ())
    assert {variant.golden_tolerance for variant in manifest.variants} == {0.0}


def test_inputs_and_outputs_are_described_with_their_dynamic_axes(toy_package_draft: Path) -> None:
    manifest = read_manifest(toy_package_draft)
    assert manifest.inputs == (
        Tensor("input_ids", "int64", ("batch", "sequence")),
        Tensor("attention_mask", "int64", ("batch", "sequence")),
    )
    assert manifest.outputs == (Tensor("logits", "float32", ("batch", 3)),)
    # The same holds of every variant: the server feeds them alike.
    for graph in (FP32_GRAPH, INT8_GRAPH):
        session = open_session(toy_package_draft / graph)
        assert [value.name for value in session.get_inputs()] == ["input_ids", "attention_mask"]
        assert [value.name for value in session.get_outputs()] == ["logits"]


@pytest.mark.parametrize("graph", [FP32_GRAPH, INT8_GRAPH])
@pytest.mark.parametrize(("rows", "length"), [(1, 3), (1, 64), (2, 11), (3, 5), (7, 1), (32, 40)])
def test_batch_and_sequence_are_dynamic(
    graph: str, rows: int, length: int, toy_package_draft: Path, toy_checkpoint: Path
) -> None:
    generator = np.random.default_rng(0)
    input_ids = generator.integers(4, 60, (rows, length))
    # The last row is padded, where there is room for it.
    mask = np.ones((rows, length), np.int64)
    mask[-1, (length + 1) // 2 :] = 0
    (found,) = open_session(toy_package_draft / graph).run(None, {"input_ids": input_ids, "attention_mask": mask})
    with torch.inference_mode():
        model = load_model(toy_checkpoint)
        expected = model(input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(mask)).logits.numpy()
    assert found.shape == (rows, 3)
    assert found.dtype == np.float32
    # int8 is another model; here it is only asked for answers of the right size.
    assert np.abs(found - expected).max() < (1e-4 if graph == FP32_GRAPH else 2.0)


def test_the_packaged_tokenizer_gives_the_checkpoints_tokens(
    toy_package_draft: Path, toy_checkpoint: Path, toy_dataset: Path
) -> None:
    classifier, tokenizer = TextClassifier.open(toy_package_draft), load_tokenizer(toy_checkpoint)
    for record in read_split(toy_dataset, "test"):
        assert classifier.token_count(record.text) == len(tokenizer(record.text)["input_ids"])


def test_every_weight_that_int8_multiplies_by_is_signed(toy_package_draft: Path) -> None:
    graph = onnx.load(toy_package_draft / INT8_GRAPH).graph
    dtype_by_name = {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    weights = [dtype_by_name[node.input[1]] for node in products]
    assert len(weights) == 2 * 6 + 2  # six to a layer, pooler and head
    assert set(weights) == {onnx.TensorProto.INT8}
    # A scale a channel: as many zero points as the weight has columns.
    shape_by_name = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    assert all(shape_by_name[node.input[3]] == shape_by_name[node.input[1]][1:] for node in products)


def test_the_int8_graph_is_the_smaller_one(toy_package_draft: Path) -> None:
    assert (toy_package_draft / INT8_GRAPH).stat().st_size < (toy_package_draft / FP32_GRAPH).stat().st_size


def test_no_path_of_the_machine_that_exported_is_shipped(toy_package_draft: Path, toy_checkpoint: Path) -> None:
    sources = str(Path(tunelane_components.__file__).parent)
    for graph in (FP32_GRAPH, INT8_GRAPH):
        content = (toy_package_draft / graph).read_bytes()
        for path in (sources, "site-packages", "modeling_bert.py", str(toy_checkpoint)):
            assert path.encode() not in content, path


def test_an_export_without_quantisation_has_fp32_alone_and_the_same_bytes(
    toy_package_draft: Path, toy_checkpoint: Path, tmp_path: Path
) -> None:
    manifest = export_package(toy_checkpoint, tmp_path / "package", quantize=False)
    assert [variant.name for variant in manifest.variants] == ["fp32"]
    assert verify(tmp_path / "package") == manifest
    assert _nothing_but(tmp_path / "package", FP32_GRAPH, TOKENIZER, "manifest.json")
    assert (tmp_path / "package" / FP32_GRAPH).read_bytes() == (toy_package_draft / FP32_GRAPH).read_bytes()


def test_a_checkpoint_without_a_fast_tokenizer_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / TOKENIZER).unlink()
    with pytest.raises(InputError, match=r"has no tokenizer\.json\. Save the model with a fast tokenizer\.$"):
        export_package(checkpoint, tmp_path / "package")
    assert _nothing_but(tmp_path, "checkpoint")


def test_a_directory_without_a_card_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tunelane.json").unlink()
    with pytest.raises(ContractError, match=r"tunelane\.json"):
        export_package(checkpoint, tmp_path / "package")
    assert _nothing_but(tmp_path, "checkpoint")


def test_an_export_that_fails_leaves_the_older_package_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "older").write_text("whole")
    (checkpoint / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read as a sequence classifier"):
        export_package(checkpoint, package)
    assert _nothing_but(tmp_path, "checkpoint", "package")
    assert _nothing_but(package, "older")


def test_a_checkpoint_that_lost_its_head_is_not_exported_with_a_made_up_one(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    headless = {name: weight for name, weight in weights.items() if not name.startswith("classifier")}
    save_file(headless, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"no weights for classifier\.bias"):
        export_package(checkpoint, tmp_path / "package")
    assert _nothing_but(tmp_path, "checkpoint")
