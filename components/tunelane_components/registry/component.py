"""The KFP components of this stage."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from tunelane_components.images import PIPELINES


@dsl.component(base_image=PIPELINES, install_kfp_package=False)
def resolve_champion(model_name: str, registry_uri: str, champion: Output[Model]) -> str:
    """Pin the champion that this run is compared with; gives its version, or an empty string where there is none.

    Args:
        model_name: The registry's name for the model.
        registry_uri: The model registry.
        champion: The champion's model package; an empty directory where there is none.
    """
    from pathlib import Path

    from tunelane_components.leaving import leave_quickly
    from tunelane_components.registry.champion import fetch_champion
    from tunelane_components.registry.open import open_registry

    leave_quickly()
    found = fetch_champion(open_registry(registry_uri), model_name, Path(champion.path))
    if found is None:
        return ""
    champion.metadata["version"] = found.version
    champion.metadata["digest"] = found.digest
    champion.metadata["taxonomy_digest"] = found.taxonomy_digest
    return found.version


@dsl.component(base_image=PIPELINES, install_kfp_package=False)
def register_candidate(
    package: Input[Model], verdict: Input[Artifact], model_name: str, registry_uri: str, run_id: str = ""
) -> str:
    """Register a promoted model package as a candidate, tagged with its verdict; gives its version.

    Args:
        package: The model package.
        verdict: The gate's verdict on it.
        model_name: The registry's name for the model.
        registry_uri: The model registry.
        run_id: The run that made the package.
    """
    from pathlib import Path

    from tunelane_components.leaving import leave_quickly
    from tunelane_components.registry.candidate import register_promoted
    from tunelane_components.registry.open import open_registry

    leave_quickly()
    registry = open_registry(registry_uri)
    return register_promoted(registry, model_name, Path(package.path), Path(verdict.path), run_id=run_id).version
