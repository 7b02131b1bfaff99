from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunelane_components.export.component import export_onnx
from tunelane_serving.package import verify


@pytest.mark.parametrize(("quantize", "names"), [(True, {"int8_mb", "fp32_mb"}), (False, {"fp32_mb"})])
def test_the_component_writes_the_package_and_the_size_of_each_graph(
    quantize: bool, names: set[str], toy_checkpoint: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "artifacts" / "package"
    directory.mkdir(parents=True)
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    export_onnx.python_func(
        dsl.Model(uri=str(toy_checkpoint)), dsl.Model(uri=str(directory)), metrics, quantize=quantize
    )
    sizes_bytes = {file.path: file.size_bytes for file in verify(directory).files}
    assert set(metrics.metadata) == names
    assert metrics.metadata["fp32_mb"] == round(sizes_bytes["model.onnx"] / 1e6, 1)


def test_the_component_compiles_alone(tmp_path: Path) -> None:
    compiler.Compiler().compile(export_onnx, str(tmp_path / "component.yaml"))
    assert export_onnx.component_spec.inputs["quantize"].default is True
    assert "tunelane/trainer" in (tmp_path / "component.yaml").read_text()
