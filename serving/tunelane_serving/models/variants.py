"""Which variant of a package serves: the first that answers its golden rows here as it did when it was built."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from tunelane_serving.backends.graph import Graph
from tunelane_serving.backends.opening import open_graph
from tunelane_serving.errors import ContractError
from tunelane_serving.package import Manifest, Variant


class TestedModel(Protocol):
    """A model that can be held against its package's golden rows."""

    fallback_reason: str

    def golden_deviation(self) -> float:
        """Largest difference of a score from the golden one; NaN where one is not a number."""
        ...


T = TypeVar("T", bound=TestedModel)
Require = Callable[[Variant], None]


def accept(_: Variant) -> None:
    """Ask nothing of a variant: its files were verified before."""


def open_serving_variant(
    directory: Path,
    manifest: Manifest,
    make: Callable[[Path, Manifest, Variant, Graph], T],
    *,
    threads: int = 1,
    require: Require = accept,
) -> T:
    """Open variants in their order of preference until one keeps its golden tolerance on this CPU.

    Args:
        directory: the package.
        manifest: its manifest.
        make: makes the model of an opened graph.
        threads: threads for a single operation of the graph.
        require: is called before a variant is opened, and raises where its files are not what they should be.

    Raises:
        ContractError: a graph cannot be opened, or none keeps its tolerance.
    """
    refused: list[str] = []
    for variant in manifest.variants:
        require(variant)
        graph = open_graph(manifest.framework, directory / variant.path, threads=threads)
        model = make(directory, manifest, variant, graph)
        deviation = model.golden_deviation()
        if deviation <= variant.golden_tolerance:
            model.fallback_reason = "; ".join(refused)
            return model
        refused.append(
            f"{variant.name} is {deviation:.2g} off its golden rows, {variant.golden_tolerance:.2g} is allowed"
        )
    raise ContractError(f"{directory}: no variant answers as it did when it was built: {'; '.join(refused)}")


def chosen_variant(directory: Path, manifest: Manifest, name: str | None) -> Variant:
    """Give the variant of that name, or the preferred one for None; raises ContractError where there is none."""
    names = [variant.name for variant in manifest.variants]
    if name is not None and name not in names:
        raise ContractError(f"{directory}: no variant {name!r}; it has {', '.join(names)}")
    return manifest.variants[names.index(name) if name else 0]
