"""TensorFlow's SavedModel, by its signature "serving_default". Needs the extra `tensorflow`.

A SavedModel is a program: its operations can read and write files. Load only what you trust.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.backends.graph import named_shape
from tunelane_serving.errors import ContractError, first_line
from tunelane_serving.package import Tensor

SIGNATURE = "serving_default"


class SavedModelGraph:
    """A SavedModel's default signature. Inputs and outputs stand in order of their names.

    Safe to call from several threads.
    """

    def __init__(self, directory: Path) -> None:
        """Load the SavedModel in `directory`, the one that holds saved_model.pb.

        Raises:
            ContractError: TensorFlow is not installed or cannot load it, or it has no signature "serving_default" of
                named tensors.
        """
        tensorflow = _import_tensorflow()
        try:
            loaded = tensorflow.saved_model.load(str(directory))
            signature = loaded.signatures.get(SIGNATURE)
        except Exception as error:  # TensorFlow raises errors of many kinds
            raise ContractError(f"{directory}: TensorFlow cannot load it: {first_line(error)}") from error
        if signature is None:
            raise ContractError(f"{directory}: no signature {SIGNATURE!r}; save the model with one")
        self.inputs = _tensors(signature.structured_input_signature[1], directory)
        self.outputs = _tensors(signature.structured_outputs, directory)
        self.size_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        # The signature's variables live as long as what was loaded.
        self._loaded = loaded
        self._signature = signature
        self._tensor_of = tensorflow.constant

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Give the outputs in order; `feed` has an array for each input. Texts, in and out, are objects of type str.

        Raises:
            UnicodeDecodeError: an output of type string is no UTF-8.
        """
        found = self._signature(**{name: self._tensor_of(array) for name, array in feed.items()})
        # A tensor without axes comes as a bare number or text.
        return [
            _texts(found[output.name].numpy()) if output.dtype == "string" else np.asarray(found[output.name].numpy())
            for output in self.outputs
        ]


def _texts(content: Any) -> NDArray[np.object_]:
    """Decode what TensorFlow has as bytes, of any shape."""
    encoded = np.array(content, object)
    return np.array([text.decode() for text in encoded.flat], object).reshape(encoded.shape)


def _import_tensorflow() -> Any:
    # Read when TensorFlow is loaded: its C++ part writes lines about the machine to stderr.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow
    except ImportError as error:
        raise ContractError(
            f"This package needs TensorFlow ({error}). Run: pip install 'tunelane[tensorflow]'"
        ) from error
    # One thread for an operation, and one operation after the other: how many cores work is decided by how many threads
    # call. TensorFlow has this for the process, and refuses it once it has started.
    with suppress(RuntimeError):
        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return tensorflow


def _tensors(specs: Any, directory: Path) -> tuple[Tensor, ...]:
    """Describe a signature's named inputs or outputs."""
    if not isinstance(specs, Mapping) or any(spec.shape.rank is None for spec in specs.values()):
        raise ContractError(f"{directory}: signature {SIGNATURE!r} has tensors without name or rank; name them")
    return tuple(
        Tensor(name, specs[name].dtype.name, named_shape(specs[name].shape.as_list())) for name in sorted(specs)
    )
