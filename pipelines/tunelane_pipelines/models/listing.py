"""What there is to know of the models: from the registry, the deployments and the records of runs."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from tunelane_components.bucket import SCHEME
from tunelane_components.deploy.interface import Deployer
from tunelane_components.deploy.open import open_deployer
from tunelane_components.patience import PERSON_PATIENCE_S
from tunelane_components.registry.interface import RegisteredVersion, Registry
from tunelane_components.registry.open import open_registry
from tunelane_components.registry.packages import manifest_at
from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.masking import mask
from tunelane_pipelines.runs.record import read_record
from tunelane_pipelines.settings import LOCAL, Settings
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.package import Manifest

_RUN_TAG = "tunelane.run_id"
_F1_TAG = "tunelane.macro_f1"


class VersionSummary(msgspec.Struct, frozen=True):
    """One version: its gate's macro-F1 on the test rows (None where no gate judged it) and the run that made it."""

    version: str
    is_champion: bool
    digest: str
    registered_at: datetime
    macro_f1: float | None
    run_id: str
    package: str
    tags: Mapping[str, str]


class ModelSummary(msgspec.Struct, frozen=True):
    """One model: its versions, the newest first, and the digest that is deployed ("" for none)."""

    name: str
    versions: tuple[VersionSummary, ...]
    active_digest: str

    @property
    def champion(self) -> VersionSummary | None:
        """The version that is champion, or None."""
        return next((version for version in self.versions if version.is_champion), None)

    @property
    def deployed(self) -> str:
        """Whether the champion is what serves: "yes", "no", or "behind" where another version is."""
        if self.champion is None or not self.active_digest:
            return "no"
        return "yes" if self.active_digest == self.champion.digest else "behind"


def list_models(settings: Settings) -> list[ModelSummary]:
    """Every model in the registry; none where there is no registry yet, which is not made."""
    registry, deployer = open_registry(settings.registry_uri, patience_s=PERSON_PATIENCE_S), _deployer(settings)
    runs = runs_by_package(settings.root)
    return [_summary(registry, deployer, name, runs) for name in registry.names()]


def find_model(settings: Settings, name: str) -> ModelSummary:
    """The model of that name.

    Raises:
        InputError: there is none; names the nearest.
    """
    registry = open_registry(settings.registry_uri, patience_s=PERSON_PATIENCE_S)
    known = registry.names()
    if not known:
        raise InputError(no_models(settings))
    if name not in known:
        raise InputError(no_such("model", name, known))
    return _summary(registry, _deployer(settings), name, runs_by_package(settings.root))


def find_version(model: ModelSummary, version: str) -> VersionSummary:
    """The version of that number; where it is empty the champion, or without one the newest.

    Raises:
        InputError: there is none.
    """
    if not model.versions:
        raise InputError(f"{model.name!r} has no versions: its registration was cut short. Run the pipeline again.")
    if not version:
        return model.champion or model.versions[0]
    found = next((known for known in model.versions if known.version == version), None)
    if found is None:
        numbers = ", ".join(known.version for known in model.versions)
        raise InputError(f"{model.name!r} has no version {version!r}. There are: {numbers}.")
    return found


def manifest_of(version: VersionSummary) -> Manifest:
    """The manifest of a version's package.

    Raises:
        ContractError: the package is missing or broken.
        DigestMismatch: it is not what was registered.
        InputError, TunelaneError: the bucket that it lies in cannot be read.
    """
    return manifest_at(version.package, version.digest, patience_s=PERSON_PATIENCE_S)


def no_models(settings: Settings) -> str:
    """What to say where the registry holds nothing."""
    run = again("run train-classifier --set data=FILE", settings.root, settings.profile)
    return f"No models in {mask(settings.registry_uri)} yet. Run: {run}"


def runs_by_package(root: Path) -> dict[str, str]:
    """Ids of the runs on this machine by the digest of the package that each made; of several the first."""
    made: dict[str, str] = {}
    for entry in Journal(root).entries():
        if entry.target != "local":
            continue
        try:
            package = read_record(Path(entry.place)).artifact("validate-parity", "package")
        except ContractError:
            # Removed by hand, or cut short before its first record.
            continue
        if package is not None and package.digest:
            # The newest come first: what stays is the oldest.
            made[package.digest] = entry.run_id
    return made


def _deployer(settings: Settings) -> Deployer | None:
    """Where models are deployed; None for what cannot be asked, since the models can be listed all the same."""
    if not settings.deployment_uri.startswith((LOCAL, SCHEME)):
        return None
    return open_deployer(settings.deployment_uri, patience_s=PERSON_PATIENCE_S)


def _summary(registry: Registry, deployer: Deployer | None, name: str, runs: Mapping[str, str]) -> ModelSummary:
    active = deployer.active(name) if deployer is not None else None
    versions = tuple(_version(version, runs) for version in registry.versions(name))
    return ModelSummary(name, versions, active.digest if active is not None else "")


def _version(found: RegisteredVersion, runs: Mapping[str, str]) -> VersionSummary:
    return VersionSummary(
        version=found.version,
        is_champion=found.is_champion,
        digest=found.digest,
        registered_at=found.registered_at,
        macro_f1=_macro_f1(found.tags),
        run_id=found.tags.get(_RUN_TAG) or runs.get(found.digest, ""),
        package=found.package,
        tags=found.tags,
    )


def _macro_f1(tags: Mapping[str, str]) -> float | None:
    """The gate's measure, which it left in a tag; None where it did not, or somebody else wrote that."""
    try:
        return float(tags[_F1_TAG])
    except (KeyError, ValueError):
        return None
