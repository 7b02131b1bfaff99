"""Opening a variant's graph by its package's framework. A framework is imported when a package asks for it."""

from pathlib import Path

from tunelane_serving.backends.graph import Graph
from tunelane_serving.errors import ContractError
from tunelane_serving.package import Framework, Manifest

# A SavedModel is a directory; a variant's path names this file in it.
SAVED_MODEL = "saved_model.pb"
_LITE_RT = ".tflite"


def open_graph(framework: Framework, path: Path, *, optimize: bool = True) -> Graph:
    """Open the graph at `path`, the path of a package's variant.

    Args:
        framework: "onnx", or "tensorflow": a `.tflite` file, or the saved_model.pb of a SavedModel's directory.
        path: the graph.
        optimize: False leaves an ONNX graph as it was exported; the others know no such thing.

    Raises:
        ContractError: the framework is not installed, or cannot load the graph.
    """
    if framework == "onnx":
        from tunelane_serving.backends.onnx import OnnxGraph

        return OnnxGraph(path, optimize=optimize)
    if framework == "tensorflow" and path.suffix == _LITE_RT:
        from tunelane_serving.backends.lite_rt import LiteRtGraph

        return LiteRtGraph(path)
    if framework == "tensorflow" and path.name == SAVED_MODEL:
        from tunelane_serving.backends.saved_model import SavedModelGraph

        return SavedModelGraph(path.parent)
    if framework == "tensorflow":
        raise ContractError(f"{path}: a tensorflow variant's path ends in {_LITE_RT} or names a {SAVED_MODEL}")
    raise ContractError(f"{path}: framework {framework!r} runs no graph")


def holds_saved_model(manifest: Manifest) -> bool:
    """Whether loading the package would run a SavedModel, which can touch files."""
    return manifest.framework == "tensorflow" and any(
        not variant.path.endswith(_LITE_RT) for variant in manifest.variants
    )
