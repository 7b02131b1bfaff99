"""LiteRT (TensorFlow Lite) flat buffers, by their signature. Needs the extra `tensorflow`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.backends.graph import named_shape
from tunelane_serving.errors import ContractError, first_line
from tunelane_serving.package import Tensor

SIGNATURE = "serving_default"


class LiteRtGraph:
    """A `.tflite` file's signature: "serving_default", or the only one it has. Inputs and outputs in order of names.

    An interpreter does one thing at a time, so each thread that runs takes a free one, or opens one where none is free:
    there are never more than threads that ran at the same moment. They share the file's bytes, which are kept: the file
    of an upload is gone when a second one is opened.
    """

    def __init__(self, path: Path) -> None:
        """Load the flat buffer at `path`.

        Raises:
            ContractError: it cannot be read, LiteRT is not installed or cannot load it, it needs operators that are not
                LiteRT's own, or it has no signature.
        """
        try:
            self._content = path.read_bytes()
        except OSError as error:
            raise ContractError(f"{path}: {error.strerror}") from error
        self._path = path
        runner = self._open()
        self.inputs = _tensors(runner.get_input_details(), path)
        self.outputs = _tensors(runner.get_output_details(), path)
        self.size_bytes = len(self._content)
        self._free = [runner]

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Give the outputs in order; `feed` has an array for each input. Inputs are resized to what they are given."""
        try:
            runner = self._free.pop()
        except IndexError:
            runner = self._open()
        # One that failed is not used again.
        found = runner(**feed)
        self._free.append(runner)
        return [found[output.name] for output in self.outputs]

    def _open(self) -> Any:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ContractError(
                f"This package needs LiteRT ({error}). Run: pip install 'tunelane[tensorflow]'"
            ) from error
        try:
            # One thread for an operation: how many cores work is decided by how many threads call.
            interpreter = Interpreter(model_content=self._content, num_threads=1)
            names = list(interpreter.get_signature_list())
            chosen = SIGNATURE if SIGNATURE in names else names[0] if len(names) == 1 else None
            runner = interpreter.get_signature_runner(chosen) if chosen else None
        except Exception as error:  # LiteRT raises errors of several kinds
            raise ContractError(f"{self._path}: LiteRT cannot load it: {first_line(error)}") from error
        if runner is None:
            raise ContractError(f"{self._path}: no signature {SIGNATURE!r}; convert the model from a SavedModel")
        return runner


def _tensors(details: Mapping[str, Mapping[str, Any]], path: Path) -> tuple[Tensor, ...]:
    """Describe a signature's inputs or outputs; "shape_signature" has -1 for a dynamic axis."""
    tensors = []
    for name in sorted(details):
        dtype = np.dtype(details[name]["dtype"])
        if dtype.kind not in "iufb":
            raise ContractError(f"{path}: {name} holds neither numbers nor booleans; use a SavedModel for texts")
        tensors.append(Tensor(name, dtype.name, named_shape(details[name]["shape_signature"].tolist())))
    return tuple(tensors)
