from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunelane_components.parity.comparison import ParityBounds, ParityComparison
from tunelane_components.parity.component import validate_parity
from tunelane_components.parity.parity import ParityFailed
from tunelane_components.parity.report import render
from tunelane_serving.contract import read
from tunelane_serving.package import package_digest, verify


@pytest.fixture
def inputs(
    toy_checkpoint: Path, toy_dataset: Path, toy_package_draft: Path
) -> tuple[dsl.Model, dsl.Dataset, dsl.Model]:
    """Give the toy lane's artifacts as the component takes them."""
    return dsl.Model(uri=str(toy_checkpoint)), dsl.Dataset(uri=str(toy_dataset)), dsl.Model(uri=str(toy_package_draft))


@pytest.fixture
def package(tmp_path: Path) -> dsl.Model:
    """Give an output artifact as kfp does: its directory is there before the task starts."""
    directory = tmp_path / "artifacts" / "package"
    directory.mkdir(parents=True)
    return dsl.Model(uri=str(directory))


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[dsl.Metrics, dsl.Artifact, dsl.HTML]:
    """Give metrics, comparison and report."""
    metrics, comparison, report = (str(tmp_path / name) for name in ("metrics", "comparison", "report"))
    return dsl.Metrics(uri=metrics), dsl.Artifact(uri=comparison), dsl.HTML(uri=report)


def test_the_component_writes_the_package_its_digest_and_metrics(
    inputs: tuple[dsl.Model, dsl.Dataset, dsl.Model],
    package: dsl.Model,
    outputs: tuple[dsl.Metrics, dsl.Artifact, dsl.HTML],
) -> None:
    metrics, comparison, page = outputs
    validate_parity.python_func(*inputs, package, *outputs, max_rows=30)
    report = verify(Path(package.path)).parity
    assert report is not None
    compared = read(Path(comparison.path), ParityComparison)
    assert (compared.report, compared.bounds, len(compared.ids)) == (report, ParityBounds(), 30)
    assert Path(page.path).read_text(encoding="utf-8") == render(report, compared)
    assert package.metadata == {"digest": package_digest(Path(package.path))}
    assert metrics.metadata == {
        "rows": 30,
        **{
            f"{variant.variant}_{measure}": getattr(variant, measure)
            for variant in report.variants
            for measure in ("max_abs_logit_delta", "agreement", "f1_delta")
        },
    }


def test_the_component_fails_out_of_bounds_with_a_picture_and_no_package(
    inputs: tuple[dsl.Model, dsl.Dataset, dsl.Model],
    package: dsl.Model,
    outputs: tuple[dsl.Metrics, dsl.Artifact, dsl.HTML],
) -> None:
    metrics, comparison, page = outputs
    for bounds in ({"min_f1_delta": 0.5}, {"max_abs_logit_delta": 0.0}):
        with pytest.raises(ParityFailed) as failed:
            validate_parity.python_func(*inputs, package, *outputs, max_rows=30, **bounds)
        assert read(Path(comparison.path), ParityComparison).problem == str(failed.value)
        assert "out of bounds" in Path(page.path).read_text(encoding="utf-8")
    assert not list(Path(package.path).iterdir())
    assert (package.metadata, metrics.metadata) == ({}, {})


def test_the_component_has_the_defaults_of_its_bounds() -> None:
    inputs = validate_parity.component_spec.inputs
    bounds = ParityBounds()
    for name in ("max_abs_logit_delta", "min_agreement", "min_f1_delta"):
        assert inputs[name].default == getattr(bounds, name)


def test_the_component_compiles_alone(tmp_path: Path) -> None:
    compiler.Compiler().compile(validate_parity, str(tmp_path / "component.yaml"))
    assert "tunelane/trainer" in (tmp_path / "component.yaml").read_text()
