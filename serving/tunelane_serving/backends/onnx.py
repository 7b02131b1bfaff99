"""ONNX graphs on ONNX Runtime: opened one way by the server and by every stage that judges a package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tunelane_serving.backends.graph import named_shape
from tunelane_serving.errors import ContractError, first_line
from tunelane_serving.package import Tensor

# Where ONNX and numpy have different words for a type.
_NUMPY_NAMES = {"float": "float32", "double": "float64"}


class OnnxGraph:
    """An ONNX graph in a session of its own. Safe to call from several threads."""

    def __init__(self, path: Path, *, optimize: bool = True) -> None:
        """Load the graph at `path`; raises ContractError where ONNX Runtime cannot, or where it does not give tensors.

        `optimize` is as `open_session` takes it.
        """
        session = open_session(path, optimize=optimize)
        self.inputs = tuple(_tensor(value, path) for value in session.get_inputs())
        self.outputs = tuple(_tensor(value, path) for value in session.get_outputs())
        self.size_bytes = path.stat().st_size
        self._run = session.run

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Give the outputs in order; `feed` has an array for each input."""
        outputs: list[NDArray[Any]] = self._run(None, feed)
        return outputs


def open_session(graph: Path, *, optimize: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU with settings measured for single texts.

    An operation runs in the caller's thread: how many cores work is decided by how many threads call.

    Args:
        graph: an ONNX file.
        optimize: False leaves the graph as it was exported (used to measure how much rounding order matters).

    Raises:
        ContractError: ONNX Runtime cannot load the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own untyped exceptions
        raise ContractError(f"{graph}: ONNX Runtime cannot load it: {first_line(error)}") from error


def _tensor(value: Any, path: Path) -> Tensor:
    """Describe a session's input or output: "tensor(int64)" is "int64", "tensor(float)" numpy's "float32"."""
    if not value.type.startswith("tensor("):
        raise ContractError(f"{path}: {value.name} is a {value.type}; export the graph with tensors only (no ZipMap)")
    name = value.type.removeprefix("tensor(").removesuffix(")")
    return Tensor(value.name, _NUMPY_NAMES.get(name, name), named_shape(value.shape))
