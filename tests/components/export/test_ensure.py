import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tunelane_components.export import ensure
from tunelane_components.export.ensure import build_package
from tunelane_components.export.onnx import FP32_GRAPH, INT8_GRAPH
from tunelane_components.parity.parity import ParityFailed
from tunelane_components.train.checkpoint import CARD, read_card
from tunelane_serving.errors import InputError
from tunelane_serving.fetching.ensure import ensure_model
from tunelane_serving.models.embedder import TextEmbedder
from tunelane_serving.models.loading import load_model
from tunelane_serving.models.model import Classification, Embedding
from tunelane_serving.package import (
    BaseModel,
    Manifest,
    Variant,
    describe_files,
    package_digest,
    read_manifest,
    seal,
    verify,
)


@pytest.fixture(scope="module")
def encoder_package(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("built") / "package"
    build_package(str(tiny_encoder), package, say=lambda _: None)
    return package


def _checked(package: Path) -> Manifest:
    """Verify what every built package has: a report and golden rows for its variants, and fp32."""
    manifest = verify(package)
    names = [variant.name for variant in manifest.variants]
    assert "fp32" in names
    assert manifest.parity is not None
    assert [report.variant for report in manifest.parity.variants] == names
    assert manifest.parity.rows == 16
    assert manifest.goldens
    assert all(set(golden.scores) == set(names) for golden in manifest.goldens)
    assert all(variant.golden_tolerance > 0 for variant in manifest.variants)
    return manifest


def test_a_base_model_becomes_an_encoder_that_serves(encoder_package: Path, tiny_encoder: Path) -> None:
    manifest = _checked(encoder_package)
    assert (manifest.task, manifest.base_model.uri, manifest.base_model.licence) == (
        "embedding",
        tiny_encoder.name,
        "apache-2.0",
    )
    model = load_model(encoder_package, package_digest(encoder_package))
    (answer,) = model.run([model.prepare("good film")])
    assert isinstance(answer, Embedding)
    assert answer.vector.shape == (32,)
    assert sorted(path.name for path in encoder_package.parent.iterdir()) == ["package"]


def test_a_checkpoint_becomes_a_classifier_that_serves(toy_checkpoint: Path, tmp_path: Path) -> None:
    said: list[str] = []
    build_package(str(toy_checkpoint), tmp_path / "package", say=said.append)
    manifest = _checked(tmp_path / "package")
    card = read_card(toy_checkpoint)
    assert (manifest.task, manifest.taxonomy, manifest.data_digest) == (
        "single_label",
        card.taxonomy,
        card.data_digest,
    )
    # Sixteen sentences are no reference for drift.
    assert manifest.reference == ()
    model = load_model(tmp_path / "package", package_digest(tmp_path / "package"))
    (answer,) = model.run([model.prepare("a superb and lovely film")])
    assert isinstance(answer, Classification)
    assert answer.labels == ("positive",)
    assert said[1] == "exporting to ONNX, fp32 and int8"


def test_a_classifier_that_transformers_saved_needs_no_card(
    toy_checkpoint: Path, toy_package_draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(model: object, target: Path, *, output: str) -> None:
        shutil.copyfile(toy_package_draft / FP32_GRAPH, target)

    # The graph is the same, and making it takes seconds.
    monkeypatch.setattr("tunelane_components.export.onnx.export_graph", copy)
    foreign = Path(shutil.copytree(toy_checkpoint, tmp_path / "foreign"))
    (foreign / CARD).unlink()
    build_package(str(foreign), tmp_path / "package", say=lambda _: None)
    manifest = _checked(tmp_path / "package")
    assert manifest.base_model.uri == "foreign"
    assert manifest.taxonomy is not None
    assert manifest.taxonomy.names == ("negative", "neutral", "positive")


@pytest.fixture
def exported(encoder_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the export give the graphs that were made already, the int8 one spoiled."""

    def export(model: Path, package: Path, *, base_model: BaseModel) -> Manifest:
        import onnx
        from onnx import TensorProto, numpy_helper

        shutil.copytree(encoder_package, package)
        graph = onnx.load(package / FP32_GRAPH)
        generator = np.random.default_rng(0)
        for weight in graph.graph.initializer:
            if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 2:
                noise = generator.normal(size=tuple(weight.dims)).astype(np.float32)
                weight.CopyFrom(numpy_helper.from_array(noise, weight.name))
        onnx.save(graph, package / INT8_GRAPH)
        manifest = msgspec.structs.replace(
            read_manifest(package),
            variants=(Variant("int8", INT8_GRAPH), Variant("fp32", FP32_GRAPH)),
            files=describe_files(package),
            base_model=base_model,
            goldens=(),
        )
        seal(package, manifest)
        return manifest

    monkeypatch.setattr(ensure, "export_embedding_package", export)


@pytest.mark.usefixtures("exported")
def test_a_variant_that_strays_is_left_out_with_its_file(tiny_encoder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    build_package(str(tiny_encoder), tmp_path / "package", say=said.append)
    assert [variant.name for variant in _checked(tmp_path / "package").variants] == ["fp32"]
    assert not (tmp_path / "package" / INT8_GRAPH).exists()
    assert [line for line in said if line.startswith("int8 is left out: ")]


@pytest.mark.usefixtures("exported")
def test_a_graph_that_is_not_the_model_is_no_package(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = ensure.torch_embeddings
    monkeypatch.setattr(ensure, "torch_embeddings", lambda *arguments: vectors(*arguments)[:, ::-1].copy())
    with pytest.raises(ParityFailed, match=r"^fp32 does not answer as PyTorch does on 16 sentences: "):
        build_package(str(tiny_encoder), tmp_path / "package", say=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, r"has no config\.json that can be read"),
        ("[]", r"has no config\.json that can be read"),
        (json.dumps({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}), "cannot be read|no tokenizer"),
        (json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}), "is a LlamaForCausalLM"),
    ],
)
def test_what_is_no_encoder_is_refused(config: str | None, words: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    if config is not None:
        (model / "config.json").write_text(config)
    with pytest.raises(InputError, match=words) as caught:
        build_package(str(model), tmp_path / "package", say=lambda _: None)
    assert "\n" not in str(caught.value)


def test_without_the_trainer_installed_the_missing_module_is_named(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensure, "_NEEDED", ("torch", "a_package_that_nobody_has"))
    with pytest.raises(InputError, match=r"pip install 'tunelane\[train\]' \(No module named 'a_package_that_nobody"):
        ensure_model(str(tiny_encoder), None, tmp_path / "home", say=lambda _: None, builder=build_package)


@pytest.mark.slow
def test_the_sample_encoder_is_built_once_and_knows_what_sentences_mean(tmp_path: Path) -> None:
    from tunelane_pipelines.samples.building import build_package as build_sample

    home = tmp_path / "home"
    package = ensure_model("sample://minilm", None, home, say=lambda _: None, builder=build_sample)
    manifest = _checked(package)
    assert [variant.name for variant in manifest.variants] == ["int8", "fp32"]
    assert (manifest.max_length_tokens, manifest.pooling, manifest.normalize) == (256, "mean", True)
    assert manifest.parity is not None
    # Measured: int8 points at most 0.011 (cosine distance) from PyTorch, and every nearest sentence stays.
    assert [report.label_flips for report in manifest.parity.variants] == [0, 0]
    assert manifest.parity.variants[1].max_abs_logit_delta < 1e-5
    embedder = TextEmbedder.open(package)
    cat, kitten, tax = (embedder.embed(text) for text in ("A cat sleeps.", "The kitten naps.", "Taxes are due in May."))
    assert cat @ kitten > 0.5 > cat @ tax

    said: list[str] = []
    assert ensure_model("sample://minilm", None, home, say=said.append, builder=build_sample) == package
    assert len(said) == 2
    assert read_manifest(package, expected_digest=package.name) == manifest
