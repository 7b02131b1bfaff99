"""Back to a version that was champion before, or to another one: in the registry, and where it serves."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelane_components.deploy.interface import Revision
from tunelane_components.deploy.open import open_deployer
from tunelane_components.deploy.promotion import confirm_champion, smoke_or_roll_back
from tunelane_components.patience import PERSON_PATIENCE_S
from tunelane_components.registry.interface import ChampionMoved
from tunelane_components.registry.open import open_registry
from tunelane_pipelines.models.listing import ModelSummary, VersionSummary, find_model, find_version
from tunelane_pipelines.runs.advice import again
from tunelane_pipelines.settings import Settings
from tunelane_serving.errors import InputError


@dataclass(frozen=True)
class Rollback:
    """What a rollback does: the champion there is, and the version that takes its place.

    `needs_smoke_test` where that was never champion, or was taken back.
    """

    model: str
    champion: VersionSummary
    target: VersionSummary
    needs_smoke_test: bool


def plan_rollback(settings: Settings, name: str, to: str) -> Rollback:
    """Find what is to be brought back; changes nothing.

    Args:
        settings: where registry and deployment are.
        name: the model.
        to: the version; empty for the champion before the present one, or for the present one where a rollback to it
            was killed before that served.

    Raises:
        InputError: there is no such model or version, no champion, none before it, or `to` is champion and serves
            already; or the version was not registered by Tunelane.
    """
    model = find_model(settings, name)
    champion = model.champion
    if champion is None:
        raise InputError(f"{name!r} has no champion to roll back from. See: {_show(settings, name)}")
    succession = open_registry(settings.registry_uri, patience_s=PERSON_PATIENCE_S).succession(name)
    if to:
        target = find_version(model, to)
        # A champion that does not serve is put to serve: what made it champion may have been killed behind that.
        if target.is_champion and model.active_digest == target.digest:
            raise InputError(f"Version {to} of {name!r} is champion already, and serves. Pass another to --to.")
    elif _was_cut_short(model, succession):
        target = champion
    else:
        # The last one is the champion, unless it was moved since the versions were listed: then moving it fails.
        earlier = succession[: succession.index(champion.version)] if champion.version in succession else succession
        if not earlier:
            raise InputError(
                f"Version {champion.version} of {name!r} has no champion before it. Pass --to VERSION; "
                f"see: {_show(settings, name)}"
            )
        target = find_version(model, earlier[-1])
    if not target.digest:
        raise InputError(
            f"Version {target.version} of {name!r} was not registered by Tunelane, so it cannot serve. "
            "Pass another to --to."
        )
    return Rollback(name, champion, target, needs_smoke_test=target.version not in succession)


def roll_back(settings: Settings, rollback: Rollback) -> None:
    """Bring the version into the deployment, verified, make it champion, and let it serve.

    One that was champion before was smoke-tested then, and a server replays its golden rows before it takes it up, so
    nothing is started here: that is what makes it quick. One that was not may be there because its smoke test failed,
    so it is tested first.

    Raises:
        InputError: the champion is another one by now; nothing was changed.
        DigestMismatch: the package is not what was registered; nothing was changed.
        SmokeTestFailed: the version does not answer as its package says it must; nothing was changed.
        TunelaneError: the deployment could not follow; the message says who is champion now.
    """
    registry, deployer = open_registry(settings.registry_uri), open_deployer(settings.deployment_uri)
    target = rollback.target
    revision = Revision(rollback.model, target.version, target.digest)
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(rollback.model, target.digest, Path(scratch) / "package")
        deployer.deploy(revision, Path(scratch) / "package")
    if rollback.needs_smoke_test:
        smoke_or_roll_back(deployer, revision)
    try:
        confirm_champion(registry, deployer, revision, expected_version=rollback.champion.version)
    except ChampionMoved as error:
        raise InputError(
            f"The champion of {rollback.model!r} is no longer version {rollback.champion.version}: it was moved "
            f"meanwhile, and nothing was changed. See: {_show(settings, rollback.model)}"
        ) from error


def _was_cut_short(model: ModelSummary, succession: Sequence[str]) -> bool:
    """Whether a rollback was killed between registry and deployment: what serves stands in no succession any more."""
    digests = {version.digest for version in model.versions if version.version in succession}
    return bool(model.active_digest and digests) and model.active_digest not in digests


def _show(settings: Settings, name: str) -> str:
    """The command that shows the model, in the registry in force."""
    return again(f"models show {name}", settings.root, settings.profile)
