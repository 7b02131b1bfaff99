"""Any graph by its input and output schema: features to tensors."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.backends.graph import Graph
from tunelane_serving.errors import ContractError, TunelaneError, first_line
from tunelane_serving.models.features import feature_array
from tunelane_serving.models.model import Answer, Item, Outputs, Prepared
from tunelane_serving.models.variants import Require, open_serving_variant, open_variant
from tunelane_serving.package import Manifest, Tensor, Variant, package_digest
from tunelane_serving.problems import FeaturesMismatch


class TensorModel:
    """A loaded variant of a `tensors` package: a `Model`. One item at a time; the batch axis is the first, of size 1.

    Safe to call from several threads: the graph keeps no state between calls.
    """

    # Outputs need not have a batch axis, so items never stand together.
    batch_independent = False

    def __init__(self, directory: Path, manifest: Manifest, variant: Variant, graph: Graph) -> None:
        _require_same("inputs", directory, manifest.inputs, graph.inputs)
        _require_same("outputs", directory, manifest.outputs, graph.outputs)
        for tensor in manifest.inputs:
            if not tensor.shape or not (isinstance(tensor.shape[0], str) or tensor.shape[0] == 1):
                raise ContractError(
                    f"{directory}: input {tensor.name!r} of shape {list(tensor.shape)} has no batch axis for one item; "
                    "export the graph with a first axis that is dynamic, or 1"
                )
        self.digest = package_digest(directory)
        self.manifest = manifest
        self.variant = variant.name
        self.fallback_reason = ""
        self.size_bytes = graph.size_bytes
        self._graph = graph
        self._numbers = itertools.count(1)
        batch_names = {tensor.shape[0] for tensor in manifest.inputs}
        self._has_batch_axis = [bool(tensor.shape) and tensor.shape[0] in batch_names for tensor in manifest.outputs]

    @classmethod
    def open(cls, directory: Path, *, variant: str | None = None, optimize: bool = True) -> "TensorModel":
        """Open one variant (the preferred one by default) as it stands: no file is verified, no golden row replayed.

        Raises:
            ContractError: no such variant, or the graph cannot be loaded or is not what the manifest says.
        """
        return open_variant(directory, cls, variant, optimize=optimize)

    @classmethod
    def of_verified(cls, directory: Path, manifest: Manifest, *, require: Require) -> "TensorModel":
        """Open the first variant of a verified package that keeps its golden tolerance; raises ContractError."""
        return open_serving_variant(directory, manifest, cls, require=require)

    def golden_deviation(self) -> float:
        """Largest difference of an output's number over the golden rows; a package without any is run once, and 0."""
        if not self.manifest.goldens:
            self._graph.run({tensor.name: _zeros(tensor) for tensor in self.manifest.inputs})
            return 0.0
        deviations = [
            np.abs(self.flat_outputs(golden.features) - np.array(golden.scores[self.variant], np.float64))
            for golden in self.manifest.goldens
        ]
        return float(np.max([deviation.max(initial=0.0) for deviation in deviations]))

    def prepare(self, item: Item) -> Prepared:
        """Check features against the input schema and make arrays of them, batch axis first.

        Raises:
            FeaturesMismatch: every finding stands in its details.
        """
        if isinstance(item, str):
            raise FeaturesMismatch(
                'This model takes features, not a text. Pass {"features": {…}}.',
                details=[f"{tensor.name}: {tensor.dtype} {list(tensor.shape[1:])}" for tensor in self.manifest.inputs],
            )
        findings: list[str] = []
        feed: dict[str, NDArray[Any]] = {}
        sizes: dict[str, int] = {}
        for tensor in self.manifest.inputs:
            if tensor.name not in item:
                findings.append(f"{tensor.name}: is missing; {tensor.dtype} {list(tensor.shape[1:])} is expected")
                continue
            array, finding = feature_array(tensor, item[tensor.name], sizes)
            if array is None:
                findings.append(finding)
            else:
                feed[tensor.name] = array
        known = {tensor.name for tensor in self.manifest.inputs}
        findings += [
            f"{str(name)[:80]}: the model has no such input; it has {', '.join(sorted(known))}"
            for name in item
            if name not in known
        ]
        if findings:
            raise FeaturesMismatch(f"The features do not fit the model: {findings[0]}", details=findings)
        # Every item has a length of its own, so that no two stand together.
        return Prepared(feed, next(self._numbers))

    def run(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """Run items one after the other.

        Raises:
            TunelaneError: the graph fails on them, or gives a number that is not finite (JSON has none).
        """
        answers: list[Answer] = []
        for item in prepared:
            try:
                arrays = self._graph.run(item.feed)
            except Exception as error:  # each framework has errors of its own
                raise TunelaneError(f"The graph fails on these features: {first_line(error)[:300]}") from error
            tensors = {}
            for tensor, array, has_batch_axis in zip(self.manifest.outputs, arrays, self._has_batch_axis, strict=True):
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise TunelaneError(f"The graph gave numbers that are not finite in output {tensor.name!r}.")
                if has_batch_axis and array.shape[:1] != (1,):
                    raise TunelaneError(f"Output {tensor.name!r} has shape {list(array.shape)} for one item.")
                tensors[tensor.name] = array[0] if has_batch_axis else array
            answers.append(Outputs(tensors))
        return answers

    def flat_outputs(self, features: Item) -> NDArray[np.float64]:
        """All numbers that the graph gives for one item, output by output: what golden rows hold."""
        (answer,) = self.run([self.prepare(features)])
        assert isinstance(answer, Outputs)  # noqa: S101 - says so to the type checker
        numbers = [array.ravel() for array in answer.tensors.values() if array.dtype.kind in "iufb"]
        return np.concatenate([*numbers, np.empty(0)]).astype(np.float64)


def _zeros(tensor: Tensor) -> NDArray[Any]:
    shape = [1 if isinstance(size, str) else size for size in tensor.shape]
    return np.full(shape, "", object) if tensor.dtype == "string" else np.zeros(shape, tensor.dtype)


def _require_same(what: str, directory: Path, declared: Sequence[Tensor], found: Sequence[Tensor]) -> None:
    """Refuse a graph that is not what the manifest says: a request is checked against the manifest alone."""
    theirs = [(tensor.name, tensor.dtype, len(tensor.shape)) for tensor in found]
    if [(tensor.name, tensor.dtype, len(tensor.shape)) for tensor in declared] != theirs:
        said = ", ".join(f"{name} {dtype} of {axes} axes" for name, dtype, axes in theirs)
        raise ContractError(f"{directory}: the manifest's {what} are not the graph's, which has {said}; pack it again")
