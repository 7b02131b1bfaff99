"""Which package answers: a model's active local deployment, or a directory that the user names."""

from pathlib import Path
from typing import NamedTuple

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings import Settings, local_deployment
from tunelane_serving.deployment import ACTIVE, read_active, revision_path
from tunelane_serving.errors import InputError
from tunelane_serving.package import MANIFEST

DEFAULT_MODEL = "classifier"


class Source(NamedTuple):
    """A package and the name that it answers under.

    `model_version` is empty for a package that no registry gave; so is `digest`, which the package must have otherwise.
    """

    package: Path
    model: str
    model_version: str = ""
    digest: str = ""


def find_source(settings: Settings, *, model: str, package: Path | None) -> Source:
    """The package to answer from.

    Args:
        settings: where deployments lie.
        model: a deployed model's name; empty for the one that is deployed.
        package: a model package; None for a deployment.

    Raises:
        InputError: both are named, `package` is no package, or no such model is deployed on this machine.
        ContractError: what the deployment says is broken.
    """
    require_one(model=model, package=package)
    if package is not None:
        require_package(package)
        return Source(package, package.resolve().name)
    known = deployed_models(settings)
    chosen = chosen_model(settings, model)
    if chosen not in known:
        raise InputError(_not_deployed(settings, chosen, known, asked=bool(model)))
    deployment = local_deployment(settings, chosen)
    active = read_active(deployment)
    if active is None:
        # Taken away since the directory was read.
        raise InputError(_not_deployed(settings, chosen, [], asked=True))
    return Source(revision_path(deployment, active.digest), chosen, active.model_version, active.digest)


def require_one(*, model: str, package: Path | None) -> None:
    """Stop where both are given; raises InputError."""
    if model and package is not None:
        raise InputError("Pass --model or --package, not both: a package is served as it is, whoever is champion.")


def require_package(directory: Path) -> None:
    """Stop at a directory that is no model package; raises InputError."""
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; pass one to --package.")
    if not (directory / MANIFEST).is_file():
        raise InputError(
            f"{directory} is not a model package: it has no {MANIFEST}. "
            "`tunelane runs show` names the package of a run; pass its directory to --package."
        )


def deployed_models(settings: Settings) -> list[str]:
    """Names of the models that are deployed on this machine.

    Raises:
        InputError: the deployments are not on this machine.
    """
    return sorted(path.parent.name for path in local_deployment(settings, "").glob(f"*/{ACTIVE}"))


def chosen_model(settings: Settings, model: str) -> str:
    """`model`, or where that is empty the one deployed model, or the default name where there are none or several."""
    known = deployed_models(settings)
    return model or (known[0] if len(known) == 1 else DEFAULT_MODEL)


def _not_deployed(settings: Settings, model: str, known: list[str], *, asked: bool) -> str:
    if not known:
        named = f" --set model_name={model}" if model != DEFAULT_MODEL else ""
        return (
            f"Nothing is deployed below {local_deployment(settings, '')} yet. "
            f"Run: tunelane run train-classifier{named} --set data=FILE"
        )
    if not asked:
        return f"Several models are deployed: {', '.join(known)}. Name one with --model."
    return no_such("deployed model", model, known)
