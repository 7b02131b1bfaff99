from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunelane_components.parity.component import validate_parity
from tunelane_components.parity.parity import ParityBounds, ParityFailed
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


def test_the_component_writes_the_package_its_digest_and_metrics(
    inputs: tuple[dsl.Model, dsl.Dataset, dsl.Model], package: dsl.Model, tmp_path: Path
) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    validate_parity.python_func(*inputs, package, metrics, max_rows=30)
    report = verify(Path(package.path)).parity
    assert report is not None
    assert package.metadata == {"digest": package_digest(Path(package.path))}
    assert metrics.metadata == {
        "rows": 30,
        **{
            f"{variant.variant}_{measure}": getattr(variant, measure)
            for variant in report.variants
            for measure in ("max_abs_logit_delta", "agreement", "f1_delta")
        },
    }


def test_the_component_fails_out_of_bounds_and_writes_nothing(
    inputs: tuple[dsl.Model, dsl.Dataset, dsl.Model], package: dsl.Model, tmp_path: Path
) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    for bounds in ({"min_f1_delta": 0.5}, {"max_abs_logit_delta": 0.0}):
        with pytest.raises(ParityFailed):
            validate_parity.python_func(*inputs, package, metrics, max_rows=30, **bounds)
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
