"""The champion of a model on this machine, as the registry has it."""

import tempfile
from pathlib import Path

from tunelane_components.deploy.interface import Revision
from tunelane_components.deploy.open import open_deployer
from tunelane_components.registry.open import open_registry
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.settings import Settings, local_deployment
from tunelane_serving.deployment import read_active
from tunelane_serving.errors import InputError


def champion_deployment(settings: Settings, model: str) -> Path:
    """The local deployment of `model`, with the registry's champion active in it.

    The registry decides: where the deployment is behind it (a run was killed between the two), the champion's package
    is fetched and made active.

    Raises:
        InputError: `model` has no champion; names the models that have one here.
    """
    deployment = local_deployment(settings, model)
    registry = open_registry(settings.registry_uri)
    champion = registry.champion(model)
    if champion is None:
        others = ", ".join(sorted(path.parent.name for path in deployment.parent.glob("*/active.json")))
        run = f"run train-classifier --set model_name={model} --set data=FILE"
        raise InputError(
            f"No champion of {model!r} yet{f'; there is one of: {others}' if others else ''}. "
            f"Run: {again(run, settings.root, settings.profile)}"
        )
    active = read_active(deployment)
    if active is None or active.digest != champion.digest:
        revision = Revision(champion.name, champion.version, champion.digest)
        deployer = open_deployer(settings.deployment_uri)
        with tempfile.TemporaryDirectory() as scratch:
            registry.fetch(model, champion.digest, Path(scratch) / "package")
            deployer.deploy(revision, Path(scratch) / "package")
        deployer.confirm(revision)
    return deployment
