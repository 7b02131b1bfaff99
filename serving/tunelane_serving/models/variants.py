"""Which variant of a package serves: the first that answers its golden rows here as it did when it was built."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from tunelane_serving.backends.graph import Graph
from tunelane_serving.backends.opening import open_graph
from tunelane_serving.errors import ContractError
from tunelane_serving.package import Manifest, Variant, read_manifest


class TestedModel(Protocol):
    """A model that can be held against its package's golden rows."""

    fallback_reason: str

    def golden_deviation(self) -> float:
        """Largest difference of a score from the golden one; NaN where one is not a number."""
        ...


T = TypeVar("T", bound=TestedModel)
Make = Callable[[Path, Manifest, Variant, Graph], T]
Require = Callable[[Variant], None]


def open_serving_variant(
    directory: Path,
    manifest: Manifest,
    make: Make[T],
    *,
    require: Require,
) -> T:
    """Open variants in their order of preference until one keeps its golden tolerance on this CPU.

    Args:
        directory: the package.
        manifest: its manifest.
        make: makes the model of an opened graph.
        require: is called before a variant is opened, and raises where its files are not what they should be.

    Raises:
        ContractError: a graph cannot be opened, or none keeps its tolerance.
    """
    refused: list[str] = []
    for variant in manifest.variants:
        require(variant)
        graph = open_graph(manifest.framework, directory / variant.path)
        model = make(directory, manifest, variant, graph)
        deviation = model.golden_deviation()
        if deviation <= variant.golden_tolerance:
            model.fallback_reason = "; ".join(refused)
            return model
        refused.append(
            f"{variant.name} is {deviation:.2g} off its golden rows, {variant.golden_tolerance:.2g} is allowed"
        )
    raise ContractError(f"{directory}: no variant answers as it did when it was built: {'; '.join(refused)}")


def open_variant(directory: Path, make: Make[T], name: str | None, *, optimize: bool) -> T:
    """Open one variant as it stands: no file is verified, no golden row replayed.

    Args:
        directory: the package.
        make: makes the model of an opened graph.
        name: the variant's; None is the preferred one.
        optimize: False leaves an ONNX graph as it was exported.

    Raises:
        ContractError: there is no such variant, or none at all, or the model cannot be made of it.
    """
    manifest = read_manifest(directory)
    names = [variant.name for variant in manifest.variants]
    if not names:
        raise ContractError(f"{directory}: a package of framework {manifest.framework} has no graph; name one that has")
    if name is not None and name not in names:
        raise ContractError(f"{directory}: no variant {name!r}; it has {', '.join(names)}")
    variant = manifest.variants[names.index(name) if name else 0]
    graph = open_graph(manifest.framework, directory / variant.path, optimize=optimize)
    return make(directory, manifest, variant, graph)
