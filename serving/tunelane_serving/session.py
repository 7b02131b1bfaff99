"""One way to open an ONNX graph, shared by the server and every stage that judges a package."""

from pathlib import Path
from typing import Any

from tunelane_serving.errors import ContractError


def open_session(graph: Path, *, threads: int = 1, optimize: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU with settings measured for single texts.

    Idle threads do not spin: on a shared machine a spinning thread takes the core that the next request needs.

    Args:
        graph: an ONNX file.
        threads: intra-op threads.
        optimize: False leaves the graph as it was exported (used to measure how much rounding order matters).

    Raises:
        ContractError: ONNX Runtime cannot load the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own untyped exceptions
        raise ContractError(f"{graph}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error
